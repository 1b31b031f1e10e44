"""The overlays of config/runs: each loads as its own first lines say that it is to be used."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from icsd.config import Config, load_config

ROOT = Path(__file__).parents[3]
RUNS = sorted((ROOT / "config" / "runs").rglob("*.yaml"))
SAME_RUN = {"nocaps.yaml", "single.yaml", "alignment.yaml"}  # they add to the run coco
RUN_SCORED = ["coco.yaml", "alignment.yaml"]


def _overlays(run: Path) -> list[Path]:
    """The files of the last command in a run's comments, or the run alone where they have none."""
    comments = [line for line in run.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    commands = re.findall(r"--configfile((?: config/runs/[\w/]+\.yaml)+)", "\n".join(comments))
    return [ROOT / path for path in commands[-1].split()] if commands else [run]


def _load(paths: list[Path]) -> Config:
    """The config as Snakemake merges these files into it."""
    config: dict[str, Any] = {}
    for path in [ROOT / "config" / "config.yaml", *paths]:
        update_config(config, yaml.safe_load(path.read_text(encoding="utf-8")))
    return load_config(config)


@pytest.mark.parametrize("run", RUNS, ids=[str(run.relative_to(ROOT)) for run in RUNS])
def test_a_run_loads_as_its_comments_say(run: Path) -> None:
    paths = _overlays(run)
    assert run in paths
    _load(paths)


def test_runs_have_folders_of_their_own() -> None:
    names = {run: _load(_overlays(run)).run for run in RUNS}
    assert {names.pop(run) for run in RUNS if run.name in SAME_RUN} == {"coco"}
    assert len(set(names.values())) == len(names) and "picturebook" not in names.values()


def test_the_overlay_of_scores_drops_and_downloads_nothing() -> None:
    paper, scored = (_load([ROOT / "config/runs" / name for name in names]) for names in (["coco.yaml"], RUN_SCORED))
    assert (paper.alignment.scores, scored.alignment.scores) == (False, True)
    assert not scored.alignment.selects and scored.images == paper.images and scored.downloads == paper.downloads


def test_the_papers_run_is_the_papers() -> None:
    """Values are those of the published code; each ablation changes one thing."""
    paper = _load([ROOT / "config/runs/coco.yaml"])
    assert (paper.groups.k, paper.summaries.prompt, paper.summaries.openai.max_tokens) == (30, "published", 500)
    summaries = paper.summaries
    assert (summaries.repair, summaries.quality.max_unsupported_share, summaries.quality.min_covered) == (False, 1.0, 0)
    assert (summaries.answers.form, summaries.answers.limit_words, summaries.quality.must_fit) == (
        "python",
        False,
        False,
    )
    images, captioner = paper.images, paper.captioner
    assert (images.steps, images.scheduler, images.guidance_scale, images.size) == (20, "dpmsolver++", 7.5, 512)
    assert (captioner.learning_rate, captioner.weight_decay, captioner.epochs, captioner.batch_size) == (
        1e-5,
        0.05,
        30,
        64,
    )
    assert (captioner.image_size, captioner.crop, captioner.flip, captioner.clip_norm) == (384, 0.5, True, None)
    assert (captioner.decoder_head, captioner.start_token, captioner.max_text_tokens, captioner.decay_all) == (
        "random",
        "[DEC]",
        40,
        True,
    )
    assert (captioner.fit, captioner.crop_from, captioner.crops_whole_pictures) == ("squash", "picture", True)
    evaluation = paper.evaluation
    assert (evaluation.beams, evaluation.min_tokens, evaluation.max_tokens) == (3, 5, 30)
    assert paper.groups.dedupe == "none"
    changed = {
        "k10": {"groups"}, "k20": {"groups"}, "merge": {"summaries"}, "diffcse": {"embeddings"}, "single": {"arms"},
        "neighbors": {"arms", "groups"},
    }  # fmt: skip
    for name, sections in changed.items():
        ablation = _load(_overlays(ROOT / f"config/runs/ablations/{name}.yaml"))
        differing = {key for key in Config.model_fields if getattr(ablation, key) != getattr(paper, key)}
        assert differing - {"run"} == sections


def test_all_that_the_papers_run_loads_is_fetched() -> None:
    paper = _load([ROOT / "config/runs/coco.yaml"])
    models = [paper.embeddings.model, paper.images.model, *paper.captioner.models, *paper.summaries.models]
    assert {Path(model).name for model in models if model} == set(paper.downloads.models)
    assert set(paper.captions.paths) | set(paper.pictures.test.paths) <= set(paper.downloads.targets())
