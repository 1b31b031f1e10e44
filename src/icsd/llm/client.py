"""The `openai` provider of summaries: any endpoint with OpenAI's chat completions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import openai

from icsd.llm.budget import Prices, Reservation
from icsd.llm.cache import CacheWriter
from icsd.llm.endpoint import Endpoint, request_body
from icsd.llm.replies import UnreadableReply, parse_json, read_completion
from icsd.llm.request import Failure, Receive, Request, Response
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

    def most_usd(self, request: Request) -> float:
        return self.prices.cost(request.most_prompt_tokens, request.sampling.max_tokens)

    def usd(self, request: Request, response: Response) -> float:
        """The price by the tokens; the highest one where the server does not return them."""
        prompt, completion = response.prompt_tokens, response.completion_tokens
        return self.most_usd(request) if prompt is None or completion is None else self.prices.cost(prompt, completion)

    def refusal(self, error: openai.APIStatusError) -> Failure | None:
        """None: a model refuses in its answer."""
        return None

    async def send(
        self, client: openai.AsyncOpenAI, request: Request, *, with_format: bool
    ) -> tuple[Mapping[str, str], Attempt[Response]]:
        raw = await client.chat.completions.with_raw_response.create(**request_body(request, with_format))
        try:
            return raw.headers, Attempt(read_completion(parse_json(raw.content)))
        except UnreadableReply as error:
            return raw.headers, unreadable(str(error))
