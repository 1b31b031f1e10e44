"""Prompts: a text in Jinja2, and beside it the rules of its answers.

The text has the variables `captions` (one line each), `max_words`, `min_selected` and `max_selected`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml
from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment
from pydantic import ValidationError

from icsd.core.errors import InputError
from icsd.stages.summaries.answers import Rules

HASH_DIGITS = 16
_HINT = "mend the prompt's files, or name another in summaries.prompt, in config/config.yaml"


@dataclass(frozen=True)
class Prompt:
    """A checked prompt: its template and the rules of its answers."""

    template: str
    rules: Rules

    @cached_property
    def hash(self) -> str:
        """The first digits of the SHA-256 of all that determines request and check besides the captions."""
        parts = [self.template, self.rules.model_dump(mode="json")]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:HASH_DIGITS]

    @cached_property
    def _compiled(self) -> Template:
        environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False, trim_blocks=True)
        return environment.from_string(self.template)

    def render(self, captions: Sequence[str]) -> str:
        """The prompt for a group's captions."""
        limits = self.rules.model_dump(exclude={"json_schema"})
        return self._compiled.render(captions=[as_data(caption) for caption in captions], **limits)


def as_data(caption: str) -> str:
    """A caption on one line without angle brackets, so that it cannot imitate the numbering of the prompt."""
    return " ".join(caption.split()).replace("<", "(").replace(">", ")")


def load_prompt(path: Path) -> Prompt:
    """The prompt in a text file and the .yaml beside it.

    InputError if one is missing, is no valid template, does not list the captions, or has unknown keys.
    """
    there = ", ".join(sorted(each.stem for each in path.parent.glob("*.txt")))
    if there and not path.exists():
        raise InputError(path, "", "there is no such prompt", f"name one of {there}, or write it")
    prompt = Prompt(_read(path), _rules(path.with_suffix(".yaml")))
    samples = ["first caption of a sample", "second caption of a sample"]
    try:
        rendered = prompt.render(samples)
    except TemplateError as error:
        line = f"line {error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        raise InputError(path, line, f"is no valid template: {error}", _HINT) from error
    if not all(f"<{number}> {caption}" in rendered for number, caption in enumerate(samples, start=1)):
        raise InputError(path, "", "does not list the captions as `<1> A dog.`, numbered from 1", _HINT)
    return prompt


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, "", f"cannot be read: {error}", _HINT) from error


def _rules(path: Path) -> Rules:
    try:
        return Rules.model_validate(yaml.safe_load(_read(path)) or {})
    except yaml.YAMLError as error:
        raise InputError(path, "", f"is no YAML: {' '.join(str(error).split())}", _HINT) from error
    except ValidationError as error:
        problem = error.errors()[0]
        raise InputError(path, ".".join(map(str, problem["loc"])), problem["msg"], _HINT) from None
