"""Weights that a model's authors published as a pickle, written as safetensors, which loading runs no code of."""

import pickle
from pathlib import Path

from transformers import AutoModel, AutoTokenizer

from icsd.core.errors import InputError, ModelError
from icsd.core.files import atomic_path
from icsd.models.model_code import check_no_code

POOLER = "pooler."  # a BERT's last layer, which many sentence encoders are published without


def convert_model(source: str, folder: Path) -> str:
    """Write the encoder `source`, a folder or an id of the hub, with its tokenizer to `folder`; return what was done.

    Of a pickle only tensors are loaded (`weights_only` of torch). InputError if `folder` is there. ModelError if the
    model cannot be loaded or lacks weights, which transformers would draw at random; only the pooler's may be missing.
    """
    if folder.exists():
        raise InputError(folder, "", "is there already", "name a new folder, or delete this one")
    if Path(source).is_dir():
        check_no_code(source, Path(source))
    try:
        model, info = AutoModel.from_pretrained(
            source, weights_only=True, output_loading_info=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        raise ModelError(f"{source} can't be converted: {(str(error).strip() or type(error).__name__)}") from error
    missing = sorted(info["missing_keys"])
    others = [name for name in missing if not name.startswith(POOLER)]
    if others:
        raise ModelError(f"{source}: its weights are not those of a {type(model).__name__} (no {others[0]})")
    with atomic_path(folder) as unfinished:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
    said = f"{folder}: {type(model).__name__} of {source} as safetensors, with its tokenizer"
    if not missing:
        return said
    return f"{said}\nIts weights have no pooler, and random ones were written: set embeddings.pooling to cls or mean."
