"""Token counts of sentences by the tokenizer of the image model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from transformers import CLIPTokenizer

from icsd.core.errors import ModelError
from icsd.models.model_folder import model_folder

# files to look up in a pipeline's repository
TOKENIZER_FILES = ("tokenizer/*.json", "tokenizer/*.txt")
SETTING = "summaries.quality.image_model"
VOCABULARIES = ("tokenizer.json", "vocab.json")
MOST_TOKENS = 10_000  # transformers gives a tokenizer without a limit one of 10^30
WAY_OUT = "give a StableDiffusionPipeline folder, in config/config.yaml"


@dataclass(frozen=True)
class TokenCounter:
    """The image model's tokenizer, and the most tokens that its text encoder reads; it ignores the rest."""

    tokenizer: CLIPTokenizer
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


@lru_cache(maxsize=1)
def load_token_counter(model: str) -> TokenCounter:
    """Load the token counter of the image model once. ModelError if it has no tokenizer."""
    folder = model_folder(SETTING, model, TOKENIZER_FILES) / "tokenizer"
    if not any((folder / name).is_file() for name in VOCABULARIES):  # transformers would build an empty tokenizer
        raise ModelError(f"{SETTING}={model}: {folder} holds no {' or '.join(VOCABULARIES)}; {WAY_OUT}")
    # a model file is outside data: any error becomes a message with its name
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise ModelError(f"{SETTING}={model}: no CLIPTokenizer in {folder}: {error}; {WAY_OUT}") from error
    if tokenizer.model_max_length > MOST_TOKENS:
        problem = f"{folder / 'tokenizer_config.json'} gives no model_max_length"
        raise ModelError(f"{SETTING}={model}: {problem}; {WAY_OUT}")
    return TokenCounter(tokenizer, tokenizer.model_max_length)
