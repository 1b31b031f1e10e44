"""The base of the config's sections: the mark of each key, and one line for each mistake."""

import difflib
import math
import re
from collections.abc import Collection, Iterator, Mapping, Set
from datetime import date
from typing import Annotated, Any, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from icsd.core.text import shown_address

Share = Annotated[float, Field(ge=0, le=1)]
Price = Annotated[float, Field(ge=0)]
PromptName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]

MARK = "reruns"  # of a key in the model and in the JSON schema: whether a change of its value reruns jobs
ADDED = "added"  # of a tracked key that finished runs did not have


def tracked(default: Any, description: str) -> Any:
    """A key that changes results: a rule has it as a param or an input, or it decides which jobs there are."""
    return Field(default, description=description, json_schema_extra={MARK: True})


def added(default: Any, description: str) -> Any:
    """A tracked key that came later; its default is what runs did before it.

    It is no param while it has its default, so that a finished run without it stays finished.
    """
    return Field(default, description=description, json_schema_extra={MARK: True, ADDED: True})


def untracked(default: Any, description: str) -> Any:
    """A key that changes speed, access or cost alone: jobs read it through `job_config`, and no rule has it."""
    return Field(default, description=description, json_schema_extra={MARK: False})


class Section(BaseModel):
    """A mapping of the config: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @property
    def unused(self) -> Set[str]:
        """The keys that other values of the section turn off."""
        return frozenset()

    def params(self, *names: str, without: Collection[str] = ()) -> dict[str, Any]:
        """The tracked values of this section and those below it, for a rule's params, in the order of the model.

        Those of keys that were `added` only where they differ from the default.

        Only those of `names`, if any are given, and not those of `without`, which are another rule's params or inputs.
        """
        if unknown := {*names, *without} - {name for name in type(self).model_fields if self._is_tracked(name)}:
            raise ValueError(f"{type(self).__name__} has no tracked {min(unknown)}")
        wanted = set(names or type(self).model_fields) - {*without} - self.unused - self._as_before()
        found = {}
        for name, value in self.model_dump(mode="json", include=wanted).items():
            below = getattr(self, name)
            if isinstance(below, Section):
                value = below.params()
            if value if isinstance(below, Section) else self._is_tracked(name):
                found[name] = value
        return found

    def _as_before(self) -> Set[str]:
        """The added keys that have their default."""
        fields = type(self).model_fields.items()
        return {name for name, field in fields if _is_added(field) and getattr(self, name) == field.default}

    @classmethod
    def _is_tracked(cls, name: str) -> bool:
        """Return whether a change of this key reruns jobs; True for a section, whose keys have their own marks."""
        extra = cls.model_fields[name].json_schema_extra
        return bool(extra[MARK]) if isinstance(extra, dict) else True


def _is_added(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and ADDED in extra


# renamed keys, for overlays with the old name
RENAMED = {"images.pictures": "images.max_summaries"}
RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
SHOWN_CHARACTERS = 60
SECRET = re.compile(r"(api_?key|password|secret|credential|(^|[._])key|(^|[._])token)(_env)?$", re.IGNORECASE)


def _no_user(address: str) -> str:
    if "@" in address.partition("://")[2].partition("/")[0]:
        raise ValueError("has a user or a password: give the key in an environment variable, which api_key_env names")
    return address


Address = Annotated[str, AfterValidator(_no_user)]
# the pattern has no hyphen, which most keys have: a key in place of the variable's name is refused, and not shown
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


def mistake(detail: Mapping[str, Any], values: Mapping[str, Any], whole: type[BaseModel]) -> str:
    """Return one line for an error of pydantic in `values` of the section `whole`."""
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return _unknown(key, whole)
    if detail["type"] == "missing":
        return f"{key} is missing"
    if detail["type"] == "model_type":
        return f"{key}={_public(detail['input'])!r}: give the section's keys below it, or leave it out"
    problem = detail["msg"].removeprefix("Value error, ")
    shown = repr(_public(detail["input"]))
    if not key or len(shown) > SHOWN_CHARACTERS or SECRET.search(key) or isinstance(detail["input"], dict):
        return f"{key}: {problem}" if key else problem
    if detail["type"] == "string_pattern_mismatch" and detail["ctx"]["pattern"] == RUN_NAME:
        problem = "must begin with a letter or digit; letters, digits, dots, hyphens and underscores may follow"
    return f"{key}={shown}: {problem[0].lower()}{problem[1:]}{_hint(detail)}"


def _hint(detail: Mapping[str, Any]) -> str:
    """Return how to write a value that YAML reads as another type than was meant; empty for other errors."""
    kind, value = detail["type"], detail["input"]
    if kind == "float_type" and _is_number(value):
        return " (YAML reads 1e-3 as text: write 1.0e-3, without quotes)"
    if kind == "string_type" and isinstance(value, (bool, int, float, date)):
        return " (YAML reads it as a number, a date, or yes or no: write it in quotes)"
    if kind == "list_type" and isinstance(value, str):
        return f" (write [{value}])"
    return ""


def _public(value: Any) -> Any:
    """Return the value without what may be a secret in an address."""
    return shown_address(value) if isinstance(value, str) and "://" in value else value


def _unknown(key: str, whole: type[BaseModel]) -> str:
    if key in RENAMED:
        return f"{key} is now called {RENAMED[key]}: rename it"
    near = difflib.get_close_matches(key, list(known_keys(whole)), n=1)
    return f"{key} is no key" + (f" (did you mean {near[0]}?)" if near else "")


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def known_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Return every key, dotted: sections and their keys."""
    for name, field in section.model_fields.items():
        yield prefix + name
        for kind in sections_in(field.annotation):
            yield from known_keys(kind, f"{prefix}{name}.")


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections in a type: itself, or those of a union such as `PicturesSplit | None`.

    None of a mapping or list: their entries are the user's own.
    """
    if get_origin(annotation) in (dict, list):
        return []
    parts = getattr(annotation, "__args__", (annotation,))
    return [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
