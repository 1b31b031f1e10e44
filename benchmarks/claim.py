"""Measure the paper's claim in the picture book: several drawings of the pictures, settings of alignment, and seeds.

A run is one drawing in one setting, made by the workflow's rules; all runs share the drawn pictures. Snakemake keeps
what is done, so that a second call continues. A run that fails is named, and the others go on. The page is of all runs
that are finished: results/benchmark/claim/claim.md, docs/background/claim.md and, of the quick ones, the README.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from icsd.core.files import atomic_path  # noqa: E402
from icsd.picturebook.comparison import (  # noqa: E402
    Question,
    Results,
    best_setting,
    claim_page,
    introduction,
    read_run,
    score_runs,
    sides_table,
)
from tools.fill_block import update_block  # noqa: E402

Overlay = Mapping[str, Any]
OVERLAY = "config/runs/claim.yaml"  # of all runs
FOLDER = "results/benchmark/claim"  # of the page and of each run's own overlay
RECORDED = "benchmarks/recorded"  # in git: the small tables of finished runs, so that another machine goes on from them
CLIP = {"model": "resources/picturebook/clip"}
PAIR = ("multi", "single")
CONTROLLED = ("multi", "single", "single_matched", "multi_head")


@dataclass(frozen=True)
class Setting:
    """What a setting changes in the config, and its arms. A control is no candidate for the best setting."""

    arms: Sequence[str]
    config: Overlay = field(default_factory=dict)
    control: bool = False
    drawings: Sequence[int] | None = None  # None: all

    def of(self, arms: Sequence[str]) -> "Setting":
        """Return the setting with these of its arms."""
        return replace(self, arms=[arm for arm in self.arms if arm in arms])

    @property
    def candidates(self) -> int:
        """Most pictures that are drawn of a sentence."""
        return int(self.config.get("images", {}).get("candidates", 1))


SETTINGS = {
    "base": Setting(CONTROLLED),
    # it has no drawn picture, so one drawing is all
    "photographs": Setting(["real"], control=True, drawings=[1]),
    "filtered": Setting(CONTROLLED, {"alignment": CLIP | {"drop_share": 0.2}}),
    "random": Setting(PAIR, {"alignment": {"score": "random", "drop_share": 0.2}}, control=True),
    "oracle": Setting(PAIR, {"alignment": {"score": "probe", "drop_share": 0.2}}, control=True),
    "best4": Setting(PAIR, {"alignment": CLIP, "images": {"candidates": 4}}),
    "best4_filtered": Setting(PAIR, {"alignment": CLIP | {"drop_share": 0.2}, "images": {"candidates": 4}}),
    "min_score": Setting(PAIR, {"alignment": CLIP | {"min_score": 0.47}}),
    "max_below_best": Setting(["multi"], {"alignment": CLIP | {"max_below_best": 0.1}}),
    "min_sentence_score": Setting(PAIR, {"alignment": CLIP | {"min_sentence_score": 0.47}}),
    "weights": Setting(PAIR, {"alignment": CLIP | {"weight_temperature": 0.1}}),
    "rematch": Setting(["multi"], {"alignment": CLIP | {"drop_share": 0.2, "rematch": 8}}),
    "redraw_filtered": Setting(
        PAIR, {"alignment": CLIP | {"drop_share": 0.2}, "images": {"candidates": 4, "redraw_below": 0.5}}
    ),
}
DRAWINGS = (1, 2, 3)  # images.seed
SCORES = {"cosine": "filtered", "random": "random", "probe": "oracle"}  # and a setting that has each


@dataclass(frozen=True)
class Plan:
    """The runs of a benchmark: their names begin with `prefix`, and `config` is part of every overlay."""

    prefix: str
    settings: Mapping[str, Setting]
    drawings: Sequence[int]
    config: Overlay = field(default_factory=dict)

    def run(self, setting: str, drawing: int) -> str:
        """Return the name of a run."""
        return f"{self.prefix}-{drawing}-{setting}"

    def overlay(self, setting: str, drawing: int) -> str:
        """Return the overlay of a run as YAML."""
        own = {"run": self.run(setting, drawing), "arms": list(self.settings[setting].arms)}
        return yaml.safe_dump(merged(own, self.config, self.settings[setting].config, {"images": {"seed": drawing}}))


WHOLE = Plan("claim", SETTINGS, DRAWINGS)
# at the size of the default run: 150 summaries, 150 steps of 32 pairs
QUICK = Plan(
    "quick-claim",
    {name: each.of(PAIR) for name, each in SETTINGS.items() if each.of(PAIR).arms},
    DRAWINGS,
    {
        "images": {"max_summaries": 150},
        "captioner": {"steps": 150, "batch_size": 32, "validate_every": 75, "seeds": [0, 1]},
    },
)
QUICK_SETTINGS = ("base", "filtered")  # made by --quick alone; --only names others


def merged(*parts: Overlay) -> dict[str, Any]:
    """Return the overlays as one; a section has the keys of all of them."""
    whole: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            whole[key] = {**whole.get(key, {}), **value} if isinstance(value, Mapping) else value
    return whole


def make_runs(plan: Plan, settings: Iterable[str], drawings: Iterable[int], root: Path = ROOT) -> list[str]:
    """Make the runs one after another, each with all cores; return the names of those that failed."""
    failed, recorded = [], _finished(plan, root / RECORDED)
    for drawing in drawings:
        for setting in settings:
            wanted = drawing in (plan.settings[setting].drawings or [drawing])
            if wanted and (setting, drawing) not in recorded and not _make(plan, setting, drawing, root):
                failed.append(plan.run(setting, drawing))
    return failed


def _make(plan: Plan, setting: str, drawing: int, root: Path) -> bool:
    run, overlay = plan.run(setting, drawing), plan.overlay(setting, drawing)
    file = root / FOLDER / f"{run}.yaml"
    _write(file, overlay)
    print(f"\n== {run}", flush=True)
    snakemake = str(Path(sys.executable).with_name("snakemake"))
    command = [snakemake, "picturebook_claim", "--keep-going", "--configfile", OVERLAY, str(file)]
    if subprocess.run(command, cwd=root, check=False).returncode:
        return False
    _write(_mark(root / "results" / run), overlay)
    return True


def finished_runs(plan: Plan, root: Path = ROOT) -> dict[tuple[str, int], Path]:
    """Return the folders of the finished runs by setting and drawing, whatever the plan's drawings.

    A run that was made with other values of its setting is named and left out. A recorded run counts if the run itself
    is not here.
    """
    return _finished(plan, root / RECORDED) | _finished(plan, root / "results")


def record(plan: Plan, root: Path = ROOT) -> None:
    """Copy the tables of the finished runs that are not recorded yet."""
    for (setting, drawing), run in _finished(plan, root / "results").items():
        target = root / RECORDED / plan.run(setting, drawing) / "benchmark"
        if not target.exists():
            shutil.copytree(run / "benchmark", target, ignore=shutil.ignore_patterns(".snakemake_timestamp"))


def _finished(plan: Plan, folder: Path) -> dict[tuple[str, int], Path]:
    found = {}
    for setting in plan.settings:
        for mark in sorted(folder.glob(f"{plan.prefix}-*-{setting}/benchmark/{_mark(Path()).name}")):
            run = mark.parents[1]
            number = run.name.removeprefix(f"{plan.prefix}-").removesuffix(f"-{setting}")
            if number.isdecimal() and mark.read_text(encoding="utf-8") == plan.overlay(setting, int(number)):
                found[setting, int(number)] = run
            else:
                print(f"{run.name} was made with other values of its setting: it is left out until it is made again")
    return found


def _mark(run: Path) -> Path:
    """Return the path of a finished run's overlay, beside its tables."""
    return run / "benchmark/overlay.yaml"


