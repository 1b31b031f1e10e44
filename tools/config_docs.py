"""Write the reference of the config from its model: config/README.md for people, config/schema.json for editors."""

import argparse
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from icsd.config import Config
from icsd.config.section import MARK
from icsd.core.files import atomic_path
from icsd.core.text import markdown_table

VALUES, PAGE, SCHEMA = Path("config/config.yaml"), Path("config/README.md"), Path("config/schema.json")
HEADER = ("key", "value", "default", "reruns", "what it is")
ENTRIES = ("FileDownload", "ModelDownload", "ImageLoraConfig")  # of mappings and lists: config.yaml has none
LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "minItems": "{} or more of them",
    "pattern": "of the form `{}`",
}
NAMES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}
INTRODUCTION = """# The config

`config/config.yaml` has the values of the default run, which are the defaults below. A file given with `--configfile`
overrides the keys that it names. For a few keys, `--config run=mine shards=8` is enough. An unknown or mistyped key is
an error that names the nearest known key.

A change of a key that `reruns` makes Snakemake run its stage again and all that follows. A change of another key reruns
nothing: it affects speed, access or cost alone, and the next job reads it.

An editor that supports YAML schemas shows these sentences and marks mistakes in a file of `config/runs/` whose first
line is `# yaml-language-server: $schema=../schema.json`.

`make docs` writes this page and `schema.json` from the model in `src/icsd/config/`; a test compares them."""

Schema = Mapping[str, Any]


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of config.yaml and its overlays; no key is required, and none has another default."""
    found = Config.model_json_schema()
    for section in [found, *(each for name, each in found["$defs"].items() if name not in ENTRIES)]:
        section.pop("required", None)
        for value in section["properties"].values():
            value.pop("default", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | found


def config_page(values: Mapping[str, Any]) -> str:
    """Return the page: each key by section with type, limits and description; `values` are the defaults."""
    whole, blocks, shown = Config.model_json_schema(), [INTRODUCTION], dict[str, str]()
    for name, section, sentence in _sections(whole, whole):
        rows = [_row(key, value, _default(values, f"{name}.{key}", value)) for key, value in _keys(section)]
        table = "\n".join(markdown_table(HEADER, rows, len(HEADER)))
        first = shown.setdefault(table, name)
        title = f"## {_text(name)}\n\n{_text(sentence)}" if name else "## run, shards, arms"
        blocks.append(f"{title}\n\n{table}" if first == name else f"{title} As `{first}`.")
    return "\n\n".join(blocks) + "\n"


def _sections(section: Schema, whole: Schema, name: str = "", sentence: str = "") -> Iterator[tuple[str, Schema, str]]:
    """Yield a section and its sections: dotted name, keys, description. An entry is called <name> or <number>."""
    yield name, section, sentence or section["description"]
    for key, value in section["properties"].items():
        place = f"{name}.{key}".lstrip(".")
        for below in _referred([*value.get("anyOf", []), value], whole):
            yield from _sections(below, whole, place, value.get("description", ""))
        entries = [*value.get("patternProperties", {}).values(), value.get("additionalProperties", {})]
        for below in _referred(entries, whole):
            yield from _sections(below, whole, f"{place}.<name>")
        for below in _referred([value.get("items", {})], whole):
            yield from _sections(below, whole, f"{place}.<number>")


def _referred(values: Iterable[Schema], whole: Schema) -> list[Schema]:
    """Return the sections among values."""
    return [whole["$defs"][value["$ref"].rpartition("/")[2]] for value in values if "$ref" in value]


def _keys(section: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield the keys that are no sections."""
    for key, value in section["properties"].items():
        if not any("$ref" in one for one in value.get("anyOf", [value])):
            yield key, value


def _row(key: str, value: Schema, default: str) -> list[str]:
    kinds = [_kind(one) for one in value.get("anyOf", [value])]
    kind = (", or " if "," in kinds[0] else " or ").join(kinds)
    return [f"`{key}`", kind, default, "yes" if value[MARK] else "no", _text(value["description"])]


def _default(values: Mapping[str, Any], key: str, value: Schema) -> str:
    """Return the default in config.yaml, or for an entry of a mapping the default of the model."""
    found: Any = values
    for name in key.lstrip(".").split("."):
        if not isinstance(found, Mapping) or name not in found:
            return _code(value["default"]) if "default" in value else "must be given"
        found = found[name]
    return _code(found)


def _kind(value: Schema) -> str:
    """Return a type and its limits in words."""
    if "$ref" in value:
        return "mappings"
    if "enum" in value or "const" in value:
        return ", ".join(f"`{choice}`" for choice in value.get("enum", [value.get("const")]))
    if value["type"] == "array":
        kind = f"list of {_kind(value['items'])}"
    elif value["type"] == "object":
        kind = "mapping"
    else:
        kind = NAMES[value["type"]]
    return ", ".join([kind, *(text.format(value[limit]) for limit, text in LIMITS.items() if limit in value)])


def _code(value: Any) -> str:
    """Return a value as in YAML, a text without quotes."""
    return f"`{value}`" if value and isinstance(value, str) else f"`{json.dumps(value)}`"


def _text(sentence: str) -> str:
    """Escape a sentence for Markdown: <name> is no HTML and * no emphasis."""
    return re.sub(r"([<*|])", r"\\\1", sentence)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both files."""
    argparse.ArgumentParser(prog="python -m tools.config_docs", description=__doc__).parse_args(arguments)
    values = yaml.safe_load(VALUES.read_text(encoding="utf-8"))
    schema = json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"
    for path, text in ((PAGE, config_page(values)), (SCHEMA, schema)):
        with atomic_path(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
