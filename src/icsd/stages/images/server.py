"""Images of a shard from a server: those in the store, and requests for the rest."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icsd.config import ImagesConfig
from icsd.core.errors import check_drop_share
from icsd.core.logs import Progress
from icsd.core.store import Store
from icsd.llm.budget import Budget, Reservation
from icsd.llm.cache import ResponseCache
from icsd.llm.endpoint import Endpoint
from icsd.llm.images import REFUSED, ImageRequest, ImageWriter, refused_before, request_images
from icsd.llm.request import Failure, ImageOutcome

Row = Mapping[str, Any]
BUDGET = "image-budget"  # the folder in the run's folder
_log = logging.getLogger(__name__)


def served_images(rows: Sequence[Row], config: ImagesConfig, store: Store, results: Path) -> list[ImageOutcome]:
    """The image of each row of SENTENCES, a PNG file, or the failure to get it.

    Each image is in `store` from the moment it was received, and each request is an event beside it: its price, or the
    reason of a failure. What is stored is not requested again, refusals included. `results` is the run's folder, which
    has the budget. Errors as `request_images`, and TooManyDroppedError.
    """
    requests = [_request(row, config) for row in rows]
    keys = {request.key for request in requests}
    events = ResponseCache(Path(config.store))
    outcomes: dict[str, ImageOutcome] = dict(store.find(keys))
    outcomes |= refused_before(events.events(keys - outcomes.keys()))
    missing = {request.key: request for request in requests if request.key not in outcomes}
    _log.info("images: %s are stored, %s requests to send", f"{len(outcomes):,}", f"{len(missing):,}")
    if missing:
        outcomes |= _requested(list(missing.values()), config, store, events, results)
    found = [outcomes[request.key] for request in requests]
    _check_failures(rows, found, config.max_drop_share)
    return found


def _request(row: Row, config: ImagesConfig) -> ImageRequest:
    server = config.openai
    return ImageRequest(
        server.model, row["sentence"], config.height_and_width, row["seed"], server.seed_parameter, server.parameters
    )


def _requested(
    requests: Sequence[ImageRequest], config: ImagesConfig, store: Store, events: ResponseCache, results: Path
) -> dict[str, ImageOutcome]:
    server, outcomes = config.openai, dict[str, ImageOutcome]()
    shown = Progress(len(requests), "images")

    def receive(request: ImageRequest, outcome: ImageOutcome) -> None:
        outcomes[request.key] = outcome
        shown.step()

    endpoint = Endpoint(
        server.base_url,
        server.api_key_env,
        server.timeout_s,
        server.retries,
        server.concurrency,
        structured_output=True,
        section="images.openai",
    )
    budget = Budget(results / BUDGET, config.budget_usd, "images.budget_usd")
    about = {"run": results.name, "provider": config.provider, "model": server.model}
    with Reservation(budget) as reservation, store.writer() as images, events.writer(**about) as writer:
        request_images(requests, endpoint, server.usd_per_image, reservation, ImageWriter(images, writer), receive)
    shown.end()
    return outcomes


def _check_failures(rows: Sequence[Row], outcomes: Sequence[ImageOutcome], limit: float) -> None:
    """Raise TooManyDroppedError for too many failures; a refusal is none."""
    reasons = {
        row["image_id"]: f"{outcome.code}: {outcome.detail}"
        for row, outcome in zip(rows, outcomes, strict=True)
        if isinstance(outcome, Failure) and outcome.code != REFUSED
    }
    check_drop_share(
        reasons,
        len(rows),
        items="sentences of a shard",
        setting="images.max_drop_share",
        limit=limit,
        hint="Mend what the reasons name (the server, the model, images.openai)",
    )
