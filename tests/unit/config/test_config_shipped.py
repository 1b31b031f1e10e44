"""Files beside the Snakefile are found from another folder."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from icsd.config import load_config, shipped_path
from icsd.config.shipped import with_defaults

ROOT = Path(__file__).parents[3]
DEFAULT = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
PROMPT = "config/prompts/paper.txt"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a folder in which nothing is."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_shipped_file_is_the_working_directorys_own_where_it_has_one(elsewhere: Path) -> None:
    found = shipped_path(PROMPT, ROOT)
    assert not Path(found).is_absolute()
    assert Path(found).resolve() == ROOT / PROMPT
    own = elsewhere / PROMPT
    own.parent.mkdir(parents=True)
    own.touch()
    assert shipped_path(PROMPT, ROOT) == PROMPT


@pytest.mark.parametrize("path", ["captions.txt", "README.md", "config/prompts/none.txt", "ViT-B-16/openai", "/a/b"])
def test_all_else_stays_as_it_is(elsewhere: Path, path: str) -> None:
    assert shipped_path(path, ROOT) == path


def test_in_the_checkout_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert shipped_path(PROMPT, ROOT) == PROMPT
    assert load_config(DEFAULT, ROOT) == load_config(DEFAULT)


def test_a_modules_config_is_with_defaults_and_its_models_are_found(elsewhere: Path) -> None:
    config = load_config({"run": "mine", "captioner": {"decoder": {"layers": 3}}}, ROOT)
    assert (config.run, config.captioner.decoder.layers) == ("mine", 3)
    assert config.captioner.decoder.hidden == DEFAULT["captioner"]["decoder"]["hidden"]
    models = [config.images.model, config.captioner.vision_model, config.summaries.quality.image_model]
    assert all(Path(model or "").is_dir() for model in models)


@pytest.mark.parametrize(
    ("values", "key", "expected"),
    [
        ({"arms": ["multi"]}, "arms", ["multi"]),
        ({"pictures": {"real": None}}, "pictures", DEFAULT["pictures"] | {"real": None}),
        ({"groups": None}, "groups", None),
        ({"own": {"a": 1}}, "own", {"a": 1}),
    ],
)
def test_one_config_is_laid_over_another_as_snakemake_does(values: dict[str, Any], key: str, expected: Any) -> None:
    assert with_defaults(values, ROOT)[key] == expected