def collect(plan: Plan, root: Path = ROOT) -> tuple[str, str]:
    """Return the page of all finished runs, and the README's part of it. SystemExit if there are none."""
    runs = finished_runs(plan, root)
    if not runs:
        raise SystemExit(f"no run {plan.prefix}-<drawing>-<setting> is finished below {root / 'results'}")
    results = score_runs({key: read_run(path, plan.settings[key[0]].arms) for key, path in runs.items()})
    best = best_pairs(plan, results)
    headline = [side for side in results.trained if side[0] in ("base", "photographs")]
    headline += [side for pair in best for side in pair]
    readme = "\n".join([introduction(results), "", *sides_table(results, dict.fromkeys(headline))])
    return claim_page(results, questions(plan, best), SCORES), readme


def best_pairs(plan: Plan, results: Results) -> list[Question]:
    """Return multi and single in the settings best on val, at equal pictures a sentence: of one, then of several."""
    by_candidates: dict[int, list[str]] = {}
    for name, each in plan.settings.items():
        if not each.control:
            by_candidates.setdefault(each.candidates, []).append(name)
    found = [[(best_setting(results, arm, names), arm) for arm in PAIR] for _, names in sorted(by_candidates.items())]
    return [((multi, "multi"), (single, "single")) for (multi, _), (single, _) in found if multi and single]


