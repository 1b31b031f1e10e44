"""Embeddings: one unit vector a caption."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.vectors import to_lists

_NONE = pa.array([], tables.EMBEDDINGS.schema.types[1])
NOTHING = "unknown"  # of a shard that says nothing of its encoder


def embed_captions(
    captions: Path,
    embeddings: Path,
    encoder: Mapping[str, Any],
    batch_tokens: int,
    device: str = "auto",
    shard: str | None = None,
) -> None:
    """Write the EMBEDDINGS of a `shard` of CAPTIONS, in its order, or of all.

    They are unit vectors of the `encoder`, as the config gives it.

    A caption's vector depends on its text and the encoder alone: neither on the shard nor on the batch, up to the
    rounding of `encoder["precision"]`. Captions of equal text are encoded once. An empty shard gives an empty one.
    InputError for a broken shard, ModelError for the model, ConfigError for the device.
    """
    rows = tables.read(captions, tables.CAPTIONS, columns=["caption_id", "caption"], shard=shard)
    texts = rows["caption"].to_pylist()
    vectors, about = _encode(texts, encoder, batch_tokens, device) if texts else (_NONE, {})
    found = pa.table({"caption_id": rows["caption_id"], "embedding": vectors})
    tables.write(embeddings, tables.EMBEDDINGS, found, about)


def _encode(
    texts: Sequence[str], settings: Mapping[str, Any], batch_tokens: int, device: str
) -> tuple[pa.Array, dict[str, str]]:
    """The vectors as lists, and what they are of."""
    from icsd.models.text_encoder import load_text_encoder  # late: an empty shard needs no torch

    encoder = load_text_encoder(**settings, device=device)
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    distinct = encoder.encode(list(row_of), batch_tokens)
    about = encoder.about | {"dimension": str(distinct.shape[1])}
    return to_lists(distinct[[row_of[text] for text in texts]]), about


def gather_embeddings(shards: Sequence[Path | str], embeddings: Path | str) -> None:
    """Write the EMBEDDINGS of all shards as one; InputError if they are not of one encoder."""
    abouts = [(str(path), tables.about(path, tables.EMBEDDINGS)) for path in shards]
    filled = [(path, about) for path, about in abouts if about is not None]
    for path, about in filled:
        if about != filled[0][1]:
            _refuse_mixture(path, about, *filled[0])
    tables.gather(shards, tables.EMBEDDINGS, embeddings)


def _refuse_mixture(path: str, about: Mapping[str, str], first: str, other: Mapping[str, str]) -> None:
    names = [name for name in sorted({*about, *other}) if about.get(name) != other.get(name)]
    own, theirs = (", ".join(f"{name} {each.get(name, NOTHING)}" for name in names) for each in (about, other))
    problem = f"its vectors are of another encoder than those of {first}: {own}; there {theirs}"
    hint = f"a run has one: delete {Path(path).parent}, give embeddings one model and precision, run snakemake again"
    raise InputError(path, "", problem, hint)
