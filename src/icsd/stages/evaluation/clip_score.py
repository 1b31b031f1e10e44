"""CLIPScore and RefCLIPScore (Hessel et al. 2021, arXiv:2104.08718), from unit vectors of pictures and captions."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from icsd.core import tables
from icsd.core.errors import AGAIN, InputError
from icsd.core.ids import real_image_id
from icsd.core.vectors import from_lists, to_lists

PROMPT = "A photo depicts "  # stands before every caption, true or predicted
WEIGHT = 2.5


def clip_scores(
    pictures: np.ndarray, candidates: np.ndarray, references: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Return both scores of n pictures [n], from unit vectors [n, d], [n, d] and n times [references, d].

    CLIPScore is 2.5 times the cosine of picture and caption. RefCLIPScore is the harmonic mean of CLIPScore and the
    caption's highest cosine with a true caption. Negative cosines count as 0.
    """
    by_picture = WEIGHT * np.maximum((pictures * candidates).sum(axis=1), 0.0)
    highest = [float((true @ candidate).max()) for true, candidate in zip(references, candidates, strict=True)]
    by_caption = np.maximum(highest, 0.0)
    both = by_picture + by_caption
    mean = 2 * by_picture * by_caption / np.where(both > 0, both, 1.0)
    return {"CLIPScore": by_picture, "RefCLIPScore": mean}


def embed_test_pictures(images: str, captions: str, vectors: str, model: str, batch_size: int) -> None:
    """Write the CLIP_VECTORS of the test pictures and of their true captions. All captioners share them."""
    from icsd.models.open_clip_model import load_clip_model

    clip = load_clip_model(model, "evaluation.clip_model")
    pictures = tables.read(images, tables.IMAGES, ["image_id", "image"])
    files = (image["bytes"].as_py() for image in pictures["image"])
    seen = clip.pictures(files, len(pictures), batch_size)
    rows = tables.read(captions, tables.CAPTIONS, ["image_id", "caption_id", "caption"])
    read = clip.texts([PROMPT + caption for caption in rows["caption"].to_pylist()], batch_size)
    data = {
        "image_id": [*pictures["image_id"].to_pylist(), *map(real_image_id, rows["image_id"].to_pylist())],
        "caption_id": [*[None] * len(pictures), *rows["caption_id"].to_pylist()],
        "embedding": to_lists(np.concatenate([seen, read])),
    }
    tables.write(vectors, tables.CLIP_VECTORS, pa.table(data))


def clip_scores_of(vectors: str, model: str, predicted: Mapping[str, str], batch_size: int) -> dict[str, np.ndarray]:
    """Return both scores of the predicted captions, [n], in their order. `vectors` is the CLIP_VECTORS file."""
    from icsd.models.open_clip_model import load_clip_model

    pictures, references = _read_vectors(vectors)
    missing = [image_id for image_id in predicted if image_id not in pictures or image_id not in references]
    if missing:
        raise InputError(vectors, missing[0], "the picture has no vector", AGAIN)
    clip = load_clip_model(model, "evaluation.clip_model")
    candidates = clip.texts([PROMPT + caption for caption in predicted.values()], batch_size)
    seen = np.stack([pictures[image_id] for image_id in predicted])
    return clip_scores(seen, candidates, [np.stack(references[image_id]) for image_id in predicted])


def _read_vectors(path: str) -> tuple[dict[str, np.ndarray], dict[str, list[np.ndarray]]]:
    """Return the vector of each picture, and the vectors of its captions."""
    table = tables.read(path, tables.CLIP_VECTORS)
    pictures, captions = dict[str, np.ndarray](), dict[str, list[np.ndarray]]()
    ids = zip(table["image_id"].to_pylist(), table["caption_id"].to_pylist(), strict=True)
    for (image_id, caption_id), vector in zip(ids, from_lists(table["embedding"]), strict=True):
        if caption_id is None:
            pictures[image_id] = vector
        else:
            captions.setdefault(image_id, []).append(vector)
    return pictures, captions
