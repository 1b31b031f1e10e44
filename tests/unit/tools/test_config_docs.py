"""config/README.md and config/schema.json say what the config model says."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from icsd.config import Config, known_keys
from tools.config_docs import config_page, config_schema

CONFIG = Path(__file__).parents[3] / "config"
DEFAULT = yaml.safe_load((CONFIG / "config.yaml").read_text(encoding="utf-8"))
PAGE = (CONFIG / "README.md").read_text(encoding="utf-8")
SCHEMA = json.loads((CONFIG / "schema.json").read_text(encoding="utf-8"))
RUNS = sorted(CONFIG.glob("runs/**/*.yaml"))


def test_the_page_and_the_schema_are_what_make_config_docs_writes() -> None:
    assert config_page(DEFAULT) == PAGE
    assert config_schema() == SCHEMA


def _rows(page: str) -> dict[str, list[str]]:
    """Dotted key -> cells of its row; a section that is as another has the rows of that one."""
    sections: dict[str, dict[str, list[str]]] = {}
    for block in page.split("\n## ")[1:]:
        title, *lines = block.splitlines()
        name = "" if title.startswith("run,") else title.replace("\\", "")
        first = lines[1].rpartition("As `")[2].removesuffix("`.")
        cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| `")]
        sections[name] = {row[0].strip("`"): row for row in cells} or sections[first]
    return {f"{name}.{key}".lstrip("."): row for name, rows in sections.items() for key, row in rows.items()}


def test_every_key_is_on_the_page_with_type_default_and_sentence() -> None:
    rows = _rows(PAGE)
    parents = {key.rpartition(".")[0] for key in known_keys(Config)}
    assert set(known_keys(Config)) - parents <= set(rows)
    assert all(len(row) == 5 and all(row) for row in rows.values())
    assert rows["shards"][1:3] == ["whole number, at least 1, at most 9999", "`2`"]
    assert rows["summaries.budget_usd"][1:3] == ["number, at least 0, or null", "`null`"]
    assert rows["embeddings.device"][1] == "`auto`, `cpu`, `cuda`"
    assert rows["captioner.seeds"][1] == "list of whole number, at least 0, 1 or more of them"
    assert rows["images.negative_prompt"][2] == '`""`'
    assert rows["downloads.models.<name>.revision"][2] == "must be given"
    assert rows["summaries.prompt"][4].startswith(r"config/prompts/\<name>.txt")


def test_the_page_says_which_keys_rerun_jobs() -> None:
    reruns = {key: row[3] for key, row in _rows(PAGE).items()}
    assert (reruns["images.steps"], reruns["images.batch_size"], reruns["summaries.openai.model"]) == (
        "yes",
        "no",
        "yes",
    )
    assert {reruns[key] for key in reruns if key.startswith("estimate.")} == {"no"}


def test_the_page_has_the_defaults_of_config_yaml() -> None:
    changed = copy.deepcopy(DEFAULT)
    changed["captioner"]["decoder"]["hidden"] = 640
    assert _rows(config_page(changed))["captioner.decoder.hidden"][2] == "`640`"


@pytest.mark.parametrize("path", [CONFIG / "config.yaml", *RUNS], ids=lambda path: path.name)
def test_the_schema_takes_each_config_that_is_shipped(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), SCHEMA)


@pytest.mark.parametrize(
    "mistake",
    [{"shard": 3}, {"groups": {"k": 1}}, {"arms": ["mult"]}, {"downloads": {"models": {"clip": {"repo_id": "a/b"}}}}],
    ids=str,
)
def test_the_schema_refuses_a_mistake(mistake: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(mistake, SCHEMA)
