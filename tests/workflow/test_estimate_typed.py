"""Commands that a person types before money is spent."""

from checkout import Checkout


def test_the_estimate_is_printed_and_written_and_makes_nothing_else(done: Checkout) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.results.rglob("*.parquet")}
    ran = done.run("estimate")
    page = (done.results / "estimate.md").read_text()
    assert "| groups to summarize" in page and "| requests" in page and "| GB on disk" in page
    assert "groups to summarize" in ran.stdout + ran.stderr
    assert {path: path.stat().st_mtime_ns for path in done.results.rglob("*.parquet")} == before
    assert done.planned() == {}
