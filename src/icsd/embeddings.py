"""Embeddings: one unit vector a caption."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from icsd import tables
from icsd.vectors import to_lists


def embed_captions(captions: Path, embeddings: Path, model: str, batch_size: int) -> None:
    """Write the EMBEDDINGS of a CAPTIONS shard, in its order: unit vectors of the text tower `model`.

    A caption's vector depends on its text and the model alone: neither on the shard nor on the batch.
    Captions of equal text are encoded once. An empty shard gives an empty one. InputError for a broken
    shard, ModelError for the model.
    """
    shard = tables.read(captions, tables.CAPTIONS, columns=["caption_id", "caption"])
    texts = shard["caption"].to_pylist()
    vectors = to_lists(_encode(texts, model, batch_size)) if texts else pa.array([], tables.EMBEDDINGS.schema.types[1])
    rows = pa.table({"caption_id": shard["caption_id"], "embedding": vectors})
    tables.write(embeddings, tables.EMBEDDINGS, rows)


def _encode(texts: Sequence[str], model: str, batch_size: int) -> np.ndarray:
    from icsd.backends.text_encoder import load_text_encoder  # late: an empty shard needs no torch

    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    distinct = load_text_encoder(model).encode(list(row_of), batch_size)
    return distinct[[row_of[text] for text in texts]]
