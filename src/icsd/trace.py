"""Trace: where an image comes from, read from a run's tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icsd import tables
from icsd.errors import InputError
from icsd.references import real_image_id

Row = Mapping[str, Any]
NEAREST = 3  # ids that the message about an unknown one names
SHOWN = 3  # ids of each arm that an overview names


@dataclass(frozen=True)
class Trace:
    """All that a run's tables say of an image; None or empty where no stage has come to it."""

    image_id: str
    sentence: Row | None = None
    summary: Row | None = None
    captions: Sequence[Row] = ()
    image: Row | None = None
    shard: Path | None = None
    safety: Row | None = None
    datasets: Mapping[str, str] = field(default_factory=dict)


def overview(results: Path) -> str:
    """For people: the arms that have images in `results`, how many, and some of their ids."""
    _check_folder(results, "")
    known = {arm: _known_ids(results, arm) for arm in [*_drawn_arms(results), "real"]}
    lines = [f"{arm:<16}{len(ids):,} known, such as {', '.join(ids[:SHOWN])}" for arm, ids in known.items() if ids]
    if not lines:
        hint = "run snakemake first, or give a run's folder with --results"
        raise InputError(results, "", "no image is known yet", hint)
    return "\n".join(lines)


def trace(results: Path, image_id: str) -> Trace:
    """What the tables in `results` say of an image; InputError, naming the nearest ids, if nothing."""
    _check_folder(results, image_id)
    arm, _, number = image_id.rpartition("-")
    found = _trace_real(results, image_id) if arm == "real" else _trace_drawn(results, arm, number)
    if found is None:
        raise _unknown(results, arm, number)
    return found


def _check_folder(results: Path, image_id: str) -> None:
    if not results.is_dir():
        raise InputError(results, image_id, "there is no such folder", "give a run's folder with --results")


def _trace_drawn(results: Path, arm: str, number: str) -> Trace | None:
    image_id, images = f"{arm}-{number}", results / "images" / arm
    _, sentence = _find(_there(images / "sentences.parquet"), tables.SENTENCES, "image_id", image_id)
    shard, image = _find(_tables(images), tables.IMAGES, "image_id", image_id, ["seed", "model"])
    _, safety = _find(_tables(results / "safety" / arm), tables.SAFETY, "image_id", image_id)
    summary = None
    if arm == "multi" and number.isdecimal():
        _, summary = _find(_tables(results / "summaries"), tables.SUMMARIES, "group_id", int(number))
    datasets = _datasets(results, ["multi", "multi_head"] if arm == "multi" else [arm], image_id)
    if not (sentence or summary or datasets):
        return None
    captions = _captions(_there(results / "captions" / "all.parquet"), sentence["caption_ids"] if sentence else [])
    return Trace(image_id, sentence, summary, captions, image, shard, safety, datasets)


def _trace_real(results: Path, image_id: str) -> Trace | None:
    paths = sorted((results / "pictures").glob("*/images.parquet"))
    shard, image = _find(paths, tables.IMAGES, "image_id", image_id, ["seed", "model"])
    if shard is None:
        return None
    rows = tables.read(shard.with_name("captions.parquet"), tables.CAPTIONS).to_pylist()
    captions = [row for row in rows if real_image_id(row["image_id"]) == image_id]
    return Trace(image_id, None, None, captions, image, shard, None, _datasets(results, ["real"], image_id))


def _tables(folder: Path) -> list[Path]:
    """The newest first: a run made anew with other shards leaves its old ones behind."""
    return sorted(folder.glob("*-of-*.parquet"), key=lambda path: path.stat().st_mtime, reverse=True)


def _there(path: Path) -> list[Path]:
    return [path] if path.exists() else []


def _find(
    paths: Iterable[Path],
    table: tables.Table,
    key: str,
    value: str | int,
    columns: Sequence[str] | None = None,
) -> tuple[Path | None, Row | None]:
    """The first table in which the row with that key is, and the row."""
    for path in paths:
        keys = tables.read(path, table, columns=[key])[key].to_pylist()
        if value in keys:
            rows = tables.read(path, table, columns=list(columns) if columns else None)
            return path, rows.slice(keys.index(value), 1).to_pylist()[0]
    return None, None


