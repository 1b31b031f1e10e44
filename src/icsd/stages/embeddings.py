"""Embeddings: one unit vector a caption."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.vectors import to_lists

_NONE = pa.array([], tables.EMBEDDINGS.schema.types[1])
NOTHING = "unknown"  # for a shard that does not name its encoder


def embed_captions(
    captions: Path,
    embeddings: Path,
    encoder: Mapping[str, Any],
    batch_tokens: int,
    device: str = "auto",
    shard: str | None = None,
) -> None:
    """Write the EMBEDDINGS of a `shard` of CAPTIONS, or of all, in their order: unit vectors of the `encoder`.

    `encoder` has the params of the config's section. A caption's vector depends only on its text and the encoder, not
    on the shard or batch, up to the rounding of `encoder["precision"]`. Equal texts are encoded once. An empty shard
    gives an empty table. InputError for a broken shard, ModelError for the model, ConfigError for the device.
    """
    rows = tables.read(captions, tables.CAPTIONS, columns=["caption_id", "caption"], shard=shard)
    texts = rows["caption"].to_pylist()
    vectors, about = _encode(texts, encoder, batch_tokens, device) if texts else (_NONE, {})
    found = pa.table({"caption_id": rows["caption_id"], "embedding": vectors})
    tables.write(embeddings, tables.EMBEDDINGS, found, about)


def _encode(
    texts: Sequence[str], settings: Mapping[str, Any], batch_tokens: int, device: str
) -> tuple[pa.Array, dict[str, str]]:
    """Return the vectors as lists, and facts about their encoder."""
    from icsd.models.text_encoder import load_text_encoder  # late: an empty shard needs no torch

    encoder = load_text_encoder(**settings, device=device)
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    distinct = encoder.encode(list(row_of), batch_tokens)
    about = encoder.about | {"dimension": str(distinct.shape[1])}
    return to_lists(distinct[[row_of[text] for text in texts]]), about


def gather_embeddings(shards: Sequence[Path | str], embeddings: Path | str, kept: Path | str | None = None) -> None:
    """Join the EMBEDDINGS of all shards, or of the CAPTIONS in `kept`; InputError if several encoders made them."""
    abouts = [(str(path), tables.about(path, tables.EMBEDDINGS)) for path in shards]
    filled = [(path, about) for path, about in abouts if about is not None]
    for path, about in filled:
        if about != filled[0][1]:
            _refuse_mixture(path, about, *filled[0])
    wanted = None if kept is None else tables.read(kept, tables.CAPTIONS, columns=["caption_id"])["caption_id"]
    tables.gather(shards, tables.EMBEDDINGS, embeddings, wanted)


def _refuse_mixture(path: str, about: Mapping[str, str], first: str, other: Mapping[str, str]) -> None:
    names = [name for name in sorted({*about, *other}) if about.get(name) != other.get(name)]
    own, theirs = (", ".join(f"{name} {each.get(name, NOTHING)}" for name in names) for each in (about, other))
    problem = f"its vectors are of another encoder than those of {first}: {own}; there {theirs}"
    hint = f"a run has one: delete {Path(path).parent}, give embeddings one model and precision, run snakemake again"
    raise InputError(path, "", problem, hint)
