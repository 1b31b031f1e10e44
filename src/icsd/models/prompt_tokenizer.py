"""Token counts of sentences by the tokenizer of the image model.

A pipeline may have several text encoders, each with its own tokenizer and limit. Counts are those of the one that
reads most: in Stable Diffusion 3 and Flux, CLIP's 77 tokens only set the tone, and T5 reads the whole sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from icsd.core.errors import ModelError
from icsd.models.model_code import INDEX
from icsd.models.model_folder import has_vocabulary, model_folder, read_index

# files to look up in a pipeline's repository
TOKENIZER_FILES = (INDEX, "tokenizer*/*.json", "tokenizer*/*.txt", "tokenizer*/*.model")
SETTING = "summaries.quality.image_model"
TOKENIZER_NAMES = ("Tokenizer", "TokenizerFast", "Processor")  # ends of the names of classes
MOST_TOKENS = 10_000  # transformers gives a tokenizer without a limit one of 10^30
WAY_OUT = "give the folder of a text-to-image pipeline, in config/config.yaml"
# tokens that pipelines read whose code has the number and whose call has no max_sequence_length
READ = {
    "HunyuanDiTPipeline": 256, "HunyuanDiTPAGPipeline": 256, "HunyuanImagePipeline": 1000, "IFPipeline": 77,
    "Kandinsky3Pipeline": 128, "KandinskyCombinedPipeline": 77, "LDMTextToImagePipeline": 77,
    "LongCatImagePipeline": 512,
}  # fmt: skip


@dataclass(frozen=True)
class TokenCounter:
    """The image model's tokenizer, and the most tokens that its text encoder reads; it ignores the rest."""

    tokenizer: Any  # of transformers
    limit: int

    def count(self, sentences: Sequence[str]) -> list[int]:
        """Count the tokens of each whole sentence, with start and end token."""
        if not sentences:
            return []  # the tokenizer refuses an empty list
        return [len(ids) for ids in self.tokenizer(list(sentences), truncation=False, verbose=False)["input_ids"]]


def count_tokens(model: str, sentences: Sequence[str]) -> list[int]:
    """Count the tokens of each sentence for the image model, a folder or a hub id, with start and end token.

    ModelError if it has no tokenizer.
    """
    return load_token_counter(model).count(sentences)


def token_limit(model: str) -> int:
    """Return the most tokens that the image model reads, with start and end token; ModelError without a tokenizer."""
    return load_token_counter(model).limit


def widest(tokenizers: Sequence[Any], length: int | None) -> TokenCounter | None:
    """Return the tokenizer whose encoder reads most, the first of equals; None without tokenizers.

    `length` is the most tokens that the call takes, `max_sequence_length`. CLIP's encoder reads as many as its
    tokenizer says, since it has no more positions; the others read `length`.
    """
    found = [getattr(each, "tokenizer", each) for each in tokenizers]  # some are processors, with a tokenizer inside
    counters = [TokenCounter(each, _limit(each, length)) for each in found]
    return max(counters, key=lambda counter: counter.limit, default=None)


def sequence_length(kind: type, given: int | None = None) -> int | None:
    """Return the most tokens that the pipeline class reads: the `given` max_sequence_length, or its own."""
    from icsd.models.pipeline_kinds import default_of  # late: Stable Diffusion is counted without diffusers

    default = default_of(kind, "max_sequence_length")
    return given or (default if isinstance(default, int) else READ.get(kind.__name__))


def _limit(tokenizer: Any, length: int | None) -> int:
    own = int(tokenizer.model_max_length)
    return own if length is None or isinstance(tokenizer, CLIPTokenizer) else length


@lru_cache(maxsize=1)
def load_token_counter(model: str) -> TokenCounter:
    """Load the token counter of the image model once. ModelError if it has no tokenizer."""
    folder = model_folder(SETTING, model, TOKENIZER_FILES)
    kinds = _kinds(folder)
    if not kinds:
        raise ModelError(f"{SETTING}={model}: {folder / INDEX} names no tokenizer; {WAY_OUT}")
    tokenizers = [_load(model, folder / name, kind) for name, kind in kinds.items()]
    length = None
    if not all(isinstance(each, CLIPTokenizer) for each in tokenizers):
        length = _length(folder)
    counter = widest(tokenizers, length)
    if counter is None or counter.limit > MOST_TOKENS and isinstance(counter.tokenizer, CLIPTokenizer):
        file = folder / next(iter(kinds)) / "tokenizer_config.json"
        raise ModelError(f"{SETTING}={model}: {file} gives no model_max_length; {WAY_OUT}")
    return counter


def _kinds(folder: Path) -> dict[str, str]:
    """Return the tokenizers in a pipeline's folder and their classes; one of CLIP if it has no index."""
    if not (folder / INDEX).is_file():
        return {"tokenizer": "CLIPTokenizer"}
    index = read_index(SETTING, folder)
    parts = {
        name: kind
        for name, kind in index.items()
        if name.startswith("tokenizer") and name.isidentifier() and isinstance(kind, list) and len(kind) == 2
    }
    return {name: str(kind[-1]) for name, kind in parts.items() if kind[0] == "transformers"}


def _load(model: str, folder: Path, kind: str) -> Any:
    import transformers

    if not has_vocabulary(folder, kind):  # transformers would build an empty tokenizer
        raise ModelError(f"{SETTING}={model}: {folder} holds no tokenizer.json or vocab.json; {WAY_OUT}")
    own = getattr(transformers, kind, None) if kind.endswith(TOKENIZER_NAMES) else None
    # a model file is outside data: any error becomes a message with its name
    try:
        return (own or transformers.AutoTokenizer).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise ModelError(f"{SETTING}={model}: no {kind} in {folder}: {error}; {WAY_OUT}") from error


def _length(folder: Path) -> int | None:
    """Return the most tokens that the folder's pipeline reads; None if its class does not say."""
    from icsd.models.pipeline_kinds import pipeline_class

    kind = pipeline_class(str(read_index(SETTING, folder).get("_class_name")))
    return None if kind is None else sequence_length(kind)
