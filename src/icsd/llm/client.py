"""The `openai` provider of summaries: any endpoint with OpenAI's chat completions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import openai

from icsd.llm.budget import Prices, Reservation, counted
from icsd.llm.cache import CacheWriter
from icsd.llm.endpoint import Endpoint
from icsd.llm.parameters import Parameters
from icsd.llm.problems import HttpError
from icsd.llm.replies import UnreadableReply, parse_json, read_completion
from icsd.llm.request import Receive, Request, Response
from icsd.llm.sending import send_requests
from icsd.llm.service import Attempt, unreadable


def complete_requests(
    requests: Iterable[Request],
    endpoint: Endpoint,
    prices: Prices,
    reservation: Reservation,
    segment: CacheWriter,
    receive: Receive,
) -> None:
    """Send the requests with `send_requests`, whose errors it has; their outcomes are events in `segment`."""
    send_requests(requests, _Chat(prices), endpoint, reservation, segment, receive)


@dataclass(frozen=True)
class _Chat:
    """Chat completions."""

    prices: Prices

    def model(self, request: Request) -> str:
        return request.sampling.model

    @property
    def reply_bytes(self) -> int:
        return 16 * 1024

    def most_usd(self, request: Request) -> float:
        return self.prices.most(request)

    def usd(self, request: Request, response: Response) -> float:
        """The price by the tokens; the highest one of those that the server does not return."""
        return self.prices.of(request, response.prompt_tokens, response.completion_tokens)

    def counted(self, response: Response) -> str:
        return counted(response)

    def refusal(self, error: HttpError) -> str | None:
        # words alone may mislead: such an error is a failure, which costs nothing and is requested again by a later run
        return error.message or error.code or f"http-{error.status}" if error.names_refusal else None

    def refused(self, detail: str) -> Response:
        """A response, as if the model had refused: it is kept, and not asked again. The prompt may be charged."""
        return Response("", detail, completion_tokens=0)

    async def send(
        self, client: openai.AsyncOpenAI, request: Request, takes: Parameters
    ) -> tuple[Mapping[str, str], Attempt[Response]]:
        raw = await client.chat.completions.with_raw_response.create(**request_body(request, takes))
        try:
            return raw.headers, Attempt(read_completion(parse_json(raw.content)))
        except UnreadableReply as error:
            return raw.headers, unreadable(str(error))


def request_body(request: Request, takes: Parameters) -> dict[str, Any]:
    """The body of a request, with the parameters that the server takes."""
    sampling = request.sampling
    sent: dict[str, Any] = {
        "model": sampling.model,
        "messages": list(request.messages),
        takes.tokens[0]: sampling.most_tokens,
    }
    if sampling.temperature is not None and takes.temperature:
        sent["temperature"] = sampling.temperature
    if sampling.reasoning_effort is not None:
        sent["reasoning_effort"] = sampling.reasoning_effort
    if takes.response_format:
        schema = {"name": "answer", "strict": True, "schema": dict(request.schema)}
        sent["response_format"] = {"type": "json_schema", "json_schema": schema}
    return sent
