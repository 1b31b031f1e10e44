"""The tokens of sentences as the image model's text encoder reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from transformers import CLIPTokenizer

from icsd.core.errors import ModelError
from icsd.models.model_folder import model_folder

# what of a pipeline's repository the hub is asked for
TOKENIZER_FILES = ("tokenizer/*.json", "tokenizer/*.txt")
SETTING = "summaries.quality.image_model"
VOCABULARIES = ("tokenizer.json", "vocab.json")
MOST_TOKENS = 10_000  # transformers gives a tokenizer that names no limit one of 10^30
WAY_OUT = "give a StableDiffusionPipeline folder, in config/config.yaml"


@dataclass(frozen=True)
class TokenCounter:
    """The image model's tokenizer, and how many tokens its text encoder reads; what is beyond is not drawn."""

    tokenizer: CLIPTokenizer
    limit: int

    def count(self, sentences: Sequence[str]) -> list[int]:
        """Tokens of each sentence, uncut, with the start and the end mark."""
        if not sentences:
            return []  # the tokenizer does not take an empty list
        return [len(ids) for ids in self.tokenizer(list(sentences), truncation=False, verbose=False)["input_ids"]]


def count_tokens(model: str, sentences: Sequence[str]) -> list[int]:
    """Tokens of each sentence for the image model `model`, a folder or an id of the hub, both marks included.

    ModelError if it has no tokenizer.
    """
    return load_token_counter(model).count(sentences)


def token_limit(model: str) -> int:
    """How many tokens the image model reads, both marks included. ModelError if it has no tokenizer."""
    return load_token_counter(model).limit


@lru_cache(maxsize=1)
def load_token_counter(model: str) -> TokenCounter:
    """The token counter of the image model `model`, loaded once. ModelError if it has no tokenizer."""
    folder = model_folder(SETTING, model, TOKENIZER_FILES) / "tokenizer"
    if not any((folder / name).is_file() for name in VOCABULARIES):  # transformers would make one without words
        raise ModelError(f"{SETTING}={model}: {folder} holds no {' or '.join(VOCABULARIES)}; {WAY_OUT}")
    # a model file is outside data: whatever is wrong with it, the user needs its name and what was found
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise ModelError(f"{SETTING}={model}: no CLIPTokenizer in {folder}: {error}; {WAY_OUT}") from error
    if tokenizer.model_max_length > MOST_TOKENS:
        problem = f"{folder / 'tokenizer_config.json'} gives no model_max_length"
        raise ModelError(f"{SETTING}={model}: {problem}; {WAY_OUT}")
    return TokenCounter(tokenizer, tokenizer.model_max_length)
