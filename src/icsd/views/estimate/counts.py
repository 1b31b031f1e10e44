"""Counts: how many items each stage of a run has, and how many of them are done.

Tables count as they stand, even if an edited config makes them anew; only summaries of another prompt or model do not.
"""

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.compute as pc

from icsd.config import ARMS, Arm, Config, EstimateConfig
from icsd.core.store import Store
from icsd.corpora import Corpus
from icsd.stages.images import image_store
from icsd.stages.summaries.prompts import Prompt
from icsd.views.estimate.amounts import CONFIG, CORPUS, GUESS, TABLES, Amount, Texts
from icsd.views.estimate.requests import Summarized, count_requests, summarized_groups
from icsd.views.estimate.trainings import judged, judgements, trainings
from icsd.views.run import Run


@dataclass(frozen=True)
class Counts:
    """The work of a run, in items.

    `prompts` counts the characters of the `requests`, `arms` the sentences to draw by arm, `drawn` the pictures of them
    by arm, all candidates. `vectors` and `comparisons` are those of alignment.rematch. `judged` and
    `judgements` are the test pictures and the predicted captions of CLIPScore. `bytes_to_copy` are those of real
    pictures, `bytes_on_disk` those of the run's folder and of the pictures that it drew.
    """

    captions: Amount
    groups: Amount
    requests: Amount
    prompts: Amount
    pictures: Amount
    arms: Mapping[str, int]
    drawn: Mapping[str, int]
    scored: Amount
    vectors: Amount
    comparisons: Amount
    checks: Amount
    trainings: Amount
    judged: Amount
    judgements: Amount
    bytes_to_copy: int
    bytes_on_disk: int


def count(config: Config, prompt: Prompt, run: Run, *, rendered: bool = True) -> Counts:
    """The work of a run and the part that is done, by its tables and the store of replies.

    Unless `rendered`, the length of prompts is guessed from their number.
    """
    corpus = _corpus(config, run)
    summarized = summarized_groups(config, prompt, run)
    groups = _groups(config, run, corpus, summarized)
    requests, prompts = count_requests(config, prompt, run, corpus, groups, summarized, rendered)
    arms, source = _sentences(config, run, corpus, groups, summarized)
    drawn = {arm: _candidates(config, run, arm, number) for arm, number in arms.items()}
    pictures = _pictures(config, run, drawn, source)
    checked = sum(run.safety(arm).count() for arm in arms)
    vectors, comparisons = _matching(config, run, arms, drawn)
    return Counts(
        captions=Amount(corpus.count, run.embeddings.count(), corpus.source),
        groups=groups,
        requests=requests,
        prompts=prompts,
        pictures=pictures,
        arms=arms,
        drawn=drawn,
        scored=_scored(config, run, pictures),
        vectors=vectors,
        comparisons=comparisons,
        checks=replace(pictures, done=min(checked, pictures.total)),
        trainings=trainings(run),
        judged=judged(config, run),
        judgements=judgements(config, run),
        bytes_to_copy=_bytes_to_copy(config, run),
        bytes_on_disk=_bytes_in(run.folder) + _bytes_in(_store(config).own_folder),
    )


def _corpus(config: Config, run: Run) -> Texts:
    """The captions of the table, else those of the published files, else as many as the config guesses."""
    for rows in run.captions.read(["caption_id", "caption"]):
        characters = pc.mean(pc.utf8_length(rows["caption"])).as_py() or 0.0
        return Texts(len(rows), characters, TABLES, rows)
    if all(Path(path).exists() for path in config.captions.paths):
        corpus = Corpus.of(config.captions.paths, config.captions.reading())
        lengths = Counter(len(row.text) for row in corpus.captions())
        characters = sum(length * number for length, number in lengths.items())
        return Texts(lengths.total(), characters / lengths.total(), CORPUS)
    return Texts(config.estimate.captions, config.estimate.caption_characters, GUESS)


def _groups(config: Config, run: Run, corpus: Texts, summarized: Summarized) -> Amount:
    if not run.summarized:
        return Amount(0, source=CONFIG)
    for rows in run.groups.read(["group_id"]):
        return Amount(len(rows), len(summarized.group_ids), TABLES)
    return Amount(min(corpus.count, config.groups.limit or corpus.count))


# --- Pictures and captioners ------------------------------------------------------------------------------------------


