"""The benchmark of the claim: its runs' overlays, what it collects, and the documents that it fills."""

import runpy
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from icsd.config import load_config
from icsd.core import tables

ROOT = Path(__file__).parents[3]
claim = SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks/claim.py")))
PLAN = claim.Plan(
    "claim",
    {
        "base": claim.Setting(["multi", "single"]),
        "filtered": claim.Setting(["multi"], {"alignment": {"drop_share": 0.2}}),
    },
    (1, 2),
)


def test_an_overlay_has_the_run_the_drawing_and_the_keys_of_all_parts() -> None:
    settings = {"best4": claim.Setting(["multi"], {"images": {"candidates": 4}})}
    plan = claim.Plan("quick", settings, (1,), {"images": {"max_summaries": 9}})
    assert yaml.safe_load(plan.overlay("best4", 3)) == {
        "run": "quick-3-best4",
        "arms": ["multi"],
        "images": {"candidates": 4, "max_summaries": 9, "seed": 3},
    }


@pytest.mark.parametrize(
    ("plan", "setting"), [(plan, setting) for plan in (claim.WHOLE, claim.QUICK) for setting in plan.settings]
)
def test_every_setting_is_a_valid_config(plan: Any, setting: str) -> None:
    base = yaml.safe_load((ROOT / claim.OVERLAY).read_text(encoding="utf-8"))
    config = load_config(claim.merged(base, yaml.safe_load(plan.overlay(setting, 2))), ROOT)
    assert config.images.seed == 2 and config.run == plan.run(setting, 2)
    assert config.arms == list(plan.settings[setting].arms)


def test_every_question_is_about_settings_and_arms_that_are_run() -> None:
    sides = {side for asked in claim.questions(claim.WHOLE, []).values() for pair in asked for side in pair}
    run = {(name, arm) for name, each in claim.SETTINGS.items() for arm in each.arms}
    assert run <= sides and {name for name, _ in sides} <= set(claim.SETTINGS)
    assert all("-" not in name for name in claim.SETTINGS)  # the names of runs are taken apart at it


def test_a_failed_run_is_named_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(returncode=int("claim-1-filtered" in command[-1]))

    monkeypatch.setattr(subprocess, "run", run)
    assert claim.make_runs(PLAN, PLAN.settings, PLAN.drawings, tmp_path) == ["claim-1-filtered"]
    assert [Path(command[-1]).stem for command in commands] == [
        "claim-1-base", "claim-1-filtered", "claim-2-base", "claim-2-filtered",
    ]  # fmt: skip
    assert Path(commands[0][-1]).read_text(encoding="utf-8") == PLAN.overlay("base", 1)
    assert set(claim.finished_runs(PLAN, tmp_path)) == {("base", 1), ("base", 2), ("filtered", 2)}


def test_a_setting_without_drawn_pictures_is_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1))
    plan = claim.Plan("claim", {"photographs": claim.SETTINGS["photographs"]}, (1, 2, 3))
    assert claim.make_runs(plan, plan.settings, plan.drawings, tmp_path) == ["claim-1-photographs"]


def test_a_run_of_other_values_of_its_setting_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run, overlay in (
        ("claim-1-filtered", PLAN.overlay("filtered", 1)),
        ("claim-2-filtered", PLAN.overlay("filtered", 2).replace("0.2", "0.3")),
        ("claim-1-best_filtered", PLAN.overlay("filtered", 1)),
        ("quick-claim-1-filtered", PLAN.overlay("filtered", 1)),
    ):
        mark = tmp_path / "results" / run / "benchmark/overlay.yaml"
        mark.parent.mkdir(parents=True)
        mark.write_text(overlay, encoding="utf-8")
    assert set(claim.finished_runs(PLAN, tmp_path)) == {("filtered", 1)}
    assert "claim-2-filtered was made with other values" in capsys.readouterr().out


