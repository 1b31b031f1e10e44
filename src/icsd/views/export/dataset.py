"""An arm's dataset as a folder to pass on: its files and its card."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icsd.config.arms import ARMS
from icsd.core.files import atomic_path
from icsd.views.export.card import dataset_card
from icsd.views.export.facts import facts_of
from icsd.views.export.layouts import LAYOUTS
from icsd.views.export.pairs import read_manifest

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportedArm:
    """The tables that an arm's dataset is exported from; `summaries` are none for the arm real."""

    name: str
    pairs: Path
    ledger: Path
    images: Sequence[Path]
    summaries: Sequence[Path]


def export_dataset(
    arm: ExportedArm, layout: str, folder: Path, source: Mapping[str, Any], results: Path, store: Path
) -> None:
    """Write the arm's pictures and captions as `layout`, one of LAYOUTS, with README.md: a folder, whole or not there.

    `source` is the config's provenance, `results` the run's folder, `store` that of an LLM's replies. InputError for a
    picture that is in no images table.
    """
    manifest = read_manifest(arm.pairs, arm.images)
    facts = facts_of(manifest, arm.ledger, arm.summaries, results, store, _timed(arm.name))
    with atomic_path(folder) as unfinished:
        unfinished.mkdir()
        LAYOUTS[layout](manifest, unfinished)
        card = dataset_card(arm.name, layout, facts, source)
        (unfinished / "README.md").write_text(card, encoding="utf-8")
    _log.info("%s: %s pictures with %s captions, %s", layout, f"{facts.pictures:,}", f"{facts.pairs:,}", folder)


def _timed(arm: str) -> list[str]:
    """The folders of benchmarks with the times of what made the arm's pictures."""
    if ARMS[arm].photographs:
        return []
    drawn_by = ARMS[arm].drawn_by.name
    grouping = ["embed_captions", "find_neighbors", "form_groups", "summarize_groups"]
    return [*(grouping if ARMS[arm].uses_groups else []), f"generate_images/{drawn_by}", f"check_safety/{drawn_by}"]
