"""Counts of requests to a language model, and of the characters of their prompts."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from icsd.config import Config
from icsd.core.errors import AGAIN, InputError
from icsd.core.logs import progress
from icsd.llm.cache import ResponseCache
from icsd.llm.request import Sampling
from icsd.stages.summaries.prompts import Prompt
from icsd.stages.summaries.providers import endpoint_sampling, first_request, model_name
from icsd.stages.summaries.quality import Group
from icsd.views.estimate.amounts import CONFIG, SAMPLE, TABLES, Amount, Texts
from icsd.views.run import Run

MOST_RENDERED = 2_000  # prompts: the mean length of so many is known to less than a per cent


@dataclass(frozen=True)
class Summarized:
    """The groups that have a summary of this prompt and model, and how many of these are usable."""

    group_ids: pa.ChunkedArray
    usable: int


def summarized_groups(config: Config, prompt: Prompt, run: Run) -> Summarized:
    """The groups of the run that are summarized, by its tables."""
    rows = run.summaries.rows(["group_id", "status", "model", "prompt_hash"])
    of_model = pc.equal(rows["model"], model_name(config.summaries))
    rows = rows.filter(pc.and_(of_model, pc.equal(rows["prompt_hash"], prompt.hash)))
    return Summarized(rows["group_id"], pc.sum(pc.equal(rows["status"], "ok")).as_py() or 0)


def count_requests(
    config: Config, prompt: Prompt, run: Run, corpus: Texts, groups: Amount, summarized: Summarized,
    rendered: bool,
) -> tuple[Amount, Amount]:  # fmt: skip
    """The first request for each group, equal ones counted once, and the characters of the prompts.

    Of more than MOST_RENDERED groups a sample is rendered, and counts for all.
    """
    if config.summaries.provider == "merge" or not groups.total:
        return Amount(0, source=CONFIG), Amount(0, source=CONFIG)
    if rendered and groups.source == corpus.source == TABLES:
        members = _members(run, corpus.captions)
        return _rendered(config, prompt, members, int(groups.total), summarized)
    k = min(config.groups.k, corpus.count)
    characters = len(prompt.render([""] * k)) + k * corpus.characters
    return Amount(groups.total), Amount(groups.total * characters)


def _rendered(
    config: Config, prompt: Prompt, groups: Iterator[Group], total: int, summarized: Summarized
) -> tuple[Amount, Amount]:
    """The requests as they are sent; those with a reply in the store are done."""
    sampling, characters, keys, ids = _sampling(config), dict[str, int](), list[str](), list[int]()
    shown = min(total, MOST_RENDERED)
    for group in progress(groups, shown, "prompts"):
        request = first_request(prompt, sampling, group, bounded=config.summaries.bounded)
        characters[request.key] = len(request.messages[0]["content"])
        keys.append(request.key)
        ids.append(group.group_id)
    there = pc.is_in(pa.array(ids, pa.int64()), value_set=summarized.group_ids).to_pylist()
    answered = {key for key, done in zip(keys, there, strict=True) if done}
    answered |= ResponseCache(Path(config.summaries.store)).find(characters).keys()
    done = sum(characters[key] for key in answered)
    source, times = (TABLES, 1) if shown == total else (SAMPLE, total / shown)
    requests = Amount(len(characters) * times, len(answered) * times, source)
    return requests, Amount(sum(characters.values()) * times, done * times, source)


def _sampling(config: Config) -> Sampling:
    """The sampling of requests. A local model's name stands for its digest, so its replies in the store do not count.

    The digest would need the weights, and to read them takes longer than the whole estimate.
    """
    if config.summaries.provider != "transformers":
        return endpoint_sampling(config.summaries.openai)
    settings = config.summaries.transformers
    return Sampling(settings.model, settings.temperature, settings.max_tokens)


def _members(run: Run, captions: pa.Table) -> Iterator[Group]:
    """Yield the groups with their captions; of many, MOST_RENDERED at even distances."""
    for rows in run.groups.read(["group_id", "caption_ids"]):
        chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_RENDERED)).astype(np.int64))
        some = rows.take(pa.array(chosen))
        wanted = pc.unique(pc.list_flatten(some["caption_ids"]))
        own = captions.filter(pc.is_in(captions["caption_id"], value_set=wanted))
        texts = dict(zip(own["caption_id"].to_pylist(), own["caption"].to_pylist(), strict=True))
        for group_id, ids in zip(some["group_id"].to_pylist(), some["caption_ids"].to_pylist(), strict=True):
            missing = [caption_id for caption_id in ids if caption_id not in texts]
            if missing:
                problem = f"caption {missing[0]} is not among the captions"
                raise InputError(run.groups.paths[0], f"group_id {group_id}", problem, AGAIN)
            yield Group(group_id, tuple(ids), tuple(texts[caption_id] for caption_id in ids))
