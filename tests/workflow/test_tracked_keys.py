"""The marks of the config's keys are true: a tracked one is in a rule's params or inputs, an untracked one in none."""

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from checkout import offline
from pydantic.fields import FieldInfo

from icsd.config import Config, load_config
from icsd.config.downloads import FileDownload, ModelDownload
from icsd.config.section import MARK, sections_in
from icsd.core.errors import ConfigError

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
SHA256, COMMIT = "0123456789abcdef" * 4, "0123456789" * 4
UNPACKED = "resources/corpora/unpacked.json"
# values that other keys or files limit; all other keys get one by their type
VALUES: dict[str, Any] = {
    "run": "another",
    "shards": 3,
    "arms": ["single", "real", "single_matched", "multi_head", "multi"],
    "captions.annotations": [UNPACKED],
    "captions.missing": ["value-missing"],
    "pictures.more_tests": {"more": {"annotations": "value-more", "images": "value-folder"}},
    "summaries.prompts": ["value-one", "value-two"],
    "summaries.openai.reasoning_effort": "another",
    "summaries.openai.api_key_env": "ANOTHER_KEY",
    "images.openai.api_key_env": "ONE_MORE_KEY",
    "guard.min_jaccard": 0.875,
    "summaries.transformers.constrained": True,  # without the key it is false
    "images.model": "value-pipeline",
    "images.size": 48,
    "images.openai.parameters": {"num_inference_steps": 31},
    "images.parameters": {"true_cfg_scale": 3.25},
    "images.lora": [{"model": "value-lora"}],
    "images.candidates": 3,
    "images.redraw_below": 0.61,
    "images.max_images": 977,
    "alignment.model": "value-clip",
    "alignment.min_score": 0.19,
    "alignment.drop_share": 0.37,
    "alignment.max_below_best": 0.43,
    "alignment.min_sentence_score": 0.29,
    "alignment.weight_temperature": 0.83,
    "captioner.also": ["multi_head"],
    "captioner.decoder.heads": 3,
    "captioner.decoder.hidden": 96,
    "captioner.max_text_tokens": 97,
    "captioner.batch_size": 36,
    "captioner.batch_parts": 12,
    "captioner.processes": 2,
    "captioner.nodes": 3,
    "captioner.seeds": [71, 72],
    "export.licences": {"another": "value-licence"},
    "embeddings.model": "someone/small",
    "downloads.models": {"small": {"repo_id": "someone/small", "revision": COMMIT, "files": ["*.json"]}},
    "downloads.files": {
        "resources/corpora/a.zip": {
            "address": "https://example.org/a.zip", "sha256": SHA256, "unpack": {"a.json": UNPACKED}
        }
    },
}  # fmt: skip
# what chooses one of several sections or keys
VARIANTS: list[dict[str, Any]] = [
    {
        "summaries.provider": "openai",
        "groups.index": "ivf",
        "embeddings.kind": "transformers",
        "alignment.score": "random",
        "captions.language": "de",
        "evaluation.metrics": ["chrF", "BLEU"],
        "captioner.start_from": "value-start",
    },
    {
        "summaries.provider": "transformers",
        "groups.index": "hnsw",
        "captioner.epochs": 17,
        "captioner.steps": None,
        "alignment.rematch": 7,
        "images.provider": "openai",
    },
    {
        "captioner.model": "value-model",
        "captioner.prompt": "value-prompt",
        "captioner.lora.rank": 5,
        "captioner.lora.alpha": 77,
        "captioner.lora.dropout": 0.21,
        "captioner.lora.targets": ["value-layer"],
    },
]
UNTRACKED_ENTRIES = {name for name, field in FileDownload.model_fields.items() if not field.json_schema_extra[MARK]}
ONLY_JOBS: dict[str, Any] = {"export.arms": ["single"], "export.formats": ["coco"]}  # which decide what is made


