"""Guard: captions that repeat another caption, or a reference of val or of a test set."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from icsd.config import GuardConfig
from icsd.core import tables
from icsd.core.errors import AGAIN, InputError
from icsd.core.languages import ENGLISH
from icsd.core.ngrams import near_pairs, words_of
from icsd.core.text import truncated
from icsd.core.vectors import from_lists, on_grid

SHOWN = 3  # captions of each reason in the log
QUOTED = 120  # characters of the other text in a reason
Near = Mapping[int, Sequence[tuple[float, int]]]  # of a text: the Jaccard index and number of each that is near
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReferenceTables:
    """The CAPTIONS of val or of a test set, and their EMBEDDINGS where vectors are compared."""

    split: str
    captions: Path
    embeddings: Path | None = None


def guard_captions(
    captions: Path,
    embeddings: Sequence[Path],
    references: Sequence[ReferenceTables],
    settings: GuardConfig,
    ledger: Path,
    kept: Path | None = None,
    language: str = ENGLISH,
) -> None:
    """Write the LEDGER of captions that are a reference or a duplicate; without these, the CAPTIONS go to `kept`.

    A caption that is only reported has `kept` true beside its reason. References come first, so that a caption that
    repeats a dropped one stays. The result does not depend on shards. InputError for vectors of two encoders.
    """
    rows = tables.read(captions, tables.CAPTIONS, columns=["caption_id", "caption"]).sort_by("caption_id")
    texts = dict(zip(rows["caption_id"].to_pylist(), rows["caption"].to_pylist(), strict=True))
    known = [one for each in references for one in _references(each)] if settings.references != "off" else []
    numbers: dict[str, int] = {}  # equal words, equal number
    corpus = {
        caption_id: numbers.setdefault(words_of(text, language), len(numbers)) for caption_id, text in texts.items()
    }
    of_known = [numbers.setdefault(words_of(one.text, language), len(numbers)) for one in known]
    near = _near_texts(list(numbers), settings)
    steps, entered = list[pa.Table](), corpus
    if settings.references != "off":
        close = _close_references(embeddings, references, known, settings.min_cosine) if settings.uses_vectors else {}
        found = _repeated_references(corpus, known, of_known, near, close)
        steps.append(_step("references", corpus, found, texts, drops=settings.references == "drop"))
        if settings.references == "drop":
            entered = {caption_id: number for caption_id, number in corpus.items() if caption_id not in found}
    if settings.duplicates != "off":
        found = _duplicates(entered, texts, near)
        steps.append(_step("duplicates", entered, found, texts, drops=settings.duplicates == "drop"))
    rows = pa.concat_tables([tables.LEDGER.schema.empty_table(), *steps])
    tables.write(ledger, tables.LEDGER, rows)
    if kept is not None:
        tables.write_batches(kept, tables.CAPTIONS, _kept(captions, rows))


def _near_texts(texts: Sequence[str], settings: GuardConfig) -> Near:
    pairs = near_pairs(texts, settings.ngram, settings.min_jaccard)
    near = defaultdict[int, list[tuple[float, int]]](list)
    columns = (pairs.first.tolist(), pairs.second.tolist(), pairs.jaccard.tolist())
    for first, second, jaccard in zip(*columns, strict=True):
        near[first].append((jaccard, second))
        near[second].append((jaccard, first))
    return near


# --- References -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reference:
    split: str
    image_id: int
    caption_id: int
    text: str


def _references(paths: ReferenceTables) -> list[_Reference]:
    rows = tables.read(paths.captions, tables.CAPTIONS).sort_by("caption_id").to_pylist()
    return [_Reference(paths.split, row["image_id"], row["caption_id"], row["caption"]) for row in rows]


def _repeated_references(
    corpus: Mapping[int, int],
    known: Sequence[_Reference],
    of_known: Sequence[int],
    near: Near,
    close: Mapping[int, tuple[float, int]],
) -> dict[int, str]:
    """The captions that are a reference, or nearly, with reasons; of several references, the first of the nearest."""
    first: dict[int, _Reference] = {}
    for one, number in zip(known, of_known, strict=True):
        first.setdefault(number, one)
    found = {}
    for caption_id, number in corpus.items():
        if number in first:
            found[caption_id] = f"a reference: {first[number].split}, image {first[number].image_id}"
            continue
        candidates = [(jaccard, first[other]) for jaccard, other in near.get(number, ()) if other in first]
        if candidates:
            jaccard, one = max(candidates, key=lambda each: each[0])
            found[caption_id] = _nearly(one, f"Jaccard {jaccard:.2f}")
        elif caption_id in close:
            cosine, row = close[caption_id]
            found[caption_id] = _nearly(known[row], f"cosine {cosine:.3f}")
    return found


def _nearly(one: _Reference, measure: str) -> str:
    return f"nearly a reference: {one.split}, caption {one.caption_id}, {_quoted(one.text)}, {measure}"


def _quoted(text: str) -> str:
    return f'"{truncated(text, QUOTED)}"'


def _close_references(
    embeddings: Sequence[Path], references: Sequence[ReferenceTables], known: Sequence[_Reference], limit: float | None
) -> dict[int, tuple[float, int]]:
    """The captions whose vectors have a cosine of `limit` or more with a reference's: cosine and row in `known`."""
    paths = [each.embeddings for each in references if each.embeddings is not None]
    _check_same_encoder([*embeddings, *paths])
    row_of = {(one.split, one.caption_id): row for row, one in enumerate(known)}
    rows, vectors = list[int](), list[np.ndarray]()
    for each in references:
        if each.embeddings is not None:
            table = tables.read(each.embeddings, tables.EMBEDDINGS)
            rows += [row_of[each.split, caption_id] for caption_id in table["caption_id"].to_pylist()]
            vectors += [from_lists(table["embedding"])] if len(table) else []
    if not rows or limit is None:
        return {}
    from icsd.models.neighbors import nearest  # late: n-grams alone need no torch

    found, corpus = {}, on_grid(np.concatenate(vectors))
    for path in embeddings:
        table = tables.read(path, tables.EMBEDDINGS)
        if len(table):
            best = nearest(on_grid(from_lists(table["embedding"])), corpus, 1)
            for near in np.flatnonzero(best.similarities[:, 0] >= limit).tolist():
                cosine, row = float(best.similarities[near, 0]), rows[int(best.columns[near, 0])]
                found[table["caption_id"][near].as_py()] = cosine, row
    return found


