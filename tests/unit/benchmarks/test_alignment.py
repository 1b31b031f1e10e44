"""The benchmark of swapped captions: its swaps and measures by hand, and its table at a size that measures nothing."""

import io
import re
import runpy
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "alignment.py"
benchmark = SimpleNamespace(**runpy.run_path(str(BENCHMARK)))
CAPTIONS = [[f"picture {row} caption {column}" for column in range(5)] for row in range(40)]


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_swapped_captions_are_of_other_pictures_and_no_caption_is_lost(share: float, seed: int) -> None:
    mixed, swapped = benchmark.swap_captions(CAPTIONS, share, seed)
    own = np.array([[caption.startswith(f"picture {row} ") for caption in group] for row, group in enumerate(mixed)])
    assert swapped.sum() == round(share * 200)
    assert (own == ~swapped).all()
    assert sorted(chain(*mixed)) == sorted(chain(*CAPTIONS))
    again, _ = benchmark.swap_captions(CAPTIONS, share, seed)
    assert again == mixed


def test_other_seeds_swap_others_and_no_share_swaps_none() -> None:
    first, second = (benchmark.swap_captions(CAPTIONS, 0.2, seed)[0] for seed in (0, 1))
    assert first != second
    assert benchmark.swap_captions(CAPTIONS, 0.0, 0)[0] == CAPTIONS


def test_captions_of_one_picture_cannot_be_swapped() -> None:
    with pytest.raises(ValueError, match="5 of 5 captions to swap are of one picture: take more pictures"):
        benchmark.swap_captions(CAPTIONS[:1], 1.0, 0)


def test_swapped_among_the_lowest_by_hand() -> None:
    scores = np.array([[0.1, 0.9, 0.8, 0.2, 0.7], [0.3, 0.6, 0.5, 0.4, 1.0]])
    swapped = np.array([[True, False, False, False, False], [True, False, False, False, True]])
    found = [benchmark.swapped_among_lowest(scores, swapped, share) for share in (0.1, 0.2, 0.3, 1.0)]
    assert found == pytest.approx([1.0, 1 / 2, 2 / 3, 3 / 10])


def test_the_area_of_a_perfect_score_has_no_width() -> None:
    _, swapped = benchmark.swap_captions(CAPTIONS, 0.2, 0)
    area = benchmark.area_with_interval(1.0 - swapped, swapped)
    assert (area.value, area.low, area.high) == (1.0, 1.0, 1.0)
    random = benchmark.area_with_interval(np.random.default_rng(0).random(swapped.shape), swapped)
    assert random.low < 0.5 < random.high


def test_a_caption_is_compared_with_the_others_of_its_picture() -> None:
    vectors = np.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    assert benchmark.likeness(vectors)[0] == pytest.approx([1 / np.sqrt(2), 1 / np.sqrt(2), 0.0])
    same = [["a dog runs on the grass", "a dog runs over grass", "a blue boat at sea"], ["two men", "two men", "a cat"]]
    scores = benchmark.by_cider(same)
    assert scores.shape == (2, 3) and (scores.argmin(axis=1) == 2).all()


def test_without_photographs_one_message_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"none\.parquet does not exist: name the Parquet file of the photographs"):
        benchmark.main(["--data", str(tmp_path / "none.parquet")])


def test_every_score_has_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    files = []
    for _ in range(20):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(file, format="JPEG")
        files.append(file.getvalue())
    photographs = pa.table({"jpeg": files, "captions": CAPTIONS[:20]})
    pq.write_table(photographs, tmp_path / "photographs.parquet")
    small = ["--pixels", "16", "--steps", "2", "--batch-size", "4"]
    benchmark.main(["--data", str(tmp_path / "photographs.parquet"), *small])
    rows = re.findall(r"^\| (\w.*?) +\| +(\d+) \|", capsys.readouterr().out, re.MULTILINE)
    assert rows == [
        ("random numbers", "100"),
        ("CIDEr with the other captions", "100"),
        ("CLIP trained on these pairs", "100"),
        ("CLIP trained on right pairs of the other half", "50"),
        ("the picture book's CLIP, on its own world", "100"),
    ]