def test_a_recorded_run_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _finish(tmp_path, "base", 1, cider={"multi": 1.5, "single": 1.6})
    claim.record(PLAN, tmp_path)
    (tmp_path / "results").rename(tmp_path / "elsewhere")
    made = []
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: made.append(Path(command[-1]).stem) or SimpleNamespace(returncode=1)
    )
    assert claim.make_runs(PLAN, ["base"], (1, 2), tmp_path) == ["claim-2-base"] == made
    page, _ = claim.collect(PLAN, tmp_path)
    assert "base: multi − single" in page


def test_without_a_finished_run_it_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no run claim-<drawing>-<setting> is finished"):
        claim.collect(PLAN, tmp_path)


def test_finished_runs_make_the_page_and_the_readmes_rows(tmp_path: Path) -> None:
    _finish(tmp_path, "base", 1, cider={"multi": 1.5, "single": 1.6})
    _finish(tmp_path, "filtered", 1, cider={"multi": 1.7})
    page, readme = claim.collect(PLAN, tmp_path)
    assert "| filtered multi − base multi | " in page and "| base: multi − single" in page
    # val finds the filtered multi best, and single has base alone
    best = page.split("The settings that val finds best")[1].split("\n\n")[1]
    assert "| filtered multi − base single |" in best and best.count("+10.0 (+10.0 to +10.0)") == 1
    assert readme.count("| base ") == 2 and readme.count("| filtered ") == 1 and "difference" not in readme


def test_the_documents_get_the_page_and_its_first_rows(tmp_path: Path) -> None:
    for name in ("README.md", "docs/background/claim.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        blocks = ("claim", "quick")
        text = "".join(f"<!-- {block}:begin -->\nold\n<!-- {block}:end -->\n" for block in blocks)
        path.write_text(text, encoding="utf-8")
    readme, page = tmp_path / "README.md", tmp_path / "docs/background/claim.md"
    claim.fill_documents(tmp_path, "# The claim\n\nAll rows.\n", "First rows.", quick=False)
    assert "claim:begin -->\nAll rows.\n<!--" in page.read_text() and "First rows" not in readme.read_text()
    claim.fill_documents(tmp_path, "# The claim\n\nFew rows.\n", "First rows.", quick=True)
    assert "quick:begin -->\nFew rows.\n<!--" in page.read_text() and "All rows" in page.read_text()
    assert "claim:begin -->\nFirst rows.\n<!--" in readme.read_text()


def test_an_unknown_setting_is_one_message() -> None:
    with pytest.raises(SystemExit, match="--only filterd: no such setting; there are base"):
        claim.main(["--only", "base,filterd"])


def _finish(root: Path, setting: str, drawing: int, cider: dict[str, float]) -> None:
    """Write the tables of a finished run; its score on val is twice its CIDEr."""
    folder = root / "results" / PLAN.run(setting, drawing) / "benchmark"
    (folder / "arms").mkdir(parents=True)
    (folder / "overlay.yaml").write_text(PLAN.overlay(setting, drawing), encoding="utf-8")
    rows = [
        {"arm": arm, "seed": 0, "image_id": f"real-{n}", "cider": value, "bleu": [1.0] * 10, "named": 2, "true": 1}
        for arm, value in cider.items()
        for n in range(3)
    ]
    tables.write(folder / "counts.parquet", tables.CAPTION_COUNTS, rows)
    for arm, value in cider.items():
        sizes = {"pictures drawn": 600, "pictures kept": 500, "pairs": 4000, "of them seen": 0.9}
        _write_quality(folder / f"arms/{arm}.parquet", arm, sizes | {"CIDEr + BLEU-4 on val": 2 * value})
    _write_quality(folder / "test.parquet", "test", {"objects named": 1.5, "of them seen": 0.98})


def _write_quality(path: Path, model: str, measures: dict[str, float]) -> None:
    rows = [{"model": model, "measure": name, "value": value, "items": 1} for name, value in measures.items()]
    tables.write(path, tables.QUALITY, rows)
