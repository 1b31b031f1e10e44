"""What there is to trace, and what to say of an id that nothing has."""

from pathlib import Path
from typing import Any

from icsd import tables
from icsd.errors import InputError
from icsd.trace.tables import drawn_arms, there

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
