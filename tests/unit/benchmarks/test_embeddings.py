"""The benchmark of the text encoders, at a size that measures nothing."""

import runpy
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "embeddings.py"


def test_the_methods_are_set_side_by_side(
    tmp_path: Path, clip_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = runpy.run_path(str(BENCHMARK))
    captions = [f"{'very ' * (i % 5)}big dog {i}" for i in range(40)]
    pq.write_table(pa.table({"caption": captions}), tmp_path / "captions.parquet")
    benchmark["main"]([
        "--captions", str(tmp_path / "captions.parquet"), "--count", "20", "--shard", "10",
        "--model", str(clip_folder), "--precisions", "float32", "float64", "--batch-tokens", "100",
    ])  # fmt: skip
    printed = capsys.readouterr().out
    assert printed.startswith("20 captions of ")
    rows = [line.split("|") for line in printed.splitlines() if line.startswith("|")]
    assert [row[1].strip() for row in rows[2:]] == [benchmark["PLAIN"], "icsd, float32", "icsd, float64"]
    assert all(row[5].strip() == "1.000000" for row in rows[2:])
    assert "float64: 0 captions have other bits" in printed