def questions(plan: Plan, best: Sequence[Question]) -> dict[str, list[Question]]:
    """Return the differences to show, by heading, after those of the best settings."""
    settings = {name: each.arms for name, each in plan.settings.items()}
    pairs = [((name, "multi"), (name, "single")) for name in settings]
    matched = [((name, "multi"), ("base", "single_matched")) for name in settings]
    changes = [((name, arm), ("base", arm)) for name, arms in settings.items() for arm in arms if name != "base"]
    controls = [("filtered", "random"), ("oracle", "filtered")]
    parts = [("multi_head", "single"), ("multi", "multi_head")]
    return {
        "The settings that val finds best: with one picture a sentence, then with several": list(best),
        "Many contexts or one, in the same setting": pairs,
        "Many contexts, or a picture for each caption": matched,
        "What a setting changes": changes,
        "Beside chance, and below what the probe would reach": [
            ((better, arm), (other, arm)) for better, other in controls for arm in PAIR
        ],
        "The picture's part, and the captions' part": [
            ((name, better), (name, other)) for name in ("base", "filtered") for better, other in parts
        ],
    }


def fill_documents(root: Path, page: str, readme: str, *, quick: bool) -> None:
    """Put the page into its block of docs/background/claim.md; the first rows of the quick one into the README.

    The README has those of the default run's size, which has more drawings and settings finished.
    """
    update_block(root / "docs/background/claim.md", "quick" if quick else "claim", page)
    if quick:
        update_block(root / "README.md", "claim", readme)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def _names(known: Iterable[str], given: str) -> list[str]:
    names = given.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"--only {unknown[0]}: no such setting; there are {', '.join(known)}")
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the runs that are missing, and write the page of all that are finished. 1 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="smaller runs, of base and filtered if no others are named"
    )
    parser.add_argument("--only", metavar="NAMES", help="make runs of these settings only: base,filtered")
    parser.add_argument("--drawings", metavar="NUMBERS", help="make runs of these drawings only: 1,2; others count too")
    parser.add_argument("--collect", action="store_true", help="make no run")
    parser.add_argument("--record", action="store_true", help=f"put the tables of finished runs into {RECORDED}")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else WHOLE
    usual = QUICK_SETTINGS if options.quick else plan.settings
    settings = _names(plan.settings, options.only) if options.only else list(usual)
    drawings = [int(number) for number in options.drawings.split(",")] if options.drawings else plan.drawings
    failed = [] if options.collect else make_runs(plan, settings, drawings)
    if options.record:
        record(plan)
    page, readme = collect(plan)
    _write(ROOT / FOLDER / f"{plan.prefix}.md", page)
    print(page)
    fill_documents(ROOT, page, readme, quick=options.quick)
    if failed:
        print(f"Failed, so not in the tables: {', '.join(failed)}. Call the benchmark again to continue them.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
