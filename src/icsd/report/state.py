"""What of a run is there, and what is missing."""

from pathlib import Path

from icsd.report.page import HtmlTable, save_page
from icsd.report.run import Expected, Run

TITLE = "What is there, and what is missing"
NAMED = 3  # missing files
WHOLE = "Everything that this report is made of is there."
HALF = (
    "The run is not finished, or its config or inputs have changed since: plots and tables are made of what is there. "
    "`snakemake` goes on where it stopped; `snakemake --dry-run` says what it would do."
)


def write_state(run: Run, page: Path, finished: bool) -> list[Expected]:
    """Write the page; what is not whole."""
    expected = run.all()
    halves = [each for each in expected if each.missing]
    table = HtmlTable(
        "Tables of the run",
        ["stage", "tables", "there", "of", "missing"],
        [_row(run, each) for each in expected],
        left=2,
        texts=["missing"],
    )
    save_page(page, TITLE, [WHOLE if finished and not halves else HALF], [table])
    return halves


def _row(run: Run, each: Expected) -> list[str]:
    names = [str(path.relative_to(run.path)) for path in each.missing]
    more = [f"and {len(names) - NAMED:,} more"] if len(names) > NAMED else []
    missing = "\n".join([*names[:NAMED], *more])
    return [each.stage, each.what, f"{len(each.there):,}", f"{len(each.paths):,}", missing]
