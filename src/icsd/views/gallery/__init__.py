"""Gallery: a run's pictures as a page that opens from disk: index.html, its script and style, and data in scripts.

pictures   the rows on each picture and each predicted caption, joined
alignment  the scores of pictures, and what the scores did to their pairs
packs      the scripts that hold the data
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from icsd.core import files
from icsd.core.errors import InputError
from icsd.core.ids import candidate_number, drawing_order
from icsd.core.languages import CODES, ENGLISH
from icsd.views.gallery.packs import FULL_PACK, Packs, Position, image_files, thumbnail_and_full, write_script
from icsd.views.gallery.pictures import (
    GalleryPicture,
    Predictions,
    drawn_pictures,
    read_predictions,
    real_pictures,
    tables_shown,
)
from icsd.views.options import Commands, add_results, positive
from icsd.views.run import SHARD, Run, found_run
from icsd.views.run_table import RunTable

__all__ = ["add_gallery", "missing_lines", "write_gallery"]

SHOWN_SHARDS = 3  # missing ones that are named
_log = logging.getLogger(__name__)


def add_gallery(commands: Commands) -> None:
    """Add `icsd gallery`."""
    command = commands.add_parser(
        "gallery",
        help="write a page with a run's pictures",
        description="Write a page with the pictures of a run, finished or not; it opens from disk. A finished run has "
        "one in its folder gallery/ already.",
    )
    add_results(command)
    command.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="the page's folder; a gallery there is replaced (default: gallery/ in the run's)",
    )
    command.add_argument(
        "--pictures", type=positive, default=2000, metavar="N", help="of each arm, at most (default: %(default)s)"
    )
    command.add_argument(
        "--language", choices=sorted(CODES), default=ENGLISH, metavar="CODE",
        help="captions.language of the run, for the scores of single captions (default: %(default)s)",
    )  # fmt: skip
    command.set_defaults(run=_command)


def _command(options: argparse.Namespace) -> str:
    run = replace(found_run(options.results), language=options.language)
    folder = options.output or run.gallery
    missing = write_gallery(run, folder, options.pictures)
    return "\n".join([f"{folder / 'index.html'}", *(f"not there yet: {line}" for line in missing)])


def write_gallery(run: Run, folder: Path, pictures: int) -> list[str]:
    """Write the gallery of at most `pictures` pictures an arm to `folder`; return lines on the tables that are missing.

    A gallery in the folder is replaced; InputError for a folder that holds other files.
    """
    _check_own(folder)
    shown, counts = _shown(run, pictures)
    tests = [read_predictions(run, name) for name in run.tests]
    missing = missing_lines(tables_shown(run))
    with files.atomic_path(folder) as unfinished:
        data = unfinished / "data"
        data.mkdir(parents=True)
        _write_pictures(run, shown, data)
        for number, one in enumerate(tests):
            _write_test(run, one, number, data)
        _write_page(run, counts, tests, missing, unfinished)
    _log.info("%s; %s", _summary(counts), f"not there yet: {'; '.join(missing)}" if missing else "all of it there")
    return missing


def missing_lines(found: Sequence[RunTable]) -> list[str]:
    """A line for each table of which files are missing; for a table in shards, how many and some of their names."""
    return [_missing_line(table) for table in found if table.missing]


def _missing_line(found: RunTable) -> str:
    missing, count = found.missing, len(found.paths)
    sharded = found.paths[0].match(SHARD)
    folder = found.name if sharded else found.name.rpartition("/")[0]
    below = [path.with_suffix("").as_posix().rpartition(f"/{folder}/")[2] for path in missing]  # candidate-1/0000-of-…
    if not sharded:
        return ", ".join(f"{folder}/{name}.parquet" for name in below)
    names = ", ".join(below[:SHOWN_SHARDS]) + " …" * (len(missing) > SHOWN_SHARDS)
    return f"{found.name}/: {len(missing):,} of {count:,} shards" + (f": {names}" if len(missing) < count else "")


def _check_own(folder: Path) -> None:
    if folder.exists() and not (folder / "gallery.js").is_file() and any(folder.iterdir()):
        problem, hint = "has other things in it, which would be deleted", "name a new folder with --output"
        raise InputError(folder, "", problem, hint)


def _summary(counts: Mapping[str, tuple[int, int]]) -> str:
    """Return, for each arm, the number of pictures shown and of all."""
    return ", ".join(f"{arm}: {shown:,} of {there:,} pictures" for arm, (shown, there) in counts.items())


def _shown(run: Run, limit: int) -> tuple[list[GalleryPicture], dict[str, tuple[int, int]]]:
    """Return all pictures, those of an anchor caption side by side, and for each arm the numbers shown and in all."""
    found = {arm: drawn_pictures(run, arm, limit) for arm in run.drawn}
    shown = [picture for pictures, _ in found.values() for picture in pictures]
    shown.sort(key=lambda picture: drawing_order(picture.number))
    if "real" in run.arms:
        found["real"] = real_pictures(run, limit)
        shown += found["real"][0]
    return shown, {arm: (len(pictures), count) for arm, (pictures, count) in found.items()}


# --- Data -------------------------------------------------------------------------------------------------------------


def _write_pictures(run: Run, shown: Sequence[GalleryPicture], data: Path) -> None:
    """Write the catalogue, which is searched and sorted, and packs with the details of each picture."""
    wanted = {picture.image_id: picture for picture in shown}
    paths = [path for arm in run.drawn for path in run.images(arm).there]
    paths += run.photographs("real").there if "real" in run.arms else []
    thumbnails, full = {}, {}
    packs = Packs(data, "full", FULL_PACK)
    for image_id, file in image_files(paths, wanted):
        thumbnails[image_id], larger = thumbnail_and_full(file, image_id)
        if larger:
            full[image_id] = packs.add(larger)
    packs.close()
    packs = Packs(data, "pictures")
    rows = [_entry(run, each, packs.add(_detail(run, each, thumbnails)), full.get(each.image_id)) for each in shown]
    packs.close()
    write_script(data, "catalog", _columns(rows))


def _entry(run: Run, picture: GalleryPicture, place: Position, full: Position | None) -> dict[str, Any]:
    """The fields for search, filters and order, and the positions of the rest."""
    entry = {
        "id": picture.image_id,
        "arm": picture.arm,
        "number": picture.number,
        "shard": picture.shard,
        "sentence": picture.sentence,
        "verdict": picture.verdict,
        "score": _rounded(picture.score),
        "similarity": _rounded(picture.similarity),
        "reason": picture.reason,
        "selected": sum(caption.selected for caption in picture.captions),
        "captions": "\n".join(caption.text for caption in picture.captions if caption.selected),
        "place": place,
        "full": full,
    }
    if run.aligned:
        entry["sentence_score"] = _rounded(picture.sentence_score)
        entry["caption_scores"] = [_rounded(c.score) for c in picture.captions if c.in_pairs and c.score is not None]
    if run.candidates > 1:
        entry |= {"candidate": _candidate(picture), "unused": picture.unused}
    return entry


def _candidate(picture: GalleryPicture) -> str:
    """The label of a further candidate for a sentence, and of an unused one; none for the first that is used."""
    number = candidate_number(picture.image_id)
    return f"candidate {number}{', not used' * picture.unused}" if number or picture.unused else ""


def _detail(run: Run, picture: GalleryPicture, thumbnails: Mapping[str, str]) -> dict[str, Any]:
    """The details of one picture; its seed is text, since a script's numbers do not hold 62 bits."""
    summary = picture.summary or {}
    return {
        "thumbnail": thumbnails.get(picture.image_id, ""),
        "seed": "" if picture.seed is None else str(picture.seed),
        "image_model": picture.model,
        "table": picture.table,
        "prompt": picture.prompt_hash,
        "model": summary.get("model") or "",
        "tokens": [summary.get("prompt_tokens"), summary.get("completion_tokens")],
        "unsupported": summary.get("unsupported") or [],
        "datasets": picture.datasets,
        "captions": [
            [c.caption_id, c.text, _rounded(c.similarity), c.selected, *([_rounded(c.score), c.note] * run.aligned)]
            for c in picture.captions
        ],
    }


