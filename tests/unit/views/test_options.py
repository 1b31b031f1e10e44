"""Overlays and values that `icsd` cannot read: each is one message."""

from pathlib import Path

import pytest

from icsd.core.errors import ConfigError
from icsd.views.options import read_config

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("run: a\ncaptions: {annotations: a.txt\ngroups: {k: 3}\n", r"line 3, column 7: is not YAML: expected"),
        ("groups:\n\tk: 3\n", r"line 2, column 1: is not YAML: found character"),
        ("- run\n", "must have keys with values"),
        ("hello", "must have keys with values"),
    ],
)
def test_an_overlay_that_cannot_be_read_is_named(
    content: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    overlay = tmp_path / "a.yaml"
    overlay.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_config([overlay], [])


def test_an_empty_overlay_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "a.yaml").write_text("")
    assert read_config([tmp_path / "a.yaml"], []) == read_config([], [])


def test_a_mistyped_overlay_is_named_with_one_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=r"did you mean config/runs/captions\.yaml\?"):
        read_config([Path("config/runs/captons.yaml")], [])


def test_a_dotted_key_is_shown_as_snakemake_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=r"write --config 'groups={k: 5}'"):
        read_config([], ["groups.k=5"])
