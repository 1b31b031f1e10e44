"""Traces as lines for people, and as JSON."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from icsd.core.text import one_line
from icsd.views.trace.alignment import AlignedPair, SentenceCandidates
from icsd.views.trace.lineage import (
    CaptionTrace,
    GroupMember,
    GroupOfCaption,
    GroupTrace,
    ImageTrace,
    Membership,
    Row,
)

Line = tuple[str, str]
SHOWN = 3  # ids of each arm in the overview
SHOWN_GROUPS = SHOWN_PAIRS = 10  # of a caption; JSON has all


def as_lines(found: Sequence[ImageTrace | GroupTrace | CaptionTrace]) -> str:
    """Lines for people, each with a name and a value; an empty line between two traces."""
    blocks = [[f"{name:<10}{one_line(text)}" for name, text in _lines(each)] for each in found]
    return "\n\n".join("\n".join(block) for block in blocks)


def as_json(found: Sequence[ImageTrace | GroupTrace | CaptionTrace]) -> str:
    """A JSON object with a key for each trace: image, group or caption."""
    kinds = {ImageTrace: "image", GroupTrace: "group", CaptionTrace: "caption"}
    document = {kinds[type(each)]: asdict(each) for each in found}
    return json.dumps(document, ensure_ascii=False, indent=2, default=str)


def overview_lines(known: Mapping[str, Sequence[str]]) -> str:
    """Lines for people: each arm that has images, their number, and some of their ids."""
    return "\n".join(f"{arm:<16}{len(ids):,} known, such as {', '.join(ids[:SHOWN])}" for arm, ids in known.items())


def overview_json(known: Mapping[str, Sequence[str]]) -> str:
    """A JSON object of all ids by arm."""
    return json.dumps(known, indent=2)


def _lines(found: Any) -> Iterator[Line]:
    if isinstance(found, ImageTrace):
        yield from _image_lines(found)
    elif isinstance(found, GroupTrace):
        yield from _group_lines(found)
    else:
        yield from _caption_lines(found)


def _image_lines(found: ImageTrace) -> Iterator[Line]:
    yield "image", found.image_id
    if found.sentence is not None:
        yield "sentence", found.sentence["sentence"]
        yield "seed", str(found.sentence["seed"])
    if found.summary is not None:
        yield "group", f"{found.summary['group_id']}, {_state(found.summary)}"
        yield _prompt(found.summary)
    for row in found.captions:
        yield "caption", f"{row['caption_id']}: {row['caption']}{_in_brackets(found.scores.get(row['caption_id']))}"
    yield from _score_lines(found)
    yield from _drawn_lines(found)


def _score_lines(found: ImageTrace) -> Iterator[Line]:
    """Lines with the score of the sentence, and of a group's anchor that is not among the captions."""
    if found.sentence_score is not None:
        yield "score", f"{found.sentence_score:.3f} for the sentence"
    captions = {row["caption_id"] for row in found.captions}
    for caption_id, score in found.scores.items():
        if caption_id not in captions:
            yield "score", f"{score:.3f} for caption {caption_id}"


def _drawn_lines(found: ImageTrace) -> Iterator[Line]:
    """Lines on the drawn image, its verdict, datasets, captioners and predictions."""
    if found.candidates is not None:
        yield from _candidate_lines(found.candidates, found.image_id)
    if found.image is None:
        yield "drawn", "not yet" if found.sentence else "no"
    else:
        yield "model", found.image["model"]
        yield "shard", str(found.shard)
        if found.image.get("reason"):
            yield "drawn", f"no: {found.image['reason']}"
    if found.safety is not None:
        score = found.safety["score"]
        yield "safety", found.safety["verdict"] + ("" if score is None else f", score {score:.3f}")
    yield from (("dataset", f"{arm}: {_membership(member)}") for arm, member in found.datasets.items())
    for pair in found.pairs:
        if pair.reason or pair.matched:
            yield _pair_line(pair, f"caption {pair.caption_id}")
    yield from (("captioner", name) for name in found.captioners)
    yield from (("predicted", f"{name}: {caption}") for name, caption in found.predictions.items())


