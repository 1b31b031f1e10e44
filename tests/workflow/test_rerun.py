"""Jobs of a second run: none if nothing changed, else the changed stage and those after it."""

import os
from typing import Any

import pytest
from checkout import Checkout

from icsd.core import tables
from icsd.core.ids import shard_names
from icsd.stages.images import image_store

(SHARD,) = shard_names(1)
# rule -> jobs of a whole run with one shard, in the order of the stages
JOBS = {
    "read_captions": 1,
    "embed_captions": 1,
    "gather_embeddings": 1,
    "find_neighbors": 1,
    "form_groups": 1,
    "summarize_groups": 1,
    "select_sentences": 2,
    "select_matched_sentences": 1,
    "generate_images": 3,
    "check_safety": 3,
    "build_dataset": 4,
    "train_captioner": 4,  # those of the arms that draw
    "predict_captions": 4,
    "write_gallery": 1,
    "score_captions": 4,
    "collect_scores": 1,
    "draw_report": 1,
    "all": 1,
}
MATCHED = {"select_matched_sentences": 1}  # its sentences are the captions of multi's pairs
WITH_REAL = {"train_captioner": 5, "predict_captions": 5, "score_captions": 5}


def _from(rule: str) -> dict[str, int]:
    names = list(JOBS)
    return {name: JOBS[name] for name in names[names.index(rule) :]}


def test_a_second_run_has_nothing_to_do(done: Checkout) -> None:
    again = done.run()
    assert "Nothing to be done" in again.stderr
    assert done.planned() == {}


def test_a_fresh_checkout_and_an_edited_adapter_rerun_nothing(done: Checkout) -> None:
    for path in [done.folder / "Snakefile", *(path for name in ("rules", "scripts", "config", "envs")
                                              for path in (done.folder / name).rglob("*"))]:  # fmt: skip
        os.utime(path)
    for path in (done.folder / "scripts").glob("*.py"):
        path.write_text(path.read_text() + "\n# another comment\n")
    assert done.planned() == {}


def test_an_edited_prompt_reruns_summaries_and_what_follows(done: Checkout) -> None:
    prompt = done.folder / "config" / "prompts" / "paper.txt"
    prompt.write_text(prompt.read_text().replace("Choose 5 to 10", "Choose 3 to 8"))
    assert done.planned() == _from("summarize_groups")


@pytest.mark.parametrize(
    ("key", "value", "planned"),
    [
        ("captions.max_characters", 500, _from("read_captions")),
        ("groups.k", 5, _from("find_neighbors")),
        ("summaries.prompt", "strict", _from("summarize_groups")),
        ("summaries.quality.min_covered", 1, _from("summarize_groups")),
        ("images.max_summaries", 20, _from("select_sentences")),
        ("images.steps", 3, _from("generate_images") | MATCHED),
        ("safety.blank_std", 3.0, _from("check_safety") | MATCHED | {"generate_images": 1}),
        ("captioner.steps", 13, _from("train_captioner") | WITH_REAL),
        ("gallery.pictures", 5, {"write_gallery": 1, "all": 1}),
        ("evaluation.bootstrap_samples", 60, _from("score_captions") | {"score_captions": 5}),
    ],
)
def test_an_edited_value_reruns_its_stage_and_what_follows(
    done: Checkout, key: str, value: Any, planned: dict[str, int]
) -> None:
    done.edit(key, value)
    assert done.planned() == planned


def test_a_failed_rerun_is_not_taken_for_finished(done: Checkout) -> None:
    """Snakemake has deleted the neighbours, and all that was made of the old ones is there."""
    done.edit("groups.k", 10_000)
    stopped = done.snakemake()
    assert stopped.returncode == 1
    assert "Stopped: groups.k=10000 must lie between 2 and the number of captions" in stopped.stderr
    assert done.planned() == _from("find_neighbors")


def test_what_changes_speed_alone_reruns_nothing(done: Checkout) -> None:
    done.edit("embeddings.device", "cpu")
    for key in ("embeddings.batch_tokens", "images.batch_size", "safety.batch_size", "evaluation.batch_size"):
        done.edit(key, 512)
    done.edit("captioner.checkpoint_every", 5)
    done.edit("images.compile", True)
    done.edit("images.store", "elsewhere")
    done.edit("summaries.openai", {"concurrency": 64, "timeout_s": 5, "retries": 1, "api_key_env": "OTHER"})
    assert done.planned() == {}


def _drawn(checkout: Checkout) -> int:
    return image_store(checkout.folder / "results" / "drawn", "tiny").count()


def test_sentences_that_stay_the_same_are_not_drawn_again(done: Checkout) -> None:
    """The merger does not read the prompt: another one gives the same sentences, of another hash."""
    before = tables.read(done.results / f"summaries/{SHARD}.parquet", tables.SUMMARIES)
    drawn = _drawn(done)
    prompt = done.folder / "config" / "prompts" / "paper.txt"
    prompt.write_text(prompt.read_text() + "\nThank you.\n")
    done.edit("arms", ["multi"])
    target = f"results/tiny/images/multi/{SHARD}.parquet"
    log = done.run(target).stderr
    after = tables.read(done.results / f"summaries/{SHARD}.parquet", tables.SUMMARIES)
    assert after.drop_columns("prompt_hash").equals(before.drop_columns("prompt_hash"))
    assert set(after["prompt_hash"].to_pylist()).isdisjoint(before["prompt_hash"].to_pylist())
    assert drawn > 50
    assert _drawn(done) == drawn
    assert "are drawn already" in log