def _write_test(run: Run, test: Predictions, number: int, data: Path) -> None:
    positions: dict[str, Position] = {}
    packs = Packs(data, f"test-{number}")
    for image_id, file in image_files(run.photographs(test.name).there, dict.fromkeys(test.ids)):
        positions[image_id] = packs.add(thumbnail_and_full(file, image_id)[0])
    packs.close()
    value = {
        "captioners": test.captioners,
        "ids": test.ids,
        "references": test.references,
        "captions": test.captions,
        "scores": test.scores,
        "places": [positions.get(image_id) for image_id in test.ids],
    }
    write_script(data, f"captions-{number}", value)


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return one list for each column: a fifth of the size of rows that each name their columns."""
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


# --- The page ---------------------------------------------------------------------------------------------------------


def _write_page(
    run: Run, counts: Mapping[str, tuple[int, int]], tests: Sequence[Predictions], missing: Sequence[str], folder: Path
) -> None:
    environment = Environment(
        loader=PackageLoader("icsd.views.gallery"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("index.html.j2").render(
        run=run.name,
        aligned=run.aligned,
        counts=counts,
        missing=missing,
        tests=[(number, test.name, len(test.ids)) for number, test in enumerate(tests)],
    )
    (folder / "index.html").write_text(page, encoding="utf-8")
    for name in ("gallery.js", "gallery.css"):
        text = (package_files("icsd.views.gallery") / "static" / name).read_text(encoding="utf-8")
        (folder / name).write_text(text, encoding="utf-8")
