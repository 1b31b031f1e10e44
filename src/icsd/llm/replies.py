"""Chat completions at the edge: whatever a server sent becomes a Response, or an UnreadableReply.

Servers and proxies send fields of any type. All other code sees the types of `Response` alone, also of what an older
version stored as it came.
"""

import json
from collections.abc import Mapping
from typing import Any

from icsd.llm.request import Response

MOST_TOKENS = 10**9  # of a count that is believed: no request has so many
_TEXT_PARTS = frozenset(("text", "output_text", None))
_COUNTS = ("prompt_tokens", "completion_tokens", "reasoning_tokens")
_OTHER_PARTS = frozenset(("thinking", "reasoning"))  # of models that show their reasoning beside the answer
_REASONING = ("reasoning_content", "reasoning")  # DeepSeek's name, which vLLM had too; vLLM's and OpenRouter's


class UnreadableReply(ValueError):
    """A reply that holds no message."""


def parse_json(text: bytes | str) -> Any:
    """Parse JSON from outside. UnreadableReply if it is none, or is nested deeper than Python reads it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise UnreadableReply("JSON that is nested too deep") from None
    except ValueError as error:
        raise UnreadableReply(f"{type(error).__name__}: {error}") from None


def read_completion(body: Any) -> Response:
    """The response in a parsed completion.

    UnreadableReply if there is no message. A message that was sent but is no text is a Response with `problem`.
    """
    choices = _mapping(body).get("choices")
    choice = _mapping(choices[0] if isinstance(choices, list) and choices else None)
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise UnreadableReply("the reply is no chat completion")
    fields = {
        "content": message.get("content"),
        "refusal": message.get("refusal"),
        "finish_reason": choice.get("finish_reason"),
        "reasoning": next((message[name] for name in _REASONING if message.get(name)), None),
    }
    return read_response(fields | _usage(_mapping(body).get("usage")))


def read_response(fields: Mapping[str, Any]) -> Response:
    """The response of fields with the names of `Response`, of whatever types."""
    prompt, completion, reasoned = (token_count(fields.get(name)) for name in _COUNTS)
    reason, reasoning, problem = (_text_or_none(fields.get(name)) for name in ("finish_reason", "reasoning", "problem"))
    try:
        content, refusal = _text(fields.get("content"), "content"), _refusal(fields)
    except UnreadableReply as error:
        content, refusal, problem = "", None, str(error)
    # the reasoning is kept where it is all that was said: some servers put the answer there
    kept = None if content.strip() else reasoning
    return Response(content, refusal, reason, prompt, completion, reasoned, kept, problem)


def token_count(value: Any) -> int | None:
    """A count of tokens; None if it is no whole number from 0 to MOST_TOKENS, and so cannot be believed."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= MOST_TOKENS and value == int(value) else None


def _usage(usage: Any) -> dict[str, Any]:
    """The tokens of a reply. Those that only the total counts are hidden ones of the answer, and are charged."""
    usage = _mapping(usage)
    prompt, completion, total = (token_count(usage.get(f"{what}_tokens")) for what in ("prompt", "completion", "total"))
    if prompt is not None and completion is not None and total is not None:
        completion = max(completion, total - prompt)
    details = _mapping(usage.get("completion_tokens_details"))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "reasoning_tokens": token_count(details.get("reasoning_tokens")) or None,
    }


def _text(value: Any, name: str) -> str:
    """The text of a field: itself, none, or the texts of a list of parts. UnreadableReply if it is something else."""
    if value is None or isinstance(value, str):
        return value or ""
    if not isinstance(value, list):
        raise UnreadableReply(f"{name} is no text but of type {type(value).__name__}")
    return "".join(_part(part, name) for part in value)


def _part(part: Any, name: str) -> str:
    kind, text = (part.get("type"), part.get("text")) if isinstance(part, Mapping) else (None, part)
    if isinstance(kind, str) and kind in _OTHER_PARTS:
        return ""
    if not isinstance(text, str) or not (kind is None or isinstance(kind, str)) or kind not in _TEXT_PARTS:
        raise UnreadableReply(f"{name} has a part that is no text")
    return text


def _refusal(fields: Mapping[str, Any]) -> str | None:
    value = fields.get("refusal")
    if value in (None, "", False):
        return None
    if not isinstance(value, str):
        raise UnreadableReply(f"refusal is no text but of type {type(value).__name__}")
    return value


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
