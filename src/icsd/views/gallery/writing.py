"""The gallery's folder: a page, its script and style, and data in scripts that it loads when they are looked at."""

import logging
from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from icsd.core import files
from icsd.core.errors import InputError
from icsd.core.ids import drawing_order
from icsd.views.gallery.packs import FULL_PACK, Packs, image_files, thumbnail_and_full, write_script
from icsd.views.gallery.pictures import Picture, drawn_pictures, real_pictures
from icsd.views.gallery.predictions import Predictions, read_predictions
from icsd.views.gallery.run import Run, Shelf

_log = logging.getLogger(__name__)
Place = tuple[str, int]


def write_gallery(run: Run, folder: Path, pictures: int) -> list[str]:
    """Write the gallery of at most `pictures` pictures an arm to `folder`; what is not there yet, in words.

    A gallery that stands there is replaced; InputError for another folder with something in it.
    """
    _check_own(folder)
    shelf = Shelf(run.folder)
    shown, counts = _pictures(run, shelf, pictures)
    tests = [read_predictions(run, shelf, name) for name in run.tests]
    with files.atomic_path(folder) as unfinished:
        data = unfinished / "data"
        data.mkdir(parents=True)
        _write_pictures(run, shelf, shown, data)
        for number, one in enumerate(tests):
            _write_test(run, shelf, one, number, data)
        missing = shelf.missing()
        _write_page(run, counts, tests, missing, unfinished)
    _log.info("%s; %s", summary_of(counts), f"not there yet: {'; '.join(missing)}" if missing else "all of it there")
    return missing


def _check_own(folder: Path) -> None:
    if folder.exists() and not (folder / "gallery.js").is_file() and any(folder.iterdir()):
        problem, hint = "has other things in it, which would be deleted", "name a new folder with --output"
        raise InputError(folder, "", problem, hint)


def summary_of(counts: Mapping[str, tuple[int, int]]) -> str:
    """How many pictures of each arm are shown, of how many."""
    return ", ".join(f"{arm}: {shown:,} of {there:,} pictures" for arm, (shown, there) in counts.items())


def _pictures(run: Run, shelf: Shelf, limit: int) -> tuple[list[Picture], dict[str, tuple[int, int]]]:
    """All pictures, those of the same head caption beside each other; and how many of each arm, of how many."""
    found = {arm: drawn_pictures(run, shelf, arm, limit) for arm in run.drawn}
    shown = [picture for pictures, _ in found.values() for picture in pictures]
    shown.sort(key=lambda picture: drawing_order(picture.number))
    if "real" in run.arms:
        found["real"] = real_pictures(run, shelf, limit)
        shown += found["real"][0]
    return shown, {arm: (len(pictures), count) for arm, (pictures, count) in found.items()}


def _write_pictures(run: Run, shelf: Shelf, shown: Sequence[Picture], data: Path) -> None:
    """The catalogue, which is searched and sorted, and packs with what one picture more needs."""
    wanted = {picture.image_id: picture for picture in shown}
    paths = [path for arm in run.drawn for path in run.of_shards(f"images/{arm}")]
    paths += run.file("pictures/real/images") if "real" in run.arms else []
    thumbnails, full = {}, {}
    packs = Packs(data, "full", FULL_PACK)
    for image_id, file in image_files(shelf.there(paths), wanted):
        thumbnails[image_id], larger = thumbnail_and_full(file, image_id)
        if larger:
            full[image_id] = packs.add(larger)
    packs.close()
    packs = Packs(data, "pictures")
    rows = [_entry(each, packs.add(_detail(each, thumbnails)), full.get(each.image_id)) for each in shown]
    packs.close()
    write_script(data, "catalog", _columns(rows))


def _entry(picture: Picture, place: Place, full: Place | None) -> dict[str, Any]:
    """What is searched, filtered and sorted by, and where the rest is."""
    return {
        "id": picture.image_id,
        "arm": picture.arm,
        "number": picture.number,
        "shard": picture.shard,
        "sentence": picture.sentence,
        "verdict": picture.verdict,
        "score": _rounded(picture.score),
        "similarity": _rounded(picture.similarity),
        "reason": picture.reason,
        "selected": sum(member.selected for member in picture.members),
        "captions": "\n".join(member.caption for member in picture.members if member.selected),
        "place": place,
        "full": full,
    }


def _detail(picture: Picture, thumbnails: Mapping[str, str]) -> dict[str, Any]:
    """What is shown of one picture; a seed as text, since a script's numbers have no 62 bits."""
    summary = picture.summary or {}
    return {
        "thumbnail": thumbnails.get(picture.image_id, ""),
        "seed": "" if picture.seed is None else str(picture.seed),
        "image_model": picture.model,
        "table": f"images/{picture.arm}/{picture.shard}.parquet" if picture.model else "",
        "prompt": picture.prompt_hash,
        "model": summary.get("model") or "",
        "tokens": [summary.get("prompt_tokens"), summary.get("completion_tokens")],
        "unsupported": summary.get("unsupported") or [],
        "datasets": picture.datasets,
        "captions": [[m.caption_id, m.caption, _rounded(m.similarity), m.selected] for m in picture.members],
    }


def _write_test(run: Run, shelf: Shelf, test: Predictions, number: int, data: Path) -> None:
    places: dict[str, Place] = {}
    packs = Packs(data, f"test-{number}")
    paths = shelf.there(run.file(f"pictures/{test.name}/images"))
    for image_id, file in image_files(paths, dict.fromkeys(test.ids)):
        places[image_id] = packs.add(thumbnail_and_full(file, image_id)[0])
    packs.close()
    value = {
        "captioners": test.captioners,
        "ids": test.ids,
        "references": test.references,
        "captions": test.captions,
        "scores": test.scores,
        "places": [places.get(image_id) for image_id in test.ids],
    }
    write_script(data, f"captions-{number}", value)


def _write_page(
    run: Run, counts: Mapping[str, tuple[int, int]], tests: Sequence[Predictions], missing: Sequence[str], folder: Path
) -> None:
    environment = Environment(
        loader=PackageLoader("icsd.views.gallery"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("index.html.j2").render(
        run=run.folder.name,
        counts=counts,
        missing=missing,
        tests=[(number, test.name, len(test.ids)) for number, test in enumerate(tests)],
    )
    (folder / "index.html").write_text(page, encoding="utf-8")
    for name in ("gallery.js", "gallery.css"):
        text = (package_files("icsd.views.gallery") / "static" / name).read_text(encoding="utf-8")
        (folder / name).write_text(text, encoding="utf-8")


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """A list a column: a fifth of the size of rows that each name their columns."""
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
