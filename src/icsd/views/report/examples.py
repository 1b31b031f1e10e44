"""Some summaries with the captions that they were made of, and some dropped groups with their reasons."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from icsd.core.ids import drawing_order
from icsd.views.report.page import HtmlTable, save_page
from icsd.views.report.run import Run

Row = Mapping[str, Any]
TITLE = "Summaries to read"
SHOWN = 20  # of each kind
COLUMNS = ["group_id", "summary", "selected", "status", "reason"]
NOTICE = "There are no summaries yet: the jobs summarize_groups are still to come."


def write_examples(run: Run, page: Path) -> None:
    """Write a page with the first groups in the order in which pictures are drawn, and the first dropped ones."""
    usable, dropped = _first(run, "ok"), _first(run, "dropped")
    texts = _texts(run, [caption_id for row in usable for caption_id in row["selected"]])
    about = [f"The first {SHOWN} of each kind, in the order in which pictures are drawn."]
    shown = [_usable(usable, texts), *([_dropped(dropped)] if dropped else [])]
    save_page(page, TITLE, about if usable or dropped else [NOTICE], shown if usable or dropped else [])


def _first(run: Run, status: str) -> list[Row]:
    """File by file, so that memory holds no more than a shard and the first."""
    first: list[Row] = []
    for rows in run.summaries.read(COLUMNS):
        found = rows.filter(pc.equal(rows["status"], status))
        ids = sorted(found["group_id"].to_pylist(), key=drawing_order)[:SHOWN]
        chosen = found.filter(pc.is_in(found["group_id"], pa.array(ids, pa.int64())))
        first = sorted([*first, *chosen.to_pylist()], key=lambda row: drawing_order(row["group_id"]))[:SHOWN]
    return first


def _texts(run: Run, caption_ids: Sequence[int]) -> dict[int, str]:
    rows = run.captions.rows(["caption_id", "caption"])
    found = rows.filter(pc.is_in(rows["caption_id"], pa.array(caption_ids, pa.int64())))
    return dict(zip(found["caption_id"].to_pylist(), found["caption"].to_pylist(), strict=True))


def _usable(rows: Sequence[Row], texts: Mapping[int, str]) -> HtmlTable:
    cells = [
        [
            str(row["group_id"]),
            row["summary"],
            "\n".join(texts.get(each, f"caption {each}") for each in row["selected"]),
        ]
        for row in rows
    ]
    return HtmlTable("Summaries and the captions selected for them", ["group", "summary", "captions"], cells, left=3)


def _dropped(rows: Sequence[Row]) -> HtmlTable:
    cells = [[str(row["group_id"]), row["reason"] or "no reason", row["summary"] or ""] for row in rows]
    return HtmlTable("Dropped groups and their reasons", ["group", "reason", "answer"], cells, left=3)
