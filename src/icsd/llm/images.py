"""Images from any endpoint with OpenAI's `/images/generations`: requests, and what is read and kept of an answer."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import openai

from icsd.core.errors import ConfigError
from icsd.core.pictures import PictureError, read_header, read_picture
from icsd.core.store import SegmentWriter
from icsd.llm.budget import Reservation
from icsd.llm.cache import CacheWriter, Event
from icsd.llm.endpoint import Endpoint
from icsd.llm.parameters import Parameters
from icsd.llm.problems import REFUSAL_CODES, HttpError
from icsd.llm.replies import UnreadableReply, parse_json
from icsd.llm.request import Failure, ImageOutcome
from icsd.llm.sending import send_requests
from icsd.llm.service import Attempt, unreadable

REFUSED = "refused"
FORMAT = "response_format"  # a parameter that some servers refuse; it is left out then
# what is left of the codes of a refusal behind a LiteLLM proxy, which gives the status as the code
USER_ERROR, POLICY_ERROR = "image_generation_user_error", "ContentPolicyViolationError"
LARGEST_SEED = 2**31  # seeds are below it: some servers read them as int32
PNG = "PNG"
ReceiveImage = Callable[["ImageRequest", ImageOutcome], None]


@dataclass(frozen=True)
class ImageRequest:
    """A request for one image. `size` is height and width in pixels; None leaves it to the server.

    `seed_parameter` names the field of the seed; None for a server without. `parameters` are further fields.
    """

    model: str
    prompt: str
    size: tuple[int, int] | None
    seed: int
    seed_parameter: str | None
    parameters: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """SHA-256 in hex of all that determines the image; the server's address does not.

        The seed counts even if it is not sent, so that equal sentences with different seeds have images of their own.
        """
        parts = {"service": "images/generations", **asdict(self)}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def body(self, *, with_format: bool) -> dict[str, Any]:
        """The fields of the request."""
        sent: dict[str, Any] = {"model": self.model, "prompt": self.prompt, "n": 1}
        if self.size:
            height, width = self.size
            sent["size"] = f"{width}x{height}"
        if with_format:
            sent[FORMAT] = "b64_json"
        extra = dict(self.parameters)
        if self.seed_parameter:
            extra[self.seed_parameter] = self.seed % LARGEST_SEED
        return sent | {"extra_body": extra}


@dataclass(frozen=True)
class ImageWriter:
    """Keeps images in one store, and an event of each request in another."""

    images: SegmentWriter
    events: CacheWriter

    @property
    def folder(self) -> Path:
        """The folder of the images."""
        return self.images.folder

    def event(self, key: str, outcome: ImageOutcome, usd: float, over_usd: float = 0.0) -> tuple[Event, bytes | None]:
        """The event of an outcome that cost `usd`, and the image if there is one."""
        if isinstance(outcome, Failure):
            return self.events.record(key, {"failed": outcome.code, "detail": outcome.detail}, usd), None
        return self.events.record(key, {"image": len(outcome)}, usd), outcome

    def append(self, events: Sequence[tuple[Event, bytes | None]]) -> None:
        """Append images, then events; they are durable when this returns. DiskFullError if there is no room."""
        self.images.append([(event["key"], image) for event, image in events if image is not None])
        self.events.append([event for event, _ in events])


def refused_before(events: Iterable[Event]) -> dict[str, Failure]:
    """The refusals among events, by the key of the request: the server would refuse it again."""
    return {
        event["key"]: Failure(REFUSED, event.get("detail", "")) for event in events if event.get("failed") == REFUSED
    }


def request_images(
    requests: Iterable[ImageRequest],
    endpoint: Endpoint,
    usd_per_image: float,
    reservation: Reservation,
    segment: ImageWriter,
    receive: ReceiveImage,
) -> None:
    """Send the requests with `send_requests`, whose errors it has, and call `receive` with each image or failure.

    An image that a server refuses to draw for its content is a Failure with the code "refused". ConfigError if the
    first images do not have the requested size, or are addresses: all others would be paid for in vain.
    """
    send_requests(requests, _Images(endpoint.section, usd_per_image), endpoint, reservation, segment, receive)


@dataclass
class _Images:
    """Images of one server; `fitting` is true once one has come as it was requested."""

    section: str
    usd_per_image: float
    fitting: bool = field(default=False, init=False)

    def model(self, request: ImageRequest) -> str:
        return request.model

    def most_usd(self, request: ImageRequest) -> float:
        return self.usd_per_image

    def usd(self, request: ImageRequest, response: bytes) -> float:
        return self.usd_per_image

    @property
    def reply_bytes(self) -> int:
        return 2 * 1024**2

    def counted(self, response: bytes) -> str:
        return f"{len(response):,} bytes"

    def refusal(self, error: HttpError) -> str | None:
        code = _refusal_code(error)
        return f"{code}, {error.message or error.text}" if code else None

    def refused(self, detail: str) -> Failure:
        return Failure(REFUSED, detail)

    async def send(
        self, client: openai.AsyncOpenAI, request: ImageRequest, takes: Parameters
    ) -> tuple[Mapping[str, str], Attempt[bytes]]:
        body = request.body(with_format=takes.response_format)
        raw = await client.images.with_raw_response.generate(**body)
        # in a thread: meanwhile other requests are sent and read
        return raw.headers, await asyncio.to_thread(self._read, raw.content, request)

    def _read(self, body: bytes, request: ImageRequest) -> Attempt[bytes]:
        """Check the image of a reply; it is paid for in any case."""
        try:
            reply = parse_json(body)
        except UnreadableReply as error:
            return unreadable(str(error))
        data = reply.get("data") if isinstance(reply, dict) else None
        if not isinstance(data, list) or not data or not isinstance(data[0], dict):
            return unreadable("the reply has no image")
        encoded, address = (data[0].get(name) for name in ("b64_json", "url"))
        if not isinstance(encoded, str) or not encoded:
            problem = "the reply has an address in place of an image"
            return (
                self._unfit("no-image", problem, "name a server or model that returns b64_json")
                if address
                else (unreadable("the reply has no image"))
            )
        try:
            # after the comma of a data: URL, which base64 does not have
            file = base64.b64decode(encoded.rpartition(",")[2], validate=True)
            header, picture = read_header(file), read_picture(file)
        except (ValueError, PictureError) as error:
            return unreadable(f"the reply holds no image: {error}")
        width, height = header.size
        if request.size not in (None, (height, width)):
            problem = f"{width} by {height} pixels, not {request.size[1]} by {request.size[0]}"
            return self._unfit("wrong-size", problem, f"set images.size to [{height}, {width}] or to null")
        self.fitting = True
        if header.format != PNG:
            buffer = BytesIO()
            picture.save(buffer, format=PNG)
            file = buffer.getvalue()
        return Attempt(file)

    def _unfit(self, code: str, problem: str, hint: str) -> Attempt[bytes]:
        """Return a failure that no retry mends; before any good image it ends the stage."""
        fatal = None if self.fitting else ConfigError(f"{self.section}.model: {problem}; {hint}, in config/config.yaml")
        return Attempt(Failure(code, problem), cost_known=False, fatal=fatal)


def _refusal_code(error: HttpError) -> str | None:
    """Return the code of a refusal for the content; None for any other error."""
    for code in (error.code, error.kind):
        if code in REFUSAL_CODES:
            return code
    if error.kind == USER_ERROR and error.code.isdecimal():
        return USER_ERROR
    if POLICY_ERROR in error.text:
        return POLICY_ERROR
    return f"http-{error.status}" if error.is_refusal else None
