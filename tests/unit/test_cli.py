"""What the command `icsd` says to a mistyped command line."""

import argparse
from pathlib import Path

import pytest

from icsd import cli
from icsd.cli import main


def test_without_a_command_all_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    printed = capsys.readouterr().err
    assert all(f"    {command} " in printed for command in ("status", "preview", "trace"))


@pytest.mark.parametrize(("word", "typed"), [("estimate", "snakemake estimate"), ("report", "make report")])
def test_a_target_of_the_workflow_is_named_with_its_program(
    word: str, typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word]) == 2
    assert capsys.readouterr().err == f"icsd: {word} is no command of icsd: type `{typed}`\n"


def test_an_overlay_without_its_option_is_named_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["preview", "my-run.yaml"])
    assert "my-run.yaml (for a config overlay type --configfile my-run.yaml)" in capsys.readouterr().err


def test_an_interrupted_command_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(options: argparse.Namespace) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_convert", interrupted)
    assert main(["convert", "model", "folder"]) == 130
    assert capsys.readouterr().err.startswith("icsd: interrupted: ")


def test_a_missing_run_names_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["trace"]) == 1
    assert "there are no runs here yet: type snakemake" in capsys.readouterr().err
    (tmp_path / "results/captions/captions").mkdir(parents=True)
    assert main(["trace"]) == 1
    assert "here are results/captions" in capsys.readouterr().err
