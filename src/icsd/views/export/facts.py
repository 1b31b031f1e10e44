"""Facts for the card of an arm's dataset, from a run's tables: its size, its funnel, its costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from icsd.core import tables
from icsd.llm.cache import ResponseCache, Spending, spending
from icsd.views.export.manifest import Manifest
from icsd.views.measures import FunnelStep, funnel_steps, read_benchmark
from icsd.views.run import Run

EXAMPLES = 3


@dataclass(frozen=True)
class Example:
    """A picture's sentence and captions."""

    image_id: str
    sentence: str
    captions: Sequence[str]


@dataclass(frozen=True)
class SummaryTokens:
    """The groups with a row in SUMMARIES, their tokens (None: not counted) and prompts."""

    groups: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_hashes: Sequence[str] = ()


@dataclass(frozen=True)
class Facts:
    """Facts on a dataset; `seconds` are those of each rule's jobs, by their benchmark files."""

    pictures: int
    pairs: int
    captions: int
    caption_words: float
    sentence_words: float
    funnel: Sequence[FunnelStep]
    tokens: SummaryTokens
    spent: Spending
    seconds: Mapping[str, float]
    examples: Sequence[Example]
    weighted: bool = False


def facts_of(
    manifest: Manifest, ledger: Path, summaries: Sequence[Path], results: Path, store: Path, timed: Sequence[str]
) -> Facts:
    """The facts on the dataset of `manifest`; `timed` names the rules that made it, for their benchmark files."""
    run = Run(results)
    sentences = pa.chunked_array(
        [chunk for shard in manifest.shards for chunk in shard.rows(["sentence"])["sentence"].chunks], pa.string()
    )
    return Facts(
        pictures=manifest.count,
        pairs=len(manifest.pairs),
        captions=len(pc.unique(manifest.pairs["caption_id"])),
        caption_words=_mean_words(manifest.pairs["caption"]),
        sentence_words=_mean_words(sentences),
        funnel=funnel_steps(tables.read(ledger, tables.LEDGER)),
        tokens=_tokens(summaries),
        spent=spending(ResponseCache(store).events(), run.name) if summaries else Spending(),
        seconds={name: seconds for name in timed if (seconds := _seconds(run, name))},
        examples=_examples(manifest),
        weighted=manifest.weighted,
    )


def _mean_words(texts: pa.ChunkedArray) -> float:
    counts = pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(texts)))
    return pc.mean(counts).as_py() or 0.0


def _tokens(summaries: Sequence[Path]) -> SummaryTokens:
    if not summaries:
        return SummaryTokens()
    columns = ["prompt_tokens", "completion_tokens", "prompt_hash"]
    rows = tables.concat(summaries, tables.SUMMARIES, columns=columns)
    prompt, completion = (pc.sum(rows[name]).as_py() for name in columns[:2])
    return SummaryTokens(len(rows), prompt, completion, sorted(pc.unique(rows["prompt_hash"].drop_null()).to_pylist()))


def _seconds(run: Run, jobs: str) -> float:
    return sum(read_benchmark(path).seconds for path in run.benchmarks(jobs))


def _examples(manifest: Manifest) -> list[Example]:
    """The first pictures of the first shard."""
    found: list[Example] = []
    for picture in manifest.pictures(manifest.shards[0]):
        if len(found) == EXAMPLES:
            break
        found.append(Example(picture.image_id, picture.sentence, picture.captions))
    return found
