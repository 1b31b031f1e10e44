"""A run small enough to count by hand, with texts that a page must not take for markup."""

import io
import json
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from icsd.config import Config, load_config
from icsd.core import tables
from icsd.stages.summaries.prompts import load_prompt

ROOT = Path(__file__).parents[2]
PROMPT = ROOT / "config/prompts/paper.txt"
NAME = "small"
SHARD = "0000-of-0001"
NASTY = (
    "</td></script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'> & \u202eturned\u0000 🦊 ด้้้"
)
SHOWN = NASTY.replace("\0", "�")
CAPTIONS = ["a red kite", "a kite in the sky", "a big red kite", "a dog"]


def small_config(**changes: Any) -> Config:
    """The default config with two arms and one shard, without scores."""
    values = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    values["alignment"] |= {"model": None, "drop_share": 0.0}
    return load_config(values | {"run": NAME, "shards": 1, "arms": ["multi", "real"]} | changes)


def config_json(config: Config) -> str:
    """Return the config as the rule passes it on."""
    return config.model_dump_json(exclude_defaults=True, exclude={"downloads"})


def small_run(folder: Path) -> Path:
    """The folder `results/small` of a finished run: 4 captions, 3 groups, 2 summaries, 1 of 2 pictures, 2 pairs."""
    results = folder / "results" / NAME
    _write_texts(results)
    _write_pictures(results)
    for number, arm in enumerate(("multi", "real")):
        _write_captioner(results, arm, 0.5 + number / 10)
    benchmark = results / "benchmarks" / "generate_images" / "multi" / f"{SHARD}.tsv"
    benchmark.parent.mkdir(parents=True)
    benchmark.write_text("s\th:m:s\tmax_rss\tcpu_time\n7200\t2:00:00\t1024.5\tNA\n")
    return results


def scored_run(folder: Path) -> Path:
    """The run of `small_run` with scores: multi-1_1 is used and not multi-1, and one of its two pairs is dropped.

    Caption 1 scores 0.5 with it, 2 scores 0.2; caption 2 gets no other picture.
    """
    results = small_run(folder)
    scores = {"multi-1": [0.3, 0.1, 0.25], "multi-1_1": [0.45, 0.5, 0.2], "multi-2": [0.2, 0.3, 0.1]}
    of_drawing = {"multi": ["multi-1", "multi-2"], "multi/candidate-1": ["multi-1_1"]}
    for drawing, image_ids in of_drawing.items():
        rows = [
            {"image_id": image_id, "caption_id": caption_id, "score": score}
            for image_id in image_ids
            for caption_id, score in zip((None, 1, 2), scores[image_id], strict=True)
        ]
        _write(results / f"alignment/{drawing}/{SHARD}.parquet", tables.ALIGNMENT, rows)
    _write(results / f"images/multi/candidate-1/{SHARD}.parquet", tables.IMAGES, [_image("multi-1_1")])
    verdict = {"image_id": "multi-1_1", "score": 0.1, "verdict": "safe"}
    _write(results / f"safety/multi/candidate-1/{SHARD}.parquet", tables.SAFETY, [verdict])
    ledger = [
        *LEDGER[:5], ("images", "multi-1_1", None), *LEDGER[5:], ("safety", "multi-1_1", None),
        ("candidates", "multi-1", "another candidate is used: its captions' mean is 0.175, multi-1_1 has 0.350"),
        ("candidates", "multi-1_1", None), ("alignment", "multi-1_1", None), ("pairs", "multi-1_1/1", None),
        ("pairs", "multi-1_1/2", "below alignment.min_score=0.3: its score is 0.200"),
        ("rematch", "caption 2", "none of its 1 nearest images shows it"),
    ]  # fmt: skip
    _write_dataset(results, "multi", ledger, [("multi-1_1", 1)])
    return results


