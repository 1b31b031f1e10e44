"""Trace: where an image comes from and what became of a caption or a group, read from a run's tables.

tables    rows of a run's tables, as far as they are there
images    an image: sentence, captions, prompt, model, verdict; datasets, captioners, predictions
groups    a group: members, summary, the image drawn from it
captions  a caption: the groups that it is in, images, pairs, captioners
unknown   what to say of an id that nothing has, and what there is
text      all of it as lines for people, and as JSON
"""

import re
from pathlib import Path

from icsd.views.trace.lineage import CaptionTrace, GroupTrace, ImageTrace, trace_caption, trace_group, trace_image
from icsd.views.trace.tables import check_folder, overview, unknown_image, unknown_number
from icsd.views.trace.text import as_json, as_lines, overview_json, overview_lines

__all__ = ["Trace", "describe", "describe_all", "trace"]

Trace = ImageTrace | GroupTrace | CaptionTrace
_NUMBERED = re.compile(r"(?:(caption|group)-)?(-?\d+)", re.ASCII)


def trace(results: Path, wanted: str) -> list[Trace]:
    """What the tables in `results` say of an image (multi-12), a group (group-12) or a caption (caption-12).

    A number alone is a caption's, and that of the group that it heads, where there is one. InputError, naming the
    nearest ids, where nothing is known.
    """
    check_folder(results, wanted)
    if not (numbered := _NUMBERED.fullmatch(wanted)):
        if image := trace_image(results, wanted):
            return [image]
        raise unknown_image(results, wanted)
    kind, number = numbered[1], int(numbered[2])
    found: list[Trace | None] = []
    if kind != "group":
        found.append(trace_caption(results, number))
    if kind != "caption":
        found.append(trace_group(results, number))
    if not any(found):
        raise unknown_number(results, kind or "caption", number, wanted)
    return [each for each in found if each]


def describe(results: Path, wanted: str, *, json: bool = False) -> str:
    """The same as lines for people, or as JSON."""
    found = trace(results, wanted)
    return as_json(found) if json else as_lines(found)


def describe_all(results: Path, *, json: bool = False) -> str:
    """What images there are in `results`, by arm; InputError if none is known."""
    check_folder(results, "")
    known = overview(results)
    return overview_json(known) if json else overview_lines(known)
