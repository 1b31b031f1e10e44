"""The `openai` provider: any endpoint that speaks OpenAI's chat completions.

The key is read from its environment variable when the client is made, is held by the client alone, and is blanked out
of everything that is kept of the server's words.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import openai
from openai.types.chat import ChatCompletion

from icsd.errors import ConfigError, ICSDError
from icsd.summaries.answers import BadAnswer, parse_answer, shown
from icsd.summaries.prompts import Prompt
from icsd.summaries.records import Group, Summary, dropped

NO_KEY = "none"  # the client insists on one; a server without keys ignores it


class EndpointError(ICSDError):
    """The endpoint takes no request at all: the stage stops."""


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, whom, and how. `api_key_env` names the variable that holds the key; None: the server needs none."""

    base_url: str
    model: str
    api_key_env: str | None
    temperature: float | None
    max_tokens: int
    timeout_s: float
    retries: int
    concurrency: int


def ask(groups: Sequence[Group], prompt: Prompt, endpoint: Endpoint) -> Iterator[Summary]:
    """One answer a group, in the order of `groups`, with up to `concurrency` requests under way and no barrier.

    A request that fails after the client's retries is a dropped group. EndpointError stops the stage: a key that is
    refused, a model or address that does not exist, nobody listening. ConfigError: no key in the variable.
    """
    asker = _Asker(prompt, endpoint)
    pool = ThreadPoolExecutor(max(1, endpoint.concurrency), thread_name_prefix="summaries")
    try:
        yield from pool.map(asker.ask, groups)
    finally:
        asker.stop()
        pool.shutdown(wait=True, cancel_futures=True)
        asker.close()


class _Asker:
    """Asks one group at a time; safe to share among threads."""

    def __init__(self, prompt: Prompt, endpoint: Endpoint) -> None:
        self._prompt, self._endpoint = prompt, endpoint
        self._secret = _read_key(endpoint.api_key_env)
        self._client = openai.OpenAI(
            api_key=self._secret or NO_KEY,
            base_url=endpoint.base_url,
            timeout=endpoint.timeout_s,
            max_retries=endpoint.retries,
        )
        self._answered, self._stopped = threading.Event(), threading.Event()

    def stop(self) -> None:
        """Let waiting requests return at once: the stage is over."""
        self._stopped.set()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, group: Group) -> Summary:
        """The checked answer for a group, or why there is none."""
        if self._stopped.is_set():
            return dropped("not-asked")
        try:
            completion = self._client.chat.completions.create(
                model=self._endpoint.model,
                messages=[{"role": "user", "content": self._prompt.render(group.captions)}],
                max_tokens=self._endpoint.max_tokens,
                temperature=openai.omit if self._endpoint.temperature is None else self._endpoint.temperature,
            )
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise self._stopping(self._refusal(error.status_code)) from None
        except openai.APITimeoutError:
            return dropped("timeout", f"no answer within {self._endpoint.timeout_s:g} s")
        except openai.APIConnectionError as error:
            return self._unreachable(error)
        except openai.APIStatusError as error:
            return dropped(f"http-{error.status_code}", self._blanked(error.message))
        except (openai.OpenAIError, ValueError) as error:
            return dropped("unreadable-reply", self._blanked(f"{type(error).__name__}: {error}"))
        self._answered.set()
        return _checked(completion, len(group.captions), self._prompt.max_words)

    def _unreachable(self, error: openai.APIConnectionError) -> Summary:
        """A dropped group if the endpoint has answered before; else there is no endpoint."""
        cause = self._blanked(str(error.__cause__ or error))
        if self._answered.is_set():
            return dropped("connection", cause)
        where = f"summaries.openai.base_url={self._blanked(self._endpoint.base_url)}"
        mend = "start the server or mend the address, in config/config.yaml"
        raise self._stopping(f"{where} cannot be reached ({cause}): {mend}") from None

    def _stopping(self, message: str) -> EndpointError:
        """The error that ends the stage; requests that still wait are not sent."""
        self.stop()
        return EndpointError(message)

    def _refusal(self, status: int) -> str:
        """The message for an endpoint that refuses; without the server's words, which may repeat the key."""
        where = f"summaries.openai.base_url={self._blanked(self._endpoint.base_url)} answers {status}"
        if status == 404:
            what = f"no such address, or no model {self._endpoint.model}"
            return f"{where} ({what}): mend summaries.openai.base_url or .model, in config/config.yaml"
        key = self._endpoint.api_key_env or "summaries.openai.api_key_env, which names no variable"
        return f"{where} (the key is not accepted): put a valid key into the environment variable {key}"

    def _blanked(self, text: str) -> str:
        return shown(text.replace(self._secret, "***") if self._secret else text)


def _read_key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"summaries.openai.api_key_env={variable}: the environment variable {variable} is not set; "
            "set it to the endpoint's key, or set api_key_env to null for a server without keys, in config/config.yaml"
        )
    return key


def _checked(completion: ChatCompletion, members: int, max_words: int) -> Summary:
    """The answer in a completion; whatever is wrong with it makes a dropped group."""
    if not isinstance(completion, ChatCompletion) or not completion.choices:
        return dropped("unreadable-reply", "the reply is no chat completion")
    usage = completion.usage
    tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)
    choice = completion.choices[0]
    if choice.message is None:
        return dropped("unreadable-reply", "the reply has no message", tokens)
    if choice.message.refusal:
        return dropped("refusal", shown(choice.message.refusal), tokens)
    if choice.finish_reason == "length":
        return dropped("cut-off", "the answer reached summaries.openai.max_tokens", tokens)
    try:
        answer = parse_answer(choice.message.content or "", members, max_words)
    except BadAnswer as error:
        return dropped(error.code, error.detail, tokens)
    return Summary(answer.summary, answer.places, None, *tokens)
