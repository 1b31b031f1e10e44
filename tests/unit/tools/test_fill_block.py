import io
from pathlib import Path

import pytest

from icsd.core.errors import InputError
from icsd.core.text import markdown_table
from tools.fill_block import main, update_block

PAGE = "# Page\n\n<!-- scores:begin -->\nold\n<!-- scores:end -->\n\nThe rest, é.\n"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    return path


def test_markdown_table_is_padded() -> None:
    assert markdown_table(["arm", "CIDEr"], [["single", "1.0"], ["real", "150.0"]]) == [
        "| arm    | CIDEr |",
        "| ------ | ----: |",
        "| single |   1.0 |",
        "| real   | 150.0 |",
    ]


def test_a_block_is_replaced_by_the_text_without_its_title(page: Path) -> None:
    update_block(page, "scores", "# Scores\n\n| new |\n")
    assert page.read_text(encoding="utf-8") == PAGE.replace("old", "| new |")
    update_block(page, "scores", "| newer |")
    assert page.read_text(encoding="utf-8") == PAGE.replace("old", "| newer |")


@pytest.mark.parametrize(
    "text",
    [
        "no marks",
        "<!-- scores:begin -->",
        "<!-- scores:end --> <!-- scores:begin -->",
        PAGE + "<!-- scores:end -->",
        PAGE + PAGE,
    ],
)
def test_a_page_without_exactly_one_block_is_left_alone(page: Path, text: str) -> None:
    page.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="scores:begin"):
        update_block(page, "scores", "new")
    assert page.read_text(encoding="utf-8") == text


def test_the_command_reads_stdin_and_fences_it(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("flowchart TB\n"))
    assert main([str(page), "scores", "--fence", "mermaid"]) == 0
    assert page.read_text(encoding="utf-8") == PAGE.replace("old", "```mermaid\nflowchart TB\n```")


def test_the_command_names_the_missing_block(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("new"))
    assert main([str(page), "claim"]) == 1
    assert "claim:begin" in capsys.readouterr().err
