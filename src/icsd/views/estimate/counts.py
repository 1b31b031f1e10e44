"""How many items each stage of a run has, and how many of them are done.

Tables that an edited config makes anew are counted as they stand, but for summaries of another prompt or model.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from icsd.config import ARMS, Config
from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.logs import progress
from icsd.core.store import KeptPictures
from icsd.corpora import Corpus
from icsd.llm.cache import Replies
from icsd.llm.request import Sampling
from icsd.stages.summaries.prompts import Prompt
from icsd.stages.summaries.providers import first_request, model_name
from icsd.stages.summaries.quality import Group
from icsd.views.estimate.folder import RunFolder, bytes_in

CONFIG, TABLES, CORPUS, GUESS = "config", "tables", "corpus", "guess"  # what a count is from
GROUPS_FILE = "groups/all.parquet"
AGAIN = "delete it and run snakemake again"


@dataclass(frozen=True)
class Amount:
    """How much there is in all, how much of it is done, and what the figures are from."""

    total: float
    done: float = 0.0
    source: str = GUESS

    @property
    def left(self) -> float:
        """What is still to do."""
        return max(0.0, self.total - self.done)

    def times(self, rate: float) -> "Amount":
        """The same in another unit, `rate` of it for each."""
        source = self.source if self.source.endswith("rates") else f"{self.source} × rates"
        return Amount(self.total * rate, self.done * rate, source)

    def plus(self, total: float, done: float = 0.0) -> "Amount":
        """With something more to do, of which `done` is done."""
        return replace(self, total=self.total + total, done=self.done + done)


@dataclass(frozen=True)
class Counts:
    """What a run has to do, in items.

    `prompts` counts the characters of the `requests`, `arms` the pictures by arm; `bytes_to_copy` are those of real
    pictures, `bytes_on_disk` those of the run's folder and of the pictures that it drew.
    """

    captions: Amount
    groups: Amount
    requests: Amount
    prompts: Amount
    pictures: Amount
    arms: Mapping[str, int]
    checks: Amount
    trainings: Amount
    bytes_to_copy: int
    bytes_on_disk: int


@dataclass(frozen=True)
class Texts:
    """The captions: how many, their mean length, and each by its id where there are tables."""

    count: int
    characters: float
    source: str
    texts: Mapping[int, str]


@dataclass(frozen=True)
class Summarized:
    """The groups that have a row of this prompt and model, and how many of those are usable."""

    group_ids: set[int]
    usable: int


def count(config: Config, prompt: Prompt, results: Path, *, rendered: bool = True) -> Counts:
    """What the run has to do and has done, as its folder `results` and the store of replies tell.

    Unless `rendered`, prompts are guessed by their number, which is quick where there are millions.
    """
    folder = RunFolder(results, config.shard_names)
    corpus = _corpus(config, folder)
    summarized = _summarized(config, prompt, folder)
    groups = _groups(config, folder, corpus, summarized)
    requests, prompts = _requests(config, prompt, folder, corpus, groups, summarized, rendered)
    pictures, arms = _pictures(config, folder, corpus, groups, summarized)
    checked = sum(folder.rows(f"safety/{arm}", tables.SAFETY) for arm in arms)
    return Counts(
        captions=Amount(corpus.count, folder.rows("embeddings", tables.EMBEDDINGS), corpus.source),
        groups=groups,
        requests=requests,
        prompts=prompts,
        pictures=pictures,
        arms=arms,
        checks=replace(pictures, done=min(checked, pictures.total)),
        trainings=_trainings(config, results),
        bytes_to_copy=_bytes_to_copy(config, results),
        bytes_on_disk=bytes_in(results) + bytes_in(_kept(config).own),
    )


def _corpus(config: Config, folder: RunFolder) -> Texts:
    """Of the tables, else as published, else what the config says of it."""
    rows = folder.whole("captions/all.parquet", tables.CAPTIONS, ["caption_id", "caption"])
    if rows is not None:
        ids, captions = rows["caption_id"].to_pylist(), rows["caption"].to_pylist()
        return Texts(len(captions), _mean_length(captions), TABLES, dict(zip(ids, captions, strict=True)))
    if all(Path(path).exists() for path in config.captions.paths):
        corpus = Corpus.of(config.captions.paths, config.captions.deciding())
        lengths = Counter(len(row.text) for row in corpus.captions())
        characters = sum(length * number for length, number in lengths.items())
        return Texts(lengths.total(), characters / lengths.total(), CORPUS, {})
    return Texts(config.estimate.captions, config.estimate.caption_characters, GUESS, {})


def _mean_length(captions: Sequence[str]) -> float:
    return sum(map(len, captions)) / len(captions) if captions else 0.0


def _summarized(config: Config, prompt: Prompt, folder: RunFolder) -> Summarized:
    group_ids, usable = set[int](), 0
    for shard in folder.found("summaries", tables.SUMMARIES, ["group_id", "status", "model", "prompt_hash"]):
        for row in shard.to_pylist():
            if (row["model"], row["prompt_hash"]) == (model_name(config.summaries), prompt.hash):
                group_ids.add(row["group_id"])
                usable += row["status"] == "ok"
    return Summarized(group_ids, usable)


def _groups(config: Config, folder: RunFolder, corpus: Texts, summarized: Summarized) -> Amount:
    if not config.drawn_arms:
        return Amount(0, source=CONFIG)
    rows = folder.whole(GROUPS_FILE, tables.GROUPS, ["group_id"])
    if rows is None:
        return Amount(corpus.count)
    return Amount(len(rows), len(summarized.group_ids), TABLES)


# --- Requests ---------------------------------------------------------------------------------------------------------


def _requests(
    config: Config, prompt: Prompt, folder: RunFolder, corpus: Texts, groups: Amount, summarized: Summarized,
    rendered: bool,
) -> tuple[Amount, Amount]:  # fmt: skip
    """The first requests, of which equal ones are sent once, and the characters of their prompts."""
    if config.summaries.provider == "merge" or not groups.total:
        return Amount(0, source=CONFIG), Amount(0, source=CONFIG)
    if rendered and groups.source == corpus.source == TABLES:
        members = progress(_members(folder, corpus.texts), int(groups.total), "prompts")
        return _rendered(config, prompt, members, summarized)
    k = min(config.groups.k, corpus.count)
    characters = len(prompt.render([""] * k)) + k * corpus.characters
    return Amount(groups.total), Amount(groups.total * characters)


def _rendered(config: Config, prompt: Prompt, groups: Iterator[Group], summarized: Summarized) -> tuple[Amount, Amount]:
    """Every request as it is sent, looked up in the store."""
    sampling, characters, answered = _sampling(config), dict[str, int](), set[str]()
    for group in groups:
        request = first_request(prompt, sampling, group)
        characters[request.key] = len(request.messages[0]["content"])
        if group.group_id in summarized.group_ids:
            answered.add(request.key)
    answered |= Replies(Path(config.summaries.store)).find(characters).keys()
    done = sum(characters[key] for key in answered)
    return Amount(len(characters), len(answered), TABLES), Amount(sum(characters.values()), done, TABLES)


def _sampling(config: Config) -> Sampling:
    """As requests have it; but a local model's name stands for its digest, so that its replies are not found.

    To read the weights takes longer than the whole estimate.
    """
    asked = config.summaries.transformers if config.summaries.provider == "transformers" else config.summaries.openai
    return Sampling(asked.model, asked.temperature, asked.max_tokens)


def _members(folder: RunFolder, texts: Mapping[int, str]) -> Iterator[Group]:
    rows = folder.whole(GROUPS_FILE, tables.GROUPS, ["group_id", "caption_ids"])
    for row in rows.to_pylist() if rows is not None else ():
        missing = [caption_id for caption_id in row["caption_ids"] if caption_id not in texts]
        if missing:
            place, problem = f"group_id {row['group_id']}", f"caption {missing[0]} is not among the captions"
            raise InputError(folder.path / GROUPS_FILE, place, problem, AGAIN)
        members = tuple(texts[caption_id] for caption_id in row["caption_ids"])
        yield Group(row["group_id"], tuple(row["caption_ids"]), members)


# --- Pictures and captioners ------------------------------------------------------------------------------------------


def _pictures(
    config: Config, folder: RunFolder, corpus: Texts, groups: Amount, summarized: Summarized
) -> tuple[Amount, dict[str, int]]:
    """The pictures to draw and those kept, of whatever prompt, and the former by arm."""
    arms, source = _arms(config, corpus, groups, summarized), GUESS if config.drawn_arms else CONFIG
    if groups.source == TABLES and not groups.left:
        chosen = {arm: folder.whole(f"images/{arm}/sentences.parquet", tables.SENTENCES, ["image_id"]) for arm in arms}
        arms |= {arm: len(rows) for arm, rows in chosen.items() if rows is not None}
        source = GUESS if None in chosen.values() else TABLES
    total = sum(arms.values())
    in_tables = sum(folder.rows(f"images/{arm}", tables.IMAGES) for arm in arms)
    return Amount(total, min(total, max(in_tables, _kept(config).count())), source), arms


def _kept(config: Config) -> KeptPictures:
    return KeptPictures(Path(config.images.store), config.run)


def _arms(config: Config, corpus: Texts, groups: Amount, summarized: Summarized) -> dict[str, int]:
    if not config.drawn_arms:
        return {}
    usable = summarized.usable + groups.left * (1 - config.estimate.unusable_share)
    summaries = min(config.images.pictures, round(usable))
    sentences = {
        "summaries": summaries,
        "captions": min(corpus.count, math.ceil(summaries * (1 + config.images.spare))),
        "pairs": min(corpus.count, round(summaries * config.estimate.captions_per_summary)),
    }
    return {arm: sentences[ARMS[arm].sentences or ""] for arm in config.drawn_arms}


def _trainings(config: Config, results: Path) -> Amount:
    """One for each arm and seed; done where its history is."""
    captioners = [f"{arm}/seed-{seed}" for arm, seed in product(config.arms, config.captioner.seeds)]
    done = sum((results / "captioner" / name / "history.parquet").exists() for name in captioners)
    return Amount(len(captioners), done, CONFIG)


def _bytes_to_copy(config: Config, results: Path) -> int:
    """Of the real pictures that are in no table yet, as far as their folders are there."""
    return sum(
        sum(bytes_in(Path(path)) for path in split.folders or split.paths)
        for name, split in config.pictures.splits.items()
        if not (results / "pictures" / name / "images.parquet").exists()
    )
