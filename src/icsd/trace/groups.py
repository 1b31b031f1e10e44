"""What a group is made of, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from icsd import tables
from icsd.trace.images import ImageTrace, trace_image
from icsd.trace.tables import Row, captions_of, find, shards, there


@dataclass(frozen=True)
class Member:
    """A caption of a group, `selected` if the summary is made of it; its text is None where it is not there."""

    caption_id: int
    caption: str | None
    similarity: float
    selected: bool


@dataclass(frozen=True)
class GroupTrace:
    """All that a run's tables say of a group; `image` is the one drawn from its summary."""

    group_id: int
    members: Sequence[Member]
    summary: Row | None
    image: ImageTrace | None


def trace_group(results: Path, group_id: int) -> GroupTrace | None:
    """What the tables in `results` say of a group; None if nothing."""
    _, group = find(there(results / "groups" / "all.parquet"), tables.GROUPS, "group_id", group_id)
    _, summary = find(shards(results / "summaries"), tables.SUMMARIES, "group_id", group_id)
    if group is None and summary is None:
        return None
    members = _members(results, group, set(summary["selected"]) if summary else set()) if group else []
    image = trace_image(results, f"multi-{group_id}")
    return GroupTrace(group_id, members, summary, image)


def _members(results: Path, group: Row, selected: set[int]) -> list[Member]:
    """The head first, then by likeness."""
    texts = {row["caption_id"]: row["caption"] for row in captions_of(results, group["caption_ids"])}
    return [
        Member(caption_id, texts.get(caption_id), similarity, caption_id in selected)
        for caption_id, similarity in zip(group["caption_ids"], group["similarities"], strict=True)
    ]
