"""Trace: the origin of an image and the fate of a caption or a group, read from a run's tables.

lineage    what the tables say of an image, a group or a caption
alignment  what they say of its scores: candidates of a sentence, pairs that were dropped or made
text       the same as lines for people, and as JSON
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icsd.core.errors import InputError
from icsd.core.ids import candidate_number, image_number
from icsd.views.options import Commands, add_results
from icsd.views.run import Run, found_run
from icsd.views.run_table import RunTable
from icsd.views.trace.lineage import CaptionTrace, GroupTrace, ImageTrace, trace_caption, trace_group, trace_image
from icsd.views.trace.text import as_json, as_lines, overview_json, overview_lines

__all__ = ["Trace", "add_trace", "describe", "describe_all", "trace"]

Trace = ImageTrace | GroupTrace | CaptionTrace
NEAREST = 3  # ids that the message about an unknown one names
_NUMBERED = re.compile(r"(?:(caption|group)-)?(-?\d+)", re.ASCII)


def add_trace(commands: Commands) -> None:
    """Add `icsd trace`."""
    command = commands.add_parser(
        "trace",
        help="show the origin of an image, and the fate of a caption or group",
        description="Show the origin of an image (sentence, captions, prompt, model, seed, verdict) and its fate; the "
        "captions of a group and the summary made of them; the fate of a caption.",
        epilog="An image's id is its arm and the id of its group or caption: multi-12, single-407, "
        "single_matched-407, real-33; multi-12_1 is another candidate of the sentence of multi-12. group-12 is the "
        "group with caption 12 as its anchor, caption-12 is the caption, and 12 alone is both. Without an id, each arm "
        "is listed with some of its images; before there are any, groups or captions are.",
    )
    command.add_argument("id", nargs="?", help="such as multi-12, group-12 or caption-12")
    command.add_argument("--json", action="store_true", help="print JSON")
    add_results(command)
    command.set_defaults(run=_command)


def _command(options: argparse.Namespace) -> str:
    if options.id is None:
        return describe_all(options.results, json=options.json)
    return describe(options.results, options.id, json=options.json)


def describe(results: Path, wanted: str, *, json: bool = False) -> str:
    """The traces of `wanted` as lines for people, or as JSON."""
    found = trace(results, wanted)
    return as_json(found) if json else as_lines(found)


def describe_all(results: Path, *, json: bool = False) -> str:
    """The images in the run's folder `results` by arm, or groups or captions before; InputError if nothing is known."""
    known = _overview(found_run(results))
    return overview_json(known) if json else overview_lines(known)


def trace(results: Path, wanted: str) -> list[Trace]:
    """The traces of an image (multi-12), a group (group-12) or a caption (caption-12) in the run's folder `results`.

    A number alone is a caption, and the group with that caption as its anchor, if there is one. InputError, naming the
    nearest ids, where nothing is known.
    """
    run = found_run(results)
    if not (numbered := _NUMBERED.fullmatch(wanted)):
        if image := trace_image(run, wanted):
            return [image]
        raise _unknown_image(run, wanted)
    kind, number = numbered[1], int(numbered[2])
    found: list[Trace | None] = []
    if kind != "group":
        found.append(trace_caption(run, number))
    if kind != "caption":
        found.append(trace_group(run, number))
    if not any(found):
        raise _unknown_number(run, kind or "caption", number, wanted)
    return [each for each in found if each]


# --- Known ids --------------------------------------------------------------------------------------------------------


def _overview(run: Run) -> Mapping[str, Sequence[str]]:
    known = {arm: ids for arm in [*_drawn_arms(run), "real"] if (ids := _known_ids(run, arm))}
    for kind, table in (("group", run.groups), ("caption", run.captions)):
        if not known and (numbers := _ids(table)):
            return {kind: [f"{kind}-{number}" for number in sorted(numbers)]}
    if not known:
        hint = "run snakemake first, or give a run's folder with --results"
        raise InputError(run.folder, "", "no image, group or caption is known yet", hint)
    return known


def _unknown_image(run: Run, image_id: str) -> InputError:
    """The error that names the nearest images of the arm, or the arms that exist."""
    arm, _, number = image_id.rpartition("-")
    known = _known_ids(run, arm)
    if not known:
        arms = ", ".join(_drawn_arms(run)) or "none"
        hint = f"an id is an arm and a number, or group-12, caption-12; arms with images there: {arms}"
        return InputError(run.folder, image_id, "no image of that id", hint)
    by_number = {image_number(each): each for each in reversed(known)}  # first candidates replace further ones
    number = number.partition("_")[0]
    nearest = _nearest(list(by_number), int(number) if number.isdecimal() else 0)
    hint = f"the nearest are {', '.join(by_number[other] for other in nearest)}"
    return InputError(run.folder, image_id, f"no image of that id among the {len(known):,} of {arm}", hint)


def _unknown_number(run: Run, kind: str, number: int, wanted: str) -> InputError:
    """The error that names the nearest captions or groups, or says why a group was dropped."""
    ledger = run.group_ledger.select([str(number)], key="item_id") if kind == "group" else None
    if reason := ledger and len(ledger) and ledger["reason"][0].as_py():
        hint = "keys of groups in the config decide which are kept"
        return InputError(run.folder, wanted, f"the group was dropped: {reason}", hint)
    known = _ids(run.groups if kind == "group" else run.captions)
    if not known:
        hint = "run snakemake first, or give a run's folder with --results"
        return InputError(run.folder, wanted, f"no {kind} is known yet", hint)
    nearest = ", ".join(f"{kind}-{other}" for other in _nearest(known, number))
    problem = f"no {kind} of that id among the {len(known):,}"
    return InputError(run.folder, wanted, problem, f"the nearest are {nearest}")


def _nearest(numbers: list[int], wanted: int) -> list[int]:
    return sorted(numbers, key=lambda other: (abs(other - wanted), other))[:NEAREST]


def _drawn_arms(run: Run) -> list[str]:
    """The arms that have sentences to draw."""
    return [arm for arm in run.drawn if run.sentences(arm).there]


def _known_ids(run: Run, arm: str) -> list[str]:
    """The ids of an arm's images in the order of their numbers, each once."""
    if arm == "real":
        found = [run.photographs(split) for split in run.splits]
    else:
        found = [run.sentences(arm)] if arm in run.drawn else []
    ids = {image_id for table in found for image_id in _ids(table)}
    return sorted(ids, key=lambda image_id: (image_number(image_id), candidate_number(image_id)))


def _ids(found: RunTable) -> list[Any]:
    key = found.table.key[0]
    return found.rows([key])[key].to_pylist()
