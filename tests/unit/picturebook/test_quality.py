"""The page of the models' quality. test_models.py tests the measures."""

from pathlib import Path

import pytest
from PIL import Image

from icsd.core import tables
from icsd.picturebook import quality
from icsd.picturebook.quality import DrawingSettings, Measurement

ROWS = [
    Measurement("autoencoder", "PSNR of reconstructions, dB", 34.62, 500),
    Measurement("generator", "mentioned objects seen in their colour, of 1", 0.912, 75),
    Measurement("generator", "mentioned kinds seen", float("nan"), 0),
]


def test_page_shows_shares_in_percent_and_the_aims() -> None:
    lines = quality.quality_page(ROWS).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][2:]
    assert cells == [
        ["autoencoder", "PSNR of reconstructions, dB", "34.6", "500", ""],
        ["generator", "mentioned objects seen in their colour, of 1", "91.2", "75", "90"],
        ["generator", "mentioned kinds seen", "nan", "0", ""],
    ]


def test_quality_is_a_table_a_page_and_a_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "measure_models", lambda *_: (ROWS[:2], Image.new("RGB", (8, 8))))
    folders = [Path("clip"), Path("pipeline"), Path("probe")]
    table, page, sheet = (tmp_path / "benchmark" / name for name in ("quality.parquet", "quality.md", "drawn.png"))
    quality.measure_quality(*folders, DrawingSettings(), table, page, sheet)
    rows = tables.read(table, tables.QUALITY).to_pylist()
    assert [(row["model"], row["value"], row["items"]) for row in rows] == [
        ("autoencoder", 34.62, 500),
        ("generator", 0.912, 75),
    ]
    assert "| generator" in page.read_text(encoding="utf-8")
    with Image.open(sheet) as drawn:
        assert drawn.size == (8, 8)
