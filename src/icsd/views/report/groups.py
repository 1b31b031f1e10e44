"""Groups to look at: what thresholds would keep, near-duplicates, groups that share captions, and twenty of them."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from icsd.config import GroupsConfig
from icsd.core.id_columns import drawing_places
from icsd.stages.groups import Selection
from icsd.stages.groups.forming import neighbors_of
from icsd.stages.groups.searching import Members
from icsd.stages.groups.selection import NOBODY, Selected, overlaps_with_any, present, select_groups
from icsd.views.report.style import HtmlTable
from icsd.views.run import Run

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
NEAR, SHARED = (0.9, 0.95, 0.99), (0.5, 0.75, 0.9)
SAMPLED = 1000  # groups whose overlap with all others is counted
MOST_OVERLAPS, MOST_GROUPS = 200_000, 1_000_000  # above, counting would take the report more minutes, or memory
SHOWN = 20
SELECTED = "✓ "


def group_tables(run: Run, config: GroupsConfig) -> Iterator[HtmlTable]:
    """Yield the tables of a run with groups; of thresholds only where its neighbors are there, and not too many."""
    if not run.groups.count():
        return
    neighbors = run.neighbors
    if not neighbors.missing and 0 < neighbors.count() <= MOST_GROUPS:
        anchors, members = neighbors_of(neighbors.rows())
        now = Selection(**{name: getattr(config, name) for name in Selection.__dataclass_fields__})
        selected = select_groups(anchors, members, now)
        yield _thresholds(anchors, members, now, selected)
        yield _alike(members, selected)
    yield _examples(run)


def _thresholds(anchors: np.ndarray, members: Members, now: Selection, selected: Selected) -> HtmlTable:
    """Count what each threshold would keep, with the other keys as they are and without a limit."""
    now = replace(now, limit=None)
    rows = [["as the run is", *_counts(selected), *_counts(selected)[:1]]]
    for threshold in THRESHOLDS:
        near = select_groups(anchors, members, replace(now, min_similarity=threshold))
        apart = ["not counted"]
        if len(selected.kept) <= MOST_OVERLAPS:
            apart = _counts(select_groups(anchors, members, replace(now, max_overlap=threshold)))[:1]
        rows.append([f"{threshold:g}", *_counts(near), *apart])
    header = ["threshold", "groups with groups.min_similarity", "captions a group", "groups with groups.max_overlap"]
    return HtmlTable("Groups that each threshold would keep, and so summaries to pay for", header, rows)


def _counts(selected: Selected) -> list[str]:
    """The number of groups that are kept, and the mean number of their captions."""
    kept = selected.kept
    captions = (selected.ids[kept] != NOBODY).sum() / max(1, len(kept))
    return [f"{len(kept):,}", f"{captions:.1f}"]


def _alike(members: Members, selected: Selected) -> HtmlTable:
    """Count the groups with a near-duplicate of their anchor, and in a sample those that share captions."""
    kept = selected.kept
    nearest = members.similarities[kept, 1]
    rows = [
        [f"whose nearest caption has a similarity of {limit:g} or more", _of((nearest >= limit).sum(), len(kept))]
        for limit in NEAR
    ]
    if len(kept) <= MOST_OVERLAPS:
        sample = np.unique(np.linspace(0, len(kept) - 1, min(SAMPLED, len(kept))).astype(int)).tolist()
        groups = [present(selected.ids[row]) for row in kept]
        found = list(overlaps_with_any(groups, sample, SHARED[0]))
        shares = np.array([each.shared / each.members if each else 0.0 for each in found])
        rows += [
            [
                f"that share more than {limit:.0%} of their captions with another one",
                _of((shares > limit).sum(), len(found)),
            ]
            for limit in SHARED
        ]
    return HtmlTable("Groups that are nearly another one", ["groups", "of the run, or of a sample"], rows)


def _of(count: int, total: int) -> str:
    return f"{count:,} of {total:,} ({count / max(1, total):.0%})"


def _examples(run: Run) -> HtmlTable:
    """The first groups in drawing order, their captions with the similarity to the anchor, selected ones marked."""
    groups = run.groups.rows(["group_id"])["group_id"]
    ids = groups.take(pa.array(drawing_places(np.asarray(groups))[:SHOWN])).to_pylist()
    rows = {row["group_id"]: row for row in run.groups.select(ids).to_pylist()}
    summaries = run.summaries.select(ids, ["group_id", "selected"]).to_pylist()
    selected = {row["group_id"]: set(row["selected"]) for row in summaries}
    texts = run.caption_texts(caption_id for row in rows.values() for caption_id in row["caption_ids"])
    cells = [[str(each), _lines(rows[each], texts, selected.get(each, set()))] for each in ids]
    title = f"The first {len(ids)} groups, with similarities to the anchor; {SELECTED.strip()} marks selected captions"
    return HtmlTable(title, ["group", "captions"], cells, left=2)


def _lines(row: dict[str, list[int]], texts: dict[int, str], selected: set[int]) -> str:
    pairs = zip(row["caption_ids"], row["similarities"], strict=True)
    return "\n".join(
        f"{similarity:.2f} {SELECTED if caption_id in selected else ''}{texts.get(caption_id, f'caption {caption_id}')}"
        for caption_id, similarity in pairs
    )
