"""What a run's tables say of an arm's dataset: its size, its funnel, what it took."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from icsd.core import tables
from icsd.llm.cache import Replies, Spending, spending
from icsd.views.export.pairs import Manifest

EXAMPLES = 3


@dataclass(frozen=True)
class Stage:
    """How many items entered a stage, and how many fell away for which reason."""

    name: str
    entered: int
    dropped: Mapping[str, int]

    @property
    def kept(self) -> int:
        """How many went on."""
        return self.entered - sum(self.dropped.values())


@dataclass(frozen=True)
class Example:
    """A picture's sentence and captions."""

    image_id: str
    sentence: str
    captions: Sequence[str]


@dataclass(frozen=True)
class Asked:
    """What the rows of SUMMARIES say of the answers that were used: None where they do not count tokens."""

    groups: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_hashes: Sequence[str] = ()


@dataclass(frozen=True)
class Facts:
    """Of a dataset; `seconds` by rule, of the jobs that Snakemake timed."""

    pictures: int
    pairs: int
    captions: int
    caption_words: float
    sentence_words: float
    funnel: Sequence[Stage]
    asked: Asked
    spent: Spending
    seconds: Mapping[str, float]
    examples: Sequence[Example]


def facts_of(
    manifest: Manifest, ledger: Path, summaries: Sequence[Path], results: Path, store: Path, timed: Sequence[str]
) -> Facts:
    """What is known of the dataset of `manifest`; `timed` are the folders of results/benchmarks that made it."""
    sentences = pa.chunked_array(
        [chunk for shard in manifest.shards for chunk in _sentences(shard, manifest.image_ids).chunks], pa.string()
    )
    return Facts(
        pictures=len(manifest.image_ids),
        pairs=len(manifest.pairs),
        captions=len(pc.unique(manifest.pairs["caption_id"])),
        caption_words=_mean_words(manifest.pairs["caption"]),
        sentence_words=_mean_words(sentences),
        funnel=_funnel(ledger),
        asked=_asked(summaries),
        spent=spending(Replies(store).events(), results.name) if summaries else Spending(),
        seconds={name: taken for name in timed if (taken := _seconds(results / "benchmarks" / name))},
        examples=_examples(manifest),
    )


def _sentences(shard: Path, image_ids: pa.Array) -> pa.ChunkedArray:
    rows = tables.read(shard, tables.IMAGES, columns=["image_id", "sentence"])
    return rows.filter(pc.is_in(rows["image_id"], value_set=image_ids))["sentence"]


def _mean_words(texts: pa.ChunkedArray) -> float:
    counts = pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(texts)))
    return pc.mean(counts).as_py() or 0.0


def _funnel(ledger: Path) -> list[Stage]:
    """In the ledger's order; a reason is what stands before its colon."""
    entered, dropped = Counter[str](), dict[str, Counter[str]]()
    for row in tables.read(ledger, tables.LEDGER).to_pylist():
        entered[row["stage"]] += 1
        reasons = dropped.setdefault(row["stage"], Counter())
        if not row["kept"]:
            reasons[(row["reason"] or "no reason").partition(":")[0]] += 1
    return [Stage(name, count, dict(dropped[name].most_common())) for name, count in entered.items()]


def _asked(summaries: Sequence[Path]) -> Asked:
    if not summaries:
        return Asked()
    columns = ["prompt_tokens", "completion_tokens", "prompt_hash"]
    rows = tables.concat(summaries, tables.SUMMARIES, columns=columns)
    prompt, completion = (pc.sum(rows[name]).as_py() for name in columns[:2])
    return Asked(len(rows), prompt, completion, sorted(set(rows["prompt_hash"].drop_null().to_pylist())))


def _seconds(folder: Path) -> float:
    """Of all jobs of a rule that Snakemake has the times of; 0 where there are none."""
    paths = [*folder.rglob("*.tsv")] if folder.is_dir() else [folder.with_suffix(".tsv")]
    return sum(_job_seconds(path) for path in paths if path.exists())


def _job_seconds(path: Path) -> float:
    with path.open(encoding="utf-8", newline="") as file:
        return sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t"))


def _examples(manifest: Manifest) -> list[Example]:
    """The first pictures of the first shard."""
    found: list[Example] = []
    for picture in manifest.pictures(manifest.shards[0]):
        if len(found) == EXAMPLES:
            break
        found.append(Example(picture.image_id, picture.sentence, picture.captions))
    return found