def _keys(section: Any, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """The keys that are no sections."""
    for name, field in section.model_fields.items():
        below = sections_in(field.annotation)
        if not below:
            yield prefix + name, field
        for kind in below[:1]:
            yield from _keys(kind, f"{prefix}{name}.")


KEYS = dict(_keys(Config))
TRACKED = {key: field.json_schema_extra[MARK] for key, field in KEYS.items()}


def test_every_key_has_a_mark() -> None:
    entries = [field for section in (FileDownload, ModelDownload) for field in section.model_fields.values()]
    for field in [*KEYS.values(), *entries]:
        assert isinstance(field.json_schema_extra[MARK], bool)


@cache
def _values(*, tracked: bool) -> dict[str, Any]:
    """Another value than the default for each key with that mark, by its number unlike all others where it can be."""
    chosen = {variant for each in VARIANTS for variant in each}
    keys = [key for key in KEYS if TRACKED[key] == tracked and key not in chosen and key not in ONLY_JOBS]
    return {key: VALUES.get(key) or _value(key, number) for number, key in enumerate(keys)}


def _value(key: str, number: int) -> Any:
    default = _at(DEFAULT, key)
    if isinstance(default, bool):
        return not default
    choices = [each for each in get_args(KEYS[key].annotation) if isinstance(each, str) and each != default]
    for value in [*choices[-1:], 1000 + number, number / 1000, f"value-{number:03d}"]:
        try:
            load_config(_with({key: value}))
            return value
        except ConfigError:
            continue
    raise AssertionError(f"give {key} a value in VALUES")


def _at(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = config[name]
    return config


def _with(values: Mapping[str, Any]) -> dict[str, Any]:
    """The default config with these dotted keys set."""
    config = copy.deepcopy(DEFAULT)
    for key, value in values.items():
        section, _, last = key.rpartition(".")
        (_at(config, section) if section else config)[last] = value
    return config


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[str]]]:
    """Plans in pairs, of each variant with tracked values and with untracked values too; then those of ONLY_JOBS."""
    folder = tmp_path_factory.mktemp("plans")
    tracked, untracked = _values(tracked=True), _values(tracked=False)
    configs = [
        _with(tracked | variant | more) for variant in VARIANTS for more in ({}, untracked)
    ] + [_with({"export.arms": None}), *(_with({key: value}) for key, value in ONLY_JOBS.items())]  # fmt: skip
    (folder / "config/prompts").mkdir(parents=True)
    (folder / "config/config.yaml").symlink_to(ROOT / "config/config.yaml")
    for name in set(re.findall(r"value-\w+", json.dumps(configs))):
        for path in (name, f"config/prompts/{name}.txt", f"config/prompts/{name}.yaml"):
            (folder / path).touch()
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/support/plans.py")], input=json.dumps(configs), cwd=folder,
        env=offline(os.environ), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_tracked_key_is_in_a_rules_params_or_inputs(plans: list[dict[str, list[str]]]) -> None:
    missing = {key for key in KEYS if TRACKED[key]} - set(ONLY_JOBS)
    for variant, plan in zip(VARIANTS, plans[: 2 * len(VARIANTS) : 2], strict=True):
        values = _values(tracked=True) | variant
        said = [text for job, texts in plan.items() for text in (job, *texts)]
        config = load_config(_with(values)).model_dump(mode="json")
        # an entry of downloads.files has untracked keys too
        wanted = {key: value if key == "downloads.files" else _at(config, key) for key, value in values.items()}
        missing -= {key for key, value in wanted.items() if _is_in(said, key.split(".")[-1], value)}
    assert not missing


def _is_in(said: list[str], name: str, value: Any) -> bool:
    """Return whether a plan has a value: alone, after its name, or inside another where it is unique."""
    if isinstance(value, Mapping):
        return all(_is_in(said, key, each) for key, each in value.items() if key not in UNTRACKED_ENTRIES)
    if any(text == repr(value) or re.search(re.escape(f"'{name}': {value!r}") + "[,}]", text) for text in said):
        return True
    if isinstance(value, list):
        return bool(value) and all(_is_in(said, name, each) for each in value)
    return bool(re.search(r"value-|/|another", str(value))) and any(str(value) in text for text in said)


def test_an_untracked_key_is_in_none(plans: list[dict[str, list[str]]]) -> None:
    for number in range(len(VARIANTS)):
        before, after = plans[2 * number : 2 * number + 2]
        assert before == after


def test_a_key_that_decides_what_is_made_changes_the_jobs(plans: list[dict[str, list[str]]]) -> None:
    default, *others = plans[2 * len(VARIANTS) :]
    for key, plan in zip(ONLY_JOBS, others, strict=True):
        assert set(plan) < set(default), key