def _candidate_lines(candidates: SentenceCandidates, image_id: str) -> Iterator[Line]:
    for each in candidates.image_ids:
        used_by = [arm for arm, used in candidates.used.items() if used == each]
        notes = [*(["this image"] if each == image_id else []), *([f"used by {', '.join(used_by)}"] if used_by else [])]
        yield "candidate", "; ".join([each, *notes])


def _pair_line(pair: AlignedPair, other: str) -> Line:
    """A line on a pair: the arm, and the image or the caption at its `other` end."""
    weight = "" if pair.weight is None else f", weight {pair.weight:.3f}"
    if pair.reason:  # it has the score
        return "dropped", f"{pair.arm}: {other}, {pair.reason}"
    return "pair", f"{pair.arm}: {other}{_in_brackets(pair.score)}{weight}" + (
        ", made by alignment.rematch" if pair.matched else ""
    )


def _in_brackets(score: float | None) -> str:
    return "" if score is None else f" ({score:.3f})"


def _group_lines(found: GroupTrace) -> Iterator[Line]:
    summary = found.summary
    yield "group", f"{found.group_id}, {_state(summary) if summary else 'not summarised yet'}"
    if summary is not None:
        if summary["summary"] is not None:
            yield "summary", summary["summary"]
        yield _prompt(summary)
        if summary["prompt_tokens"] is not None:
            yield (
                "tokens",
                f"{summary['prompt_tokens']:,} of the prompt, {summary['completion_tokens']:,} of the answer",
            )
    yield from map(_member_line, found.members)
    if found.image is not None:
        yield "image", found.image.image_id
        yield from _drawn_lines(found.image)


def _member_line(member: GroupMember) -> Line:
    text = "not among the captions" if member.caption is None else member.caption
    return "selected" if member.selected else "member", f"{member.caption_id}: {text} ({member.similarity:.3f})"


def _caption_lines(found: CaptionTrace) -> Iterator[Line]:
    row = found.caption
    yield "caption", f"{row['caption_id']}: {row['caption']}"
    yield "corpus", f"image {row['image_id']}, split {row['split']}"
    yield from (("guard", f"{'kept' if row['kept'] else 'dropped'}, {row['reason']}") for row in found.guard)
    yield from _lines_of_groups(found.groups)
    yield from (("image", image_id) for image_id in found.images)
    yield from (("dataset", f"{arm}: {_membership(Membership(count))}") for arm, count in found.pairs.items())
    yield from (_pair_line(pair, pair.image_id) for pair in found.scored_pairs[:SHOWN_PAIRS])
    if len(found.scored_pairs) > SHOWN_PAIRS:
        yield "pair", f"and {len(found.scored_pairs) - SHOWN_PAIRS:,} more (--json has all)"
    yield from (("rematch", f"{arm}: {reason}") for arm, reason in found.unmatched.items())
    yield from (("captioner", name) for name in found.captioners)


def _lines_of_groups(groups: Sequence[GroupOfCaption] | None) -> Iterator[Line]:
    if not groups:
        yield "groups", "not formed yet" if groups is None else "in none"
        return
    selected = sum(bool(group.selected) for group in groups)
    yield "groups", f"in {len(groups):,}, selected in {selected:,}"
    for group in groups[:SHOWN_GROUPS]:
        state = {None: "not summarised yet", True: "selected", False: "not selected"}[group.selected]
        anchor = ", as its anchor" if group.rank == 0 else ""
        yield "group", f"{group.group_id}: {state}{anchor} ({group.similarity:.3f})"
    if len(groups) > SHOWN_GROUPS:
        yield "group", f"and {len(groups) - SHOWN_GROUPS:,} more (--json has all)"


def _prompt(summary: Row) -> Line:
    return "prompt", f"{summary['prompt_hash']} ({summary['model']})"


def _state(summary: Row) -> str:
    if summary["status"] == "ok":
        return f"summarised from {len(summary['selected'])} captions"
    return f"{summary['status']}: {summary['reason']}"


def _membership(member: Membership) -> str:
    return f"{member.pairs} pair{'s' if member.pairs > 1 else ''}" if member.pairs else f"not in it: {member.reason}"
