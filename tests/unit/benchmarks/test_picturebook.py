"""The benchmark of the claim fills the documents."""

import runpy
from pathlib import Path

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "picturebook.py"
CLAIM = "# The claim\n\nScores.\n\n| arm |\n| --- |\n| multi |\n\nDifferences:\n\n| arm |\n"


def test_the_readme_gets_the_first_table_and_the_pages_all(tmp_path: Path) -> None:
    pages = {"README.md": "claim", "docs/background/claim.md": "claim", "docs/background/picturebook.md": "quality"}
    for page, block in pages.items():
        path = tmp_path / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"before\n<!-- {block}:begin -->\nold\n<!-- {block}:end -->\nafter\n", encoding="utf-8")
    runpy.run_path(str(BENCHMARK))["fill_documents"](tmp_path, "# Quality\n\nGood.\n", CLAIM)
    readme, claim, quality = ((tmp_path / page).read_text(encoding="utf-8") for page in pages)
    assert "Scores.\n\n| arm |\n| --- |\n| multi |\n<!--" in readme and "Differences" not in readme
    assert "Differences:\n\n| arm |\n<!--" in claim
    assert "begin -->\nGood.\n<!--" in quality