def _captions(paths: Iterable[Path], wanted: Sequence[int]) -> list[Row]:
    """The captions with the ids `wanted`, in that order, as far as they are there."""
    found: dict[int, Row] = {}
    for path in paths:
        if len(found) < len(wanted):
            rows = tables.read(path, tables.CAPTIONS).to_pylist()
            found |= {row["caption_id"]: row for row in rows if row["caption_id"] in wanted}
    return [found[caption_id] for caption_id in wanted if caption_id in found]


def _datasets(results: Path, arms: Iterable[str], image_id: str) -> dict[str, str]:
    """For each arm that has a dataset and knows the image: its number of pairs, or why it has none."""
    found = {}
    for arm in arms:
        folder = results / "dataset" / arm
        if (folder / "ledger.parquet").exists():
            rows = tables.read(folder / "ledger.parquet", tables.LEDGER).to_pylist()
            reasons = [row["reason"] for row in rows if row["item_id"] == image_id]
            pairs = tables.read(folder / "pairs.parquet", tables.PAIRS, columns=["image_id"])["image_id"]
            count = pairs.to_pylist().count(image_id)
            if reasons:
                pairs_of_it = f"{count} pair{'s' if count > 1 else ''}"
                found[arm] = pairs_of_it if count else f"not in it: {reasons[-1]}"
    return found


def _unknown(results: Path, arm: str, number: str) -> InputError:
    known = _known_ids(results, arm)
    if not known:
        hint = f"an id is an arm and a number; arms with images there: {', '.join(_drawn_arms(results)) or 'none'}"
        return InputError(results, f"{arm}-{number}" if arm else number, "no image of that id", hint)
    numbers = {int(image_id.rpartition("-")[2]): image_id for image_id in known}
    wanted = int(number) if number.isdecimal() else 0
    nearest = sorted(numbers, key=lambda other: (abs(other - wanted), other))[:NEAREST]
    hint = f"the nearest are {', '.join(numbers[other] for other in nearest)}"
    return InputError(results, f"{arm}-{number}", f"no image of that id among the {len(known):,} of {arm}", hint)


def _drawn_arms(results: Path) -> list[str]:
    return sorted(path.name for path in (results / "images").glob("*/") if (path / "sentences.parquet").exists())


def _known_ids(results: Path, arm: str) -> list[str]:
    """In the order of their numbers, each once: a run made anew with other shards leaves its old tables behind."""
    paths = _there(results / "images" / arm / "sentences.parquet")
    table = tables.SENTENCES
    if arm == "real":
        paths, table = sorted((results / "pictures").glob("*/images.parquet")), tables.IMAGES
    ids = {image_id for path in paths for image_id in _column(path, table, "image_id")}
    return sorted(ids, key=lambda image_id: int(image_id.rpartition("-")[2]))


def _column(path: Path, table: tables.Table, name: str) -> list[Any]:
    return list(tables.read(path, table, columns=[name])[name].to_pylist())


def describe(found: Trace) -> str:
    """A trace as lines for people."""
    lines = [("image", found.image_id), *_sentence_lines(found)]
    if found.image is None:
        lines.append(("drawn", "not yet" if found.sentence else "no"))
    else:
        lines += [("model", found.image["model"]), ("shard", str(found.shard))]
    if found.safety is not None:
        lines.append(("safety", f"{found.safety['verdict']}, score {found.safety['score']:.3f}"))
    lines += [("dataset", f"{arm}: {state}") for arm, state in found.datasets.items()]
    return "\n".join(f"{name:<10}{text}" for name, text in lines)


def _sentence_lines(found: Trace) -> list[tuple[str, str]]:
    sentence, summary, lines = found.sentence, found.summary, []
    if sentence is not None:
        lines += [("sentence", sentence["sentence"]), ("seed", str(sentence["seed"]))]
    if summary is not None:
        lines.append(("group", f"{summary['group_id']}, {_state(summary)}"))
        lines.append(("prompt", f"{summary['prompt_hash']} ({summary['model']})"))
    return lines + [("caption", f"{row['caption_id']}: {row['caption']}") for row in found.captions]


def _state(summary: Row) -> str:
    if summary["status"] == "ok":
        return f"summarised from {len(summary['selected'])} captions"
    return f"{summary['status']}: {summary['reason']}"
