"""The `transformers` provider: a chat model in this process, run in batches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from icsd.llm.cache import CacheWriter
from icsd.llm.request import Failure, Outcome, Receive, Request, Response
from icsd.models.chat_model import CHAT_FILES, ChatModel, chat_digest, load_chat_model
from icsd.models.model_folder import model_folder

BATCHES_A_WINDOW = 16  # requests in memory, sorted by length so that a batch has little padding
SETTING = "summaries.transformers.model"


@dataclass(frozen=True)
class LocalModel:
    """The chat model `name`, a folder or an id of the hub; the first request loads it.

    If `constrained`, its answers can be nothing but JSON of the request's schema.
    """

    name: str
    constrained: bool = False

    @cached_property
    def digest(self) -> str:
        """The model's name in a request's key: other weights in the same folder are another model.

        A constrained model answers differently, so it is another one too.
        """
        return chat_digest(self._folder) + (" constrained" if self.constrained else "")

    @cached_property
    def loaded(self) -> ChatModel:
        """The model itself. ModelError if it cannot be loaded."""
        return load_chat_model(SETTING, self._folder)

    @cached_property
    def _folder(self) -> Path:
        return model_folder(SETTING, self.name, CHAT_FILES)


def complete_requests(
    requests: Iterable[Request], model: LocalModel, batch_size: int, segment: CacheWriter, receive: Receive
) -> None:
    """Run the requests, all of one Sampling, and call `receive` with each one's outcome.

    A batch's outcomes are events in `segment`, durable before `receive` is called. A request without room for its
    answer in the model's context is a Failure.
    """
    todo = iter(requests)
    while window := list(islice(todo, BATCHES_A_WINDOW * batch_size)):
        for batch in _batches(window, model.loaded, batch_size):
            outcomes = _outcomes(batch, model)
            events = [segment.event(tokenized.request.key, outcome, 0.0) for tokenized, outcome in outcomes]
            segment.append(events)
            for tokenized, outcome in outcomes:
                receive(tokenized.request, outcome)


@dataclass(frozen=True, slots=True)
class _Tokenized:
    """A request and its tokens."""

    request: Request
    prompt: Sequence[int]


def _batches(window: Iterable[Request], model: ChatModel, batch_size: int) -> Iterator[list[_Tokenized]]:
    """Batches of requests of similar length, the longest first, so that too little memory shows at once."""
    tokenized = [_Tokenized(request, model.prompt(request.messages)) for request in window]
    tokenized.sort(key=lambda each: len(each.prompt), reverse=True)
    return (tokenized[start : start + batch_size] for start in range(0, len(tokenized), batch_size))


def _outcomes(batch: Sequence[_Tokenized], model: LocalModel) -> list[tuple[_Tokenized, Outcome]]:
    limit, room = model.loaded.context, batch[0].request.sampling.max_tokens
    long = [tokenized for tokenized in batch if limit is not None and len(tokenized.prompt) + room > limit]
    short = batch[len(long) :]  # the longest come first
    refused = [
        Failure("prompt-too-long", f"{len(tokenized.prompt)} tokens and {room} for the answer, of {limit}")
        for tokenized in long
    ]
    return [*zip(long, refused, strict=True), *zip(short, _replies(short, model) if short else (), strict=True)]


def _replies(batch: Sequence[_Tokenized], model: LocalModel) -> list[Response]:
    sampling = batch[0].request.sampling
    completions = model.loaded.complete(
        [tokenized.prompt for tokenized in batch],
        [_seed(tokenized.request) for tokenized in batch],
        temperature=sampling.temperature or 0.0,
        max_tokens=sampling.max_tokens,
        schemas=[tokenized.request.schema for tokenized in batch] if model.constrained else None,
    )
    return [
        Response(said.content, None, said.finish_reason, said.prompt_tokens, said.completion_tokens)
        for said in completions
    ]


def _seed(request: Request) -> int:
    """A seed from the request alone, so that its answer does not depend on shards and batches; fits 63 bits."""
    return int(request.key[:15], 16)
