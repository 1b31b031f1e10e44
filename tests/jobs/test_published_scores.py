"""The scores of coco-caption's example, of all metrics but SPICE, beside the published ones."""

import json
from pathlib import Path

import pytest
from shared_data import SHARED, needs

from icsd.cli import main

EXAMPLE = "coco_caption_fakecap_results.json"  # of coco-caption


@needs(EXAMPLE)
def test_published_scores_of_coco_captions_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They equal the published scores to three digits. The annotations have one picture more than the results."""
    import pyarrow.parquet as pq

    results = SHARED / EXAMPLE
    images = [row["image_id"] for row in json.loads(results.read_text())]
    references: dict[int, list[str]] = {image_id: [] for image_id in images}
    rows = pq.read_table(SHARED / "coco_val2014_captions.parquet", columns=["image_id", "caption"]).to_pylist()
    references[next(row["image_id"] for row in rows if row["image_id"] not in references)] = []
    for row in rows:
        references.get(row["image_id"], []).append(row["caption"])
    annotations = _annotate(tmp_path / "captions.json", references)
    arguments = ["scores", results, "--annotations", annotations, "--partial", "--samples", 20]
    assert main([str(each) for each in arguments]) == 0
    out = capsys.readouterr().out
    assert out.startswith("1,000 pictures with ")
    _, head, _, values = out.strip().splitlines()[1:]
    cells = zip(head.split("|")[2:-1], values.split("|")[2:-1], strict=True)
    assert {name.strip(): float(value.split()[0]) for name, value in cells} == {
        "BLEU-1": 0.579,
        "BLEU-2": 0.404,
        "BLEU-3": 0.279,
        "BLEU-4": 0.191,
        "METEOR": 0.195,
        "ROUGE-L": 0.396,
        "CIDEr": 0.600,
    }


def _annotate(path: Path, captions: dict[int, list[str]]) -> Path:
    texts = [(image_id, text) for image_id, said in captions.items() for text in said]
    annotations = [{"id": n, "image_id": image_id, "caption": text} for n, (image_id, text) in enumerate(texts)]
    images = [{"id": each, "file_name": f"{each}.jpg"} for each in captions]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path
