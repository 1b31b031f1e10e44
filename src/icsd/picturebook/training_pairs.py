"""How true an arm's training pairs are, by the probe's eyes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from icsd import tables
from icsd.picturebook.naming import count_objects, named_objects
from icsd.picturebook.probe import see_objects

PAIR_MEASURES = ("objects named", "of them seen", "objects seen", "of them named")


def measure_pairs(arm: str, pairs: str, images: Sequence[str], probe: str, table: str) -> None:
    """Write the QUALITY of an arm's PAIRS, whose pictures are in the IMAGES tables.

    Named and seen as `count_objects` has it; a picture's object is named if one of its captions names the kind.
    """
    captions: dict[str, list[str]] = defaultdict(list)
    for row in tables.read(pairs, tables.PAIRS).to_pylist():
        captions[row["image_id"]].append(row["caption"])
    seen = see_objects(images, list(captions), Path(probe))
    counts = [count_objects(said, [objects] * len(said)) for said, objects in zip(captions.values(), seen, strict=True)]
    named, true = (sum(each[:, column].sum() for each in counts) for column in (0, 1))
    kinds = [{kind for caption in said for _, kind in named_objects(caption)} for said in captions.values()]
    told = sum(kind in said for objects, said in zip(seen, kinds, strict=True) for _, kind in objects)
    texts, shown = sum(map(len, captions.values())), sum(map(len, seen))
    shares = ((named, texts), (true, named), (shown, len(seen)), (told, shown))
    rows = [
        {"model": arm, "measure": measure, "value": part / whole if whole else 0.0, "items": int(whole)}
        for measure, (part, whole) in zip(PAIR_MEASURES, shares, strict=True)
    ]
    tables.write(table, tables.QUALITY, rows)


def read_probed_pairs(paths: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """The measures of each arm's pairs, from its QUALITY table."""
    return {
        arm: {row["measure"]: row["value"] for row in tables.read(path, tables.QUALITY).to_pylist()}
        for arm, path in paths.items()
    }
