"""The prompt of a vision-language model: the text that stands before a caption, in the form that each class wants."""

from dataclasses import dataclass
from typing import Any

import torch

from icsd.core.errors import ModelError

DEFAULT = "Describe the picture in one short sentence."
# models that read a picture apart from the text, and what their authors' captions come after
PLAIN = {"blip": "", "git": "", "florence2": "<CAPTION>"}
_ANSWER = "caption"


@dataclass(frozen=True)
class Prompt:
    """The prompt as it was `given` and as the processor's `text`, with `options` of the call.

    `lead` is what the chat template writes between prompt and caption, and `end` the token after a caption. `first` is
    the first token where the tokenizer has another one, and `closed` says that `generate` cuts the last token off.
    """

    given: str
    text: str
    end: int
    lead: str
    options: dict[str, bool]
    first: int | None = None
    closed: bool = False

    def opened(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Take off the end token that some tokenizers put after every text, and set the first token."""
        ids = inputs["input_ids"]
        if ids.shape[1] > 1 and bool((ids[:, -1] == self.end).all()):
            texts = {name: inputs[name][:, :-1] for name in inputs if inputs[name].shape == ids.shape}
            inputs = inputs | texts
        if self.first is not None:
            inputs["input_ids"] = inputs["input_ids"].clone()
            inputs["input_ids"][:, 0] = self.first
        return inputs

    def for_generate(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs as the model's `generate` takes them."""
        if not self.closed:
            return inputs
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        ids, mask = torch.nn.functional.pad(ids, (0, 1), value=self.end), torch.nn.functional.pad(mask, (0, 1), value=1)
        return inputs | {"input_ids": ids, "attention_mask": mask}


def prompt_of(model: Any, processor: Any, given: str | None, name: str) -> Prompt:
    """Return the prompt `given`, or that of the model's class for None; ModelError if no form of it is known."""
    kind, words = model.config.model_type, processor.tokenizer
    given = PLAIN.get(kind, DEFAULT) if given is None else given
    text, lead = _written(kind, processor, given, name)
    end = words.sep_token_id if words.eos_token_id is None else words.eos_token_id
    if end is None:
        raise ModelError(f"{name}: its tokenizer has no end token (eos_token): add it to tokenizer_config.json")
    ends = model.generation_config.eos_token_id or []
    model.generation_config.eos_token_id = sorted({end, *(ends if isinstance(ends, list) else [ends])})
    if model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = end if words.pad_token_id is None else words.pad_token_id
    doubled = bool(words.bos_token) and text.startswith(words.bos_token)
    options = {"add_special_tokens": False} if doubled else {}
    blip = kind == "blip"  # its tokens begin with [DEC], and its generate expects [SEP] after the prompt
    return Prompt(given, text, end, lead, options, model.config.text_config.bos_token_id if blip else None, blip)


def _written(kind: str, processor: Any, given: str, name: str) -> tuple[str, str]:
    """Return the text for the processor, and what stands between it and a caption."""
    if kind in PLAIN:
        return given, ""
    if getattr(processor, "chat_template", None):
        return _chat(processor, given, name)
    token = getattr(processor, "image_token", None)
    if token is None:
        problem = "it has neither a chat template nor an image token, so that no prompt can be written"
        raise ModelError(f"{name}: {problem}; add its chat_template.jinja, or name another model")
    return f"{token}{given}", ""


def _chat(processor: Any, given: str, name: str) -> tuple[str, str]:
    question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": given}]}
    answer = {"role": "assistant", "content": [{"type": "text", "text": _ANSWER}]}
    try:
        text = processor.apply_chat_template([question], add_generation_prompt=True)
        whole = processor.apply_chat_template([question, answer])
    except Exception as error:  # a template is a program of the folder: any error becomes a message
        raise ModelError(f"{name}: its chat template fails: {error}") from error
    between = whole.removeprefix(text).partition(_ANSWER)[0]
    return text, between if whole.startswith(text) and between.isspace() else ""
