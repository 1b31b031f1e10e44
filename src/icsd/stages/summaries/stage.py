"""The stage summaries: from GROUPS and CAPTIONS to SUMMARIES."""

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from icsd.config import SummariesConfig
from icsd.core import tables
from icsd.core.errors import InputError, check_drop_share
from icsd.core.languages import ENGLISH
from icsd.core.lock import locked
from icsd.stages.summaries.prompts import load_prompt
from icsd.stages.summaries.providers import model_name, summarize
from icsd.stages.summaries.quality import Group, Summary

_log = logging.getLogger(__name__)


def summarize_groups(
    groups: Path,
    captions: Path,
    prompt: Path,
    summaries: Path,
    config: SummariesConfig,
    results: Path,
    shard: str | None = None,
    language: str = ENGLISH,
) -> None:
    """Write the SUMMARIES of a `shard` of GROUPS, or of all: a row for every group, dropped ones with their reason.

    `captions` has all CAPTIONS, because a group's members are in any shard. Every row has the hash of the run's prompt
    file, even for `merge`, which does not read it. An empty shard gives an empty table, and sends no request. `results`
    is the run's folder: spending is counted under its name and against the budget in it. Of two processes that write
    the same summaries the second waits for the first, and finds its responses, so that none is paid for twice.
    """
    checked = load_prompt(prompt)
    members = _read_groups(groups, shard, captions)
    with locked(summaries):
        found = summarize(members, checked, config, results, language) if members else ()
        rows = [
            _row(group, summary, model_name(config), checked.hash)
            for group, summary in zip(members, found, strict=True)
        ]
        if lenient := sum(row["lenient"] for row in rows):
            _log.info("summaries: %s of %s answers were found in longer replies", f"{lenient:,}", f"{len(rows):,}")
        check_drop_share(
            {f"group {row['group_id']}": row["reason"] for row in rows if row["reason"]},
            len(rows),
            items=f"groups of {groups}" + (f", {shard}," if shard else ""),
            setting="summaries.max_drop_share",
            limit=config.max_drop_share,
            hint="Mend what the reasons name (the model, the prompt, the server)",
        )
        tables.write(summaries, tables.SUMMARIES, rows)


def _read_groups(groups: Path, shard: str | None, captions: Path) -> list[Group]:
    rows = tables.read(groups, tables.GROUPS, columns=["group_id", "caption_ids"], shard=shard)
    wanted = pc.unique(pc.list_flatten(rows["caption_ids"]))
    texts = _texts(wanted, captions)
    found = []
    for group_id, ids in zip(rows["group_id"].to_pylist(), rows["caption_ids"].to_pylist(), strict=True):
        missing = [caption_id for caption_id in ids if caption_id not in texts]
        if missing:
            hint = "captions and groups are of different runs: delete the groups folder and run snakemake again"
            raise InputError(groups, f"group_id {group_id}", f"caption {missing[0]} is not among the captions", hint)
        found.append(Group(group_id, tuple(ids), tuple(texts[caption_id] for caption_id in ids)))
    return found


def _texts(wanted: pa.Array, captions: Path) -> dict[int, str]:
    """Captions by id, only those in `wanted`: a shard does not hold the whole corpus in memory."""
    if not len(wanted):
        return {}
    rows = tables.read(captions, tables.CAPTIONS, columns=["caption_id", "caption"])
    rows = rows.filter(pc.is_in(rows["caption_id"], value_set=wanted))
    return dict(zip(rows["caption_id"].to_pylist(), rows["caption"].to_pylist(), strict=True))


def _row(group: Group, summary: Summary, model: str, prompt_hash: str) -> dict[str, Any]:
    return {
        "group_id": group.group_id,
        "summary": summary.text,
        "selected": [group.caption_ids[index] for index in summary.selected],
        "status": "ok" if summary.reason is None else "dropped",
        "reason": summary.reason,
        "prompt_tokens": summary.prompt_tokens,
        "completion_tokens": summary.completion_tokens,
        "model": model,
        "prompt_hash": prompt_hash,
        "lenient": summary.lenient,
        **_quality(group, summary),
    }


def _quality(group: Group, summary: Summary) -> dict[str, Any]:
    found = summary.quality
    if found is None:
        return {"unsupported": [], "covered": [], "image_tokens": None}
    selected = [group.caption_ids[index] for index in summary.selected]
    return {
        "unsupported": list(found.unsupported),
        "covered": [selected[index] for index in found.covered] if selected else [],
        "image_tokens": found.image_tokens,
    }
