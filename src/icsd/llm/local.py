"""The `transformers` provider: a chat model in this process, asked in batches. It costs nothing but time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from icsd.llm.cache import CacheWriter
from icsd.llm.request import Failure, Outcome, Request, Response
from icsd.models.chat_model import CHAT_FILES, ChatModel, chat_digest, load_chat_model
from icsd.models.model_folder import model_folder

BATCHES_A_WINDOW = 16  # whose requests are in memory, sorted by length, so that a batch holds little padding
SETTING = "summaries.transformers.model"
Receive = Callable[[Request, Outcome], None]


@dataclass(frozen=True)
class LocalModel:
    """The chat model `name`, a folder or an id of the hub; it is loaded when the first request comes."""

    name: str

    @cached_property
    def digest(self) -> str:
        """What the model is called in a request's key: other weights in the same folder are another model."""
        return chat_digest(self._folder)

    @cached_property
    def loaded(self) -> ChatModel:
        """The model itself. ModelError if it cannot be loaded."""
        return load_chat_model(SETTING, self._folder)

    @cached_property
    def _folder(self) -> Path:
        return model_folder(SETTING, self.name, CHAT_FILES)


def ask(
    requests: Iterable[Request], model: LocalModel, batch_size: int, segment: CacheWriter, receive: Receive
) -> None:
    """Answer the requests, all of one Sampling; `receive` gets each one's outcome.

    A batch's outcomes are events in `segment`, durable before `receive` hears of them. A request without room for its
    answer in the model's context is a Failure.
    """
    todo = iter(requests)
    while window := list(islice(todo, BATCHES_A_WINDOW * batch_size)):
        for batch in _batches(window, model.loaded, batch_size):
            outcomes = _outcomes(batch, model.loaded)
            events = [segment.event(asked.request.key, outcome, 0.0) for asked, outcome in outcomes]
            segment.append(events)
            for asked, outcome in outcomes:
                receive(asked.request, outcome)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request and its tokens."""

    request: Request
    prompt: Sequence[int]


def _batches(window: Iterable[Request], model: ChatModel, batch_size: int) -> Iterator[list[_Asked]]:
    """Requests of like length together, the longest first: what the memory does not hold is known at once."""
    asked = [_Asked(request, model.prompt(request.messages)) for request in window]
    asked.sort(key=lambda each: len(each.prompt), reverse=True)
    return (asked[start : start + batch_size] for start in range(0, len(asked), batch_size))


def _outcomes(batch: Sequence[_Asked], model: ChatModel) -> list[tuple[_Asked, Outcome]]:
    limit, room = model.context, batch[0].request.sampling.max_tokens
    long = [asked for asked in batch if limit is not None and len(asked.prompt) + room > limit]
    short = batch[len(long) :]  # the longest stand first
    refused = [
        Failure("prompt-too-long", f"{len(asked.prompt)} tokens and {room} for the answer, of {limit}")
        for asked in long
    ]
    return [*zip(long, refused, strict=True), *zip(short, _replies(short, model) if short else (), strict=True)]


def _replies(batch: Sequence[_Asked], model: ChatModel) -> list[Response]:
    sampling = batch[0].request.sampling
    completions = model.complete(
        [asked.prompt for asked in batch],
        [_seed(asked.request) for asked in batch],
        temperature=sampling.temperature or 0.0,
        max_tokens=sampling.max_tokens,
    )
    return [
        Response(said.content, None, said.finish_reason, said.prompt_tokens, said.completion_tokens)
        for said in completions
    ]


def _seed(request: Request) -> int:
    """From the request alone, so that shards and batches leave its answer alone; fits 63 bits."""
    return int(request.key[:15], 16)