def _write_texts(results: Path) -> None:
    captions = [
        {"caption_id": number, "image_id": number, "caption": caption, "split": "train"}
        for number, caption in enumerate(CAPTIONS, start=1)
    ]
    groups = [
        {"group_id": 1, "caption_ids": [1, 2, 3], "similarities": [1.0, 0.9, 0.8]},
        {"group_id": 2, "caption_ids": [2, 1], "similarities": [1.0, 0.7]},
        {"group_id": 4, "caption_ids": [4, 2], "similarities": [1.0, 0.2]},
    ]
    times = [{"caption_id": number, "group_times": count} for number, count in ((1, 2), (2, 3), (3, 1), (4, 1))]
    summaries = [
        _summary(1, NASTY, [1, 2], None),
        _summary(2, "a red kite in the sky", [2, 1], None),
        _summary(4, None, [], f"not supported: {NASTY}"),
    ]
    _write(results / "captions/all.parquet", tables.CAPTIONS, captions)
    _write(results / "groups/all.parquet", tables.GROUPS, groups)
    _write(results / "groups/group_times.parquet", tables.GROUP_TIMES, times)
    _write(results / f"summaries/{SHARD}.parquet", tables.SUMMARIES, summaries)


def _summary(group_id: int, text: str | None, selected: list[int], reason: str | None) -> dict[str, Any]:
    return {
        "group_id": group_id, "summary": text, "selected": selected, "status": "dropped" if reason else "ok",
        "reason": reason, "prompt_tokens": 100, "completion_tokens": 20, "model": "merge",
        "prompt_hash": load_prompt(PROMPT).hash, "unsupported": [], "covered": selected, "image_tokens": None,
    }  # fmt: skip


LEDGER: list[tuple[str, str, str | None]] = [
    ("summaries", "1", None), ("summaries", "2", None), ("summaries", "4", f"not supported: {NASTY}"),
    ("images", "multi-1", None), ("images", "multi-2", None),
    ("safety", "multi-1", None), ("safety", "multi-2", "unsafe: the safety checker's score is 0.900"),
]  # fmt: skip


def _image(image_id: str) -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "orange").save(file, "PNG")
    picture = {"bytes": file.getvalue(), "path": ""}
    return {"image_id": image_id, "image": picture, "sentence": NASTY, "seed": 0, "model": "m"}


def _write_pictures(results: Path) -> None:
    images = [_image("multi-1"), _image("multi-2")]
    verdicts = [
        {"image_id": "multi-1", "score": 0.1, "verdict": "safe"},
        {"image_id": "multi-2", "score": 0.9, "verdict": "unsafe"},
    ]
    _write(results / f"images/multi/{SHARD}.parquet", tables.IMAGES, images)
    _write(results / f"safety/multi/{SHARD}.parquet", tables.SAFETY, verdicts)
    _write_dataset(results, "multi", LEDGER, [("multi-1", 1), ("multi-1", 2)])
    _write_dataset(results, "real", [("pictures", "real-1", None)], [("real-1", 1)])
    Image.new("RGB", (1000, 3000), "orange").save(results / f"images/multi/{SHARD}.png")


def _write_dataset(
    results: Path, arm: str, ledger: list[tuple[str, str, str | None]], pairs: list[tuple[str, int]]
) -> None:
    rows = [{"stage": stage, "item_id": item, "kept": why is None, "reason": why} for stage, item, why in ledger]
    _write(results / f"dataset/{arm}/ledger.parquet", tables.LEDGER, rows)
    of_arm = [{"image_id": image, "caption_id": each, "caption": CAPTIONS[each - 1]} for image, each in pairs]
    _write(results / f"dataset/{arm}/pairs.parquet", tables.PAIRS, of_arm)


def _write_captioner(results: Path, arm: str, score: float) -> None:
    history: list[dict[str, Any]] = [
        {"step": step, "loss": 5.0 / step, "learning_rate": 0.1, "metric": None, "value": None} for step in (1, 2)
    ]
    history += [
        {"step": 3, "loss": 1.5, "learning_rate": 0.1, "metric": metric, "value": score}
        for metric in ("CIDEr", "BLEU-4")
    ]
    _write(results / f"captioner/{arm}/seed-0/history.parquet", tables.HISTORY, history)
    scores = [
        {
            "arm": arm,
            "seed": 0,
            "test": "test",
            "metric": metric,
            "value": score,
            "low": score - 0.1,
            "high": score + 0.1,
        }
        for metric in ("BLEU-4", "CIDEr")
    ]
    _write(results / f"evaluation/{arm}/seed-0/test/scores.parquet", tables.SCORES, scores)


def _write(path: Path, table: tables.Table, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tables.write(path, table, rows)


def said_config() -> dict[str, Any]:
    """Return the overlay of this run."""
    return json.loads(config_json(small_config()))
