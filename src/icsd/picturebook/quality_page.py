"""The measured quality of the small models, as a table for machines and a page for people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from icsd import tables
from icsd.files import atomic_path
from icsd.pages import markdown_table
from icsd.picturebook.quality import Drawing, Measurement, measure_models

AIMS: Mapping[str, float] = {
    "mentioned objects seen in their colour, of 1": 0.9,
    "mentioned objects seen in their colour, of 3": 0.75,
}


def measure_quality(
    clip: Path, pipeline: Path, probe: Path, drawing: Drawing, table: Path, page: Path, sheet: Path
) -> None:
    """Measure the models in these folders; write QUALITY, its page, and a sheet of pictures that were drawn for it."""
    rows, drawn = measure_models(clip, pipeline, probe, drawing)
    with atomic_path(sheet) as unfinished:
        drawn.save(unfinished, "PNG")
    with atomic_path(page) as unfinished:
        unfinished.write_text(quality_page(rows), encoding="utf-8")
    tables.write(table, tables.QUALITY, [asdict(row) for row in rows])


def quality_page(rows: Sequence[Measurement]) -> str:
    """Markdown: a row a measure; shares in %."""
    table = markdown_table(["model", "measure", "value", "of", "aim"], [_cells(row) for row in rows], left=2)
    text = "Shares in %, with what they are shares of; pictures drawn and judged as in the default run."
    return "\n".join(["# Quality of the picture book's models", "", text, "", *table, ""])


def _cells(row: Measurement) -> list[str]:
    is_share = "dB" not in row.measure
    value = f"{100 * row.value:.1f}" if is_share else f"{row.value:.1f}"
    aim = AIMS.get(row.measure)
    return [row.model, row.measure, value, f"{row.items:,}", f"{100 * aim:.0f}" if aim else ""]
