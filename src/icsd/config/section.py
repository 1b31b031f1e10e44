"""What is wrong with a config, in one line each."""

import difflib
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_origin

from pydantic import BaseModel, ConfigDict, Field

from icsd.core.text import SHOWN_CHARACTERS

Share = Annotated[float, Field(ge=0, le=1)]
Price = Annotated[float, Field(ge=0)]
PromptName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A mapping of the config: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def fault(detail: Mapping[str, Any], values: Mapping[str, Any], whole: type[BaseModel]) -> str:
    """One line for a finding of pydantic in `values`, which are of the section `whole`."""
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, list(known_keys(whole)), n=1)
        return f"{key} is no key" + (f" (did you mean {near[0]}?)" if near else "")
    if detail["type"] == "missing":
        return f"{key} is missing"
    if detail["type"] == "model_type":
        return f"{key}={detail['input']!r}: give the section's keys below it, or leave it out"
    problem = detail["msg"].removeprefix("Value error, ")
    shown = repr(detail["input"])
    if not key or len(shown) > SHOWN_CHARACTERS:
        return f"{key}: {problem}" if key else problem
    if detail["type"] == "float_type" and _is_number(detail["input"]):
        problem += " (YAML reads 1e-3 as text: write 1.0e-3, without quotes)"
    return f"{key}={shown}: {problem[0].lower()}{problem[1:]}"


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def known_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key, dotted: sections and their keys."""
    for name, field in section.model_fields.items():
        yield prefix + name
        for kind in _sections(field.annotation):
            yield from known_keys(kind, f"{prefix}{name}.")


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The sections in a type: itself, or those of a union such as `PicturesSplit | None`.

    None of a mapping: its keys are the user's own.
    """
    if get_origin(annotation) is dict:
        return []
    parts = getattr(annotation, "__args__", (annotation,))
    return [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
