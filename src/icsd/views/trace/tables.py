"""What there is to trace, and what to say of an id that nothing has."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.corpora.entries import LARGEST

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Membership:
    """What an arm's dataset has of an item: pairs, or the reason why there are none."""

    pairs: int
    reason: str | None = None


def check_folder(results: Path, wanted: str) -> None:
    """InputError where there is no such folder."""
    if not results.is_dir():
        raise InputError(results, wanted, "there is no such folder", "give a run's folder with --results")


def shards(folder: Path) -> list[Path]:
    """The newest first: a run made anew with other shards leaves its old ones behind."""
    return sorted(folder.glob("*-of-*.parquet"), key=lambda path: path.stat().st_mtime, reverse=True)


def there(path: Path) -> list[Path]:
    """The path in a list, which is empty where nothing is there."""
    return [path] if path.exists() else []


def find(
    paths: Iterable[Path],
    table: tables.Table,
    key: str,
    value: str | int,
    columns: Sequence[str] | None = None,
) -> tuple[Path | None, Row | None]:
    """The first table in which the row with that key is, and the row."""
    if isinstance(value, int) and abs(value) > LARGEST:
        return None, None
    for path in paths:
        keys = tables.read(path, table, columns=[key])[key]
        place = pc.index(keys, pa.scalar(value, keys.type)).as_py()
        if place >= 0:
            return path, tables.read(path, table, columns).slice(place, 1).to_pylist()[0]
    return None, None


def find_all(
    paths: Iterable[Path], table: tables.Table, key: str, wanted: Sequence[int], columns: Sequence[str] | None = None
) -> dict[int, Row]:
    """The rows with these keys, the first of each, as far as they are there."""
    found: dict[int, Row] = {}
    values = pa.array(wanted, pa.int64())
    for path in paths:
        if len(found) < len(wanted):
            rows = tables.read(path, table, columns)
            rows = rows.filter(pc.is_in(rows[key], value_set=values))
            found = {row[key]: row for row in rows.to_pylist()} | found
    return found


def holding(path: Path, table: tables.Table, member: int) -> list[Row]:
    """The rows of a table whose `caption_ids` hold the caption `member`."""
    rows = tables.read(path, table, columns=[*table.key, "caption_ids"])["caption_ids"].combine_chunks()
    inside = pc.equal(pc.list_flatten(rows), pa.scalar(member, pa.int64()))
    places = pc.unique(pc.list_parent_indices(rows).filter(inside))
    return list(tables.read(path, table).take(places).to_pylist()) if len(places) else []


def captions_of(results: Path, wanted: Sequence[int]) -> list[Row]:
    """The captions with the ids `wanted`, in that order, as far as they are there."""
    found = find_all(there(results / "captions" / "all.parquet"), tables.CAPTIONS, "caption_id", wanted)
    return [found[caption_id] for caption_id in wanted if caption_id in found]


def memberships(results: Path, arms: Iterable[str], image_id: str) -> dict[str, Membership]:
    """For each arm that has a dataset and knows the image: its number of pairs, or why it has none."""
    found = {}
    for arm in arms:
        folder = results / "dataset" / arm
        if (folder / "ledger.parquet").exists():
            rows = tables.read(folder / "ledger.parquet", tables.LEDGER)
            reasons = rows.filter(pc.equal(rows["item_id"], image_id))["reason"].to_pylist()
            pairs = tables.read(folder / "pairs.parquet", tables.PAIRS, columns=["image_id"])["image_id"]
            count = pc.sum(pc.equal(pairs, image_id)).as_py() or 0
            if reasons:
                found[arm] = Membership(count, None if count else reasons[-1])
    return found


def captioners_of(results: Path, arms: Iterable[str]) -> list[str]:
    """The trained captioners of these arms, such as "multi/seed-0"."""
    folders = [path.parent for arm in arms for path in (results / "captioner" / arm).glob("seed-*/history.parquet")]
    return sorted(f"{folder.parent.name}/{folder.name}" for folder in folders)


def captioners_with(results: Path, datasets: Mapping[str, Membership]) -> list[str]:
    """The captioners that were trained on pairs of these datasets."""
    return captioners_of(results, [arm for arm, member in datasets.items() if member.pairs])


def drawn_arms(results: Path) -> list[str]:
    """The arms that have sentences to draw."""
    return sorted(path.name for path in (results / "images").glob("*/") if (path / "sentences.parquet").exists())


NEAREST = 3  # ids that the message about an unknown one names
SHOWN = 3  # ids of each arm that an overview names


def overview(results: Path) -> dict[str, list[str]]:
    """The images that are known of each arm; InputError if none is."""
    known = {arm: _known_ids(results, arm) for arm in [*drawn_arms(results), "real"]}
    if not any(known.values()):
        hint = "run snakemake first, or give a run's folder with --results"
        raise InputError(results, "", "no image is known yet", hint)
    return {arm: ids for arm, ids in known.items() if ids}


def unknown_image(results: Path, image_id: str) -> InputError:
    """Of an image: the nearest of its arm, or which arms there are."""
    arm, _, number = image_id.rpartition("-")
    known = _known_ids(results, arm)
    if not known:
        arms = ", ".join(drawn_arms(results)) or "none"
        hint = f"an id is an arm and a number, or group-12, caption-12; arms with images there: {arms}"
        return InputError(results, image_id, "no image of that id", hint)
    numbers = {int(each.rpartition("-")[2]): each for each in known}
    nearest = _nearest(list(numbers), int(number) if number.isdecimal() else 0)
    hint = f"the nearest are {', '.join(numbers[other] for other in nearest)}"
    return InputError(results, image_id, f"no image of that id among the {len(known):,} of {arm}", hint)


def unknown_number(results: Path, kind: str, number: int, wanted: str) -> InputError:
    """Of a caption or a group: the nearest ones."""
    table = tables.GROUPS if kind == "group" else tables.CAPTIONS
    paths = there(results / f"{kind}s" / "all.parquet")
    known = [each for path in paths for each in _column(path, table, f"{kind}_id")]
    if not known:
        hint = "run snakemake first, or give a run's folder with --results"
        return InputError(results, wanted, f"no {kind} is known yet", hint)
    nearest = ", ".join(f"{kind}-{other}" for other in _nearest(known, number))
    return InputError(results, wanted, f"no {kind} of that id among the {len(known):,}", f"the nearest are {nearest}")


def _nearest(numbers: list[int], wanted: int) -> list[int]:
    return sorted(numbers, key=lambda other: (abs(other - wanted), other))[:NEAREST]


def _known_ids(results: Path, arm: str) -> list[str]:
    """In the order of their numbers, each once."""
    paths = there(results / "images" / arm / "sentences.parquet")
    table = tables.SENTENCES
    if arm == "real":
        paths, table = sorted((results / "pictures").glob("*/images.parquet")), tables.IMAGES
    ids = {image_id for path in paths for image_id in _column(path, table, "image_id")}
    return sorted(ids, key=lambda image_id: int(image_id.rpartition("-")[2]))


def _column(path: Path, table: tables.Table, name: str) -> list[Any]:
    return list(tables.read(path, table, columns=[name])[name].to_pylist())