def _check_same_encoder(paths: Sequence[Path]) -> None:
    abouts = [(path, about) for path in paths if (about := tables.about(path, tables.EMBEDDINGS)) is not None]
    for path, about in abouts:
        if about != abouts[0][1]:
            problem = f"its vectors are of another encoder than those of {abouts[0][0]}"
            raise InputError(path, "", problem, AGAIN)


# --- Duplicates -------------------------------------------------------------------------------------------------------


def _duplicates(corpus: Mapping[int, int], texts: Mapping[int, str], near: Near) -> dict[int, str]:
    """The captions that repeat one of a lower id, or nearly, with reasons; each is held against those that stay."""
    found, stays, repeats = dict[int, str](), dict[int, int](), dict[int, str]()
    for caption_id, number in corpus.items():
        if number not in stays and number not in repeats:
            candidates = [(-jaccard, stays[other]) for jaccard, other in near.get(number, ()) if other in stays]
            if not candidates:
                stays[number] = caption_id
                continue
            jaccard, other = min(candidates)
            quoted = _quoted(texts[other])
            repeats[number] = f"nearly the same text: caption {other}, {quoted}, Jaccard {-jaccard:.2f}"
        found[caption_id] = repeats[number] if number in repeats else f"same text: caption {stays[number]}"
    return found


# --- The tables -------------------------------------------------------------------------------------------------------


def _step(
    stage: str, entered: Mapping[int, int], found: Mapping[int, str], texts: Mapping[int, str], *, drops: bool
) -> pa.Table:
    """The rows of LEDGER of a stage; the log gets counts and examples."""
    done = "dropped" if drops else "only reported"
    _log.info("guard, %s: %s of %s captions, %s", stage, f"{len(found):,}", f"{len(entered):,}", done)
    counts = Counter[str]()
    for caption_id, reason in found.items():
        kind = reason.partition(":")[0]
        counts[kind] += 1
        if counts[kind] <= SHOWN:
            _log.info("caption %d, %s: %s", caption_id, _quoted(texts[caption_id]), reason)
    for kind, count in counts.items():
        _log.info("guard, %s: %s %s", stage, f"{count:,}", kind)
    reasons = [found.get(caption_id) for caption_id in entered]
    columns = {
        "stage": [stage] * len(entered),
        "item_id": list(map(str, entered)),
        "kept": [reason is None or not drops for reason in reasons],
        "reason": reasons,
    }
    return pa.table(columns, schema=tables.LEDGER.schema)


def _kept(captions: Path, ledger: pa.Table) -> Iterator[pa.Table]:
    """Yield each shard of CAPTIONS without the dropped ones."""
    dropped = ledger.filter(pc.invert(ledger["kept"]))["item_id"].cast(pa.int64())
    for shard in tables.parts(captions, tables.CAPTIONS):
        yield shard.filter(pc.invert(pc.is_in(shard["caption_id"], value_set=dropped.combine_chunks())))