def _sentences(
    config: Config, run: Run, corpus: Texts, groups: Amount, summarized: Summarized
) -> tuple[dict[str, int], str]:
    """The sentences to draw by arm, and the source of these numbers."""
    arms, source = _arms(config, run, corpus, groups, summarized), GUESS if run.drawn else CONFIG
    if groups.source == TABLES and not groups.left:
        chosen = {arm: number for arm in arms if (number := run.sentences(arm).counts()[0]) is not None}
        source = TABLES if chosen.keys() == arms.keys() else GUESS
        arms |= chosen
    return arms, source


def _candidates(config: Config, run: Run, arm: str, sentences: int) -> int:
    """The pictures of an arm, all candidates; of a table that is not there yet, the most that it can have.

    That is as many as the one before it has, since a sentence that gets another candidate got all earlier ones.
    """
    first, *further = run.sentences(arm).counts()
    drawn = last = sentences
    for number in further:
        last = last if number is None or first != sentences else number
        drawn += last
    limit = config.images.max_images
    return drawn if limit is None else max(sentences, min(drawn, limit))


def _pictures(config: Config, run: Run, drawn: Mapping[str, int], source: str) -> Amount:
    """The pictures to draw; those of any prompt are done."""
    total, in_tables = sum(drawn.values()), sum(run.images(arm).count() for arm in drawn)
    if source == TABLES and any(run.sentences(arm).missing for arm in drawn):
        source = GUESS
    return Amount(total, min(total, max(in_tables, _store(config).count())), source)


def _scored(config: Config, run: Run, pictures: Amount) -> Amount:
    """The pictures to score by a model; each has one score of its sentence, with no caption."""
    if not config.alignment.scores or config.alignment.score != "cosine":
        return Amount(0, source=CONFIG)
    ids = (rows["caption_id"] for arm in run.drawn for rows in run.alignment(arm).read(["caption_id"]))
    return replace(pictures, done=min(pictures.total, sum(column.null_count for column in ids)))


def _matching(config: Config, run: Run, arms: Mapping[str, int], drawn: Mapping[str, int]) -> tuple[Amount, Amount]:
    """The vectors that alignment.rematch keeps, and its comparisons of captions with pictures.

    Every caption of every picture counts: a caption is compared once in each shard that has it.
    """
    if not config.alignment.rematch:
        return Amount(0, source=CONFIG), Amount(0, source=CONFIG)
    vectors = comparisons = Amount(0)  # a guess, since the captions of a picture are one
    for arm, sentences in arms.items():
        captions = captions_of_picture(ARMS[arm], config.estimate)
        shards = len(run.shards)
        scored = len(run.alignment(arm).there) / (shards * len(run.drawings(arm)))
        matched = len(run.matches(arm).there) / shards
        held, compared = drawn[arm] * (1 + captions), sentences * captions * drawn[arm]
        vectors = vectors.plus(held, held * scored)
        comparisons = comparisons.plus(compared, compared * matched)
    return vectors, comparisons


def captions_of_picture(arm: Arm, rates: EstimateConfig) -> float:
    """The mean number of captions in a row of an arm's SENTENCES."""
    if arm.sentences == "summaries":
        return rates.captions_per_summary
    return float(arm.captions or 1)


def _store(config: Config) -> Store:
    return image_store(Path(config.images.store), config.run)


def _arms(config: Config, run: Run, corpus: Texts, groups: Amount, summarized: Summarized) -> dict[str, int]:
    if not config.drawn_arms:
        return {}
    usable = summarized.usable + groups.left * (1 - config.estimate.unusable_share)
    summaries = min(config.images.max_summaries, round(usable))
    sentences = {
        "summaries": summaries,
        "groups": min(config.images.max_summaries, run.groups.count() or corpus.count),
        "captions": min(corpus.count, math.ceil(summaries * (1 + config.images.spare))),
        "pairs": min(corpus.count, round(summaries * config.estimate.captions_per_summary)),
    }
    return {arm: sentences[ARMS[arm].sentences or ""] for arm in config.drawn_arms}


# --- Bytes ------------------------------------------------------------------------------------------------------------


def _bytes_to_copy(config: Config, run: Run) -> int:
    """The bytes of real pictures that are in no table yet, as far as their folders are there."""
    return sum(
        sum(_bytes_in(Path(path)) for path in split.folders or split.paths)
        for name, split in config.pictures.splits.items()
        if not run.photographs(name).there
    )


def _bytes_in(folder: Path) -> int:
    """The size of a file, or of all files below a folder; 0 where it is not there."""
    if folder.is_file():
        return folder.stat().st_size
    paths = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    return sum(path.lstat().st_size for path in paths)
