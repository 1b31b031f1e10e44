"""The prompt file: Jinja2 text with the variables `captions` (one line each) and `max_words`."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from icsd.errors import InputError

HASH_DIGITS = 16
_HINT = "mend the prompt file, or name another in summaries.prompt, in config/config.yaml"


@dataclass(frozen=True)
class Prompt:
    """A checked prompt file's text and the limit that it tells the model."""

    template: str
    max_words: int

    @cached_property
    def hash(self) -> str:
        """The first digits of the SHA-256 of all that, beside the captions, determines the prompt."""
        return hashlib.sha256(json.dumps([self.template, self.max_words]).encode()).hexdigest()[:HASH_DIGITS]

    @cached_property
    def _compiled(self) -> Template:
        environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False, trim_blocks=True)
        return environment.from_string(self.template)

    def render(self, captions: Sequence[str]) -> str:
        """The prompt for a group's captions."""
        return self._compiled.render(captions=[as_data(caption) for caption in captions], max_words=self.max_words)


def as_data(caption: str) -> str:
    """A caption on one line, without angle brackets: it can neither start a numbered line nor end one."""
    return " ".join(caption.split()).replace("<", "(").replace(">", ")")


def load_prompt(path: Path, max_words: int) -> Prompt:
    """The prompt in a file. InputError where it is missing, no valid template, or does not list the captions."""
    try:
        prompt = Prompt(path.read_text(encoding="utf-8"), max_words)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, "", f"cannot be read: {error}", _HINT) from error
    samples = ["first caption of a sample", "second caption of a sample"]
    try:
        rendered = prompt.render(samples)
    except TemplateError as error:
        line = f"line {error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        raise InputError(path, line, f"is no valid template: {error}", _HINT) from error
    if not all(f"<{number}> {caption}" in rendered for number, caption in enumerate(samples, start=1)):
        raise InputError(path, "", "does not list the captions as `<1> A dog.`, numbered from 1", _HINT)
    return prompt
