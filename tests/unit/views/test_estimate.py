import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from icsd.config import Config, load_config
from icsd.core import tables
from icsd.core.ids import shard_names, shard_of
from icsd.llm.cache import ResponseCache, Spending
from icsd.llm.request import Failure, Response, Sampling
from icsd.stages.images import image_store
from icsd.stages.summaries.prompts import Prompt, load_prompt
from icsd.stages.summaries.providers import first_request
from icsd.stages.summaries.quality import Group
from icsd.views.estimate import estimate_page, requests, write_estimate
from icsd.views.estimate.amounts import CORPUS, GUESS, SAMPLE, TABLES, Amount
from icsd.views.estimate.costs import Costs, costs
from icsd.views.estimate.counts import Counts, count
from icsd.views.run import configured_run

ROOT = Path(__file__).parents[3]
DEFAULT = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
# the prompt of captions a, b: "<1> a;<2> b;!", five characters a caption more than the captions, and one
TEMPLATE = "{% for caption in captions %}<{{ loop.index }}> {{ caption }};{% endfor %}!"
RULES = "max_words: 50\n"
CAPTIONS = ["a dog", "a cat", "a red kite", "two"]  # 23 characters, 5.75 in the mean
GROUPS = {0: [0, 1], 1: [1, 2], 2: [2, 3]}  # prompts of 21, 26 and 24 characters
SAMPLING = Sampling("gpt-4o-mini", 0.0, 500)  # as the default config has it


def _changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The config with dotted keys set."""
    values = json.loads(json.dumps(values))
    for key, value in changes.items():
        *sections, last = key.split("__")
        section = values
        for name in sections:
            section = section[name]
        section[last] = value
    return values


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    (tmp_path / "prompt.yaml").write_text(RULES)
    (tmp_path / "prompt.txt").write_text(TEMPLATE)
    return tmp_path / "prompt.txt"


class SmallRun:
    """A run's folder with four captions in two shards, written as far as a test asks for it."""

    def __init__(self, folder: Path, prompt: Path) -> None:
        self.folder, self.store, self.path = folder / "results" / "small", folder / "replies", prompt
        self.drawn = folder / "drawn"

    @property
    def prompt(self) -> Prompt:
        return load_prompt(self.path)

    def config(self, **changes: Any) -> Config:
        corpus = str(self.folder.parent / "corpus.json")
        nowhere = {"annotations": "nowhere.json", "images": "nowhere"}
        own = {
            "run": "small",
            "shards": 2,
            "captions__annotations": corpus,
            "groups__k": 2,
            "images__max_summaries": 100,
        }
        own |= {f"pictures__{split}": nowhere for split in ("real", "val", "test")}
        own |= {"images__store": str(self.drawn), "alignment__model": None, "alignment__drop_share": 0.0}
        own |= {"summaries__provider": "openai", "summaries__store": str(self.store), "summaries__repair": False}
        return load_config(_changed(DEFAULT, own | changes))

    def count(self, **changes: Any) -> Counts:
        config = self.config(**changes)
        return count(config, self.prompt, configured_run(config, self.folder))

    def write(self, name: str, table: tables.Table, rows: list[dict[str, Any]]) -> None:
        """A file, or a folder of shards by id; what the rows do not name is null."""
        key, path = table.key[0], self.folder / name
        filled = [dict.fromkeys(table.schema.names) | row for row in rows]
        if path.suffix:
            tables.write(path, table, filled)
            return
        for number, shard in enumerate(shard_names(2)):
            own = [row for row in filled if shard_of(row[key], 2) == number]
            tables.write(path / f"{shard}.parquet", table, own)

    def corpus(self) -> None:
        annotations = [{"id": i, "image_id": 1, "caption": caption} for i, caption in enumerate(CAPTIONS)]
        document = {"images": [{"id": 1, "file_name": "1.png"}], "annotations": annotations}
        self.folder.parent.mkdir(parents=True)
        (self.folder.parent / "corpus.json").write_text(json.dumps(document))

    def captions(self) -> None:
        rows = [{"caption_id": i, "caption": text} for i, text in enumerate(CAPTIONS)]
        self.write("captions/all.parquet", tables.CAPTIONS, rows)

    def groups(self) -> None:
        rows = [{"group_id": i, "caption_ids": ids, "similarities": [1.0, 0.5]} for i, ids in GROUPS.items()]
        self.write("groups/all.parquet", tables.GROUPS, rows)

    def summaries(self, *group_ids: int, dropped: int | None = None, **changes: Any) -> None:
        about = {"model": "gpt-4o-mini", "prompt_hash": self.prompt.hash} | changes
        rows = [{"group_id": i, "status": "dropped" if i == dropped else "ok", **about} for i in group_ids]
        self.write("summaries", tables.SUMMARIES, rows)

    def replies(self, *group_ids: int, run: str = "small") -> None:
        with ResponseCache(self.store).writer(run=run) as segment:
            segment.append([segment.event(self.key(i), Response("{}", None, "stop", 30, 9), 0.25) for i in group_ids])

    def key(self, group_id: int) -> str:
        ids = GROUPS[group_id]
        return first_request(self.prompt, SAMPLING, Group(group_id, tuple(ids), tuple(CAPTIONS[i] for i in ids))).key

    def pictures(self, arm: str, number: int) -> None:
        ids = [f"{arm}-{i}" for i in range(number)]
        self.write(f"images/{arm}/sentences.parquet", tables.SENTENCES, [{"image_id": name} for name in ids])
        self.write(f"images/{arm}", tables.IMAGES, [{"image_id": name} for name in ids])
        self.write(f"safety/{arm}", tables.SAFETY, [{"image_id": name} for name in ids])


@pytest.fixture
def run(tmp_path: Path, prompt: Path) -> SmallRun:
    return SmallRun(tmp_path, prompt)


# --- Counts -----------------------------------------------------------------------------------------------------------


def test_without_tables_and_files_the_config_gives_the_number_of_captions(run: SmallRun) -> None:
    counts = run.count(estimate__captions=1000, estimate__caption_characters=50.0)
    assert counts.captions == Amount(1000, 0, GUESS)
    assert counts.groups == counts.requests == Amount(1000, 0, GUESS)
    assert counts.prompts == Amount(1000 * (2 * 55 + 1), 0, GUESS)


def test_without_tables_the_captions_file_is_counted(run: SmallRun) -> None:
    run.corpus()
    counts = run.count()
    assert counts.captions == Amount(4, 0, CORPUS)
    assert counts.groups == counts.requests == Amount(4, 0, GUESS)
    assert counts.prompts == Amount(4 * (2 * (5 + 5.75) + 1), 0, GUESS)


def test_groups_hold_no_more_captions_than_there_are(run: SmallRun) -> None:
    run.corpus()
    assert run.count(groups__k=30).prompts.total == 4 * (4 * 5 + 23 + 1)


def test_with_tables_every_prompt_is_counted_as_it_is_sent(run: SmallRun) -> None:
    run.captions()
    run.groups()
    counts = run.count()
    assert counts.captions == Amount(4, 0, TABLES)
    assert counts.groups == counts.requests == Amount(3, 0, TABLES)
    assert counts.prompts == Amount(21 + 26 + 24, 0, TABLES)


def test_of_many_groups_a_sample_counts_for_all(run: SmallRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MOST_RENDERED", 2)
    run.captions()
    run.groups()
    run.summaries(0)
    counts = run.count()
    assert counts.requests == Amount(3, 1.5, SAMPLE)  # groups 0 and 2 count for three
    assert counts.prompts == Amount(1.5 * (21 + 24), 1.5 * 21, SAMPLE)
    page = estimate_page(run.config(), counts, costs(counts, run.config()), Spending())
    assert "*sample*" in page


def test_requests_in_the_store_or_a_table_are_done(run: SmallRun) -> None:
    run.captions()
    run.groups()
    run.replies(1, run="another")  # replies are shared by runs
    assert run.count().requests == Amount(3, 1, TABLES)
    assert run.count().prompts == Amount(71, 26, TABLES)
    run.summaries(1, 2)
    assert run.count().groups == Amount(3, 2, TABLES)
    assert run.count().requests == Amount(3, 2, TABLES)
    assert run.count().prompts == Amount(71, 26 + 24, TABLES)


def test_a_failed_request_is_not_done(run: SmallRun) -> None:
    run.captions()
    run.groups()
    with ResponseCache(run.store).writer(run="small") as segment:
        segment.append([segment.event(run.key(0), Failure("http-429"), 0.0)])
    assert run.count().requests.done == 0


@pytest.mark.parametrize("changes", [{"summaries__openai__model": "another"}, {"summaries__openai__max_tokens": 9}])
def test_replies_to_other_requests_are_not_done(run: SmallRun, changes: dict[str, Any]) -> None:
    run.captions()
    run.groups()
    run.replies(0, 1, 2)
    assert run.count().requests.done == 3
    assert run.count(**changes).requests.done == 0


@pytest.mark.parametrize("changes", [{"prompt_hash": "another"}, {"model": "another"}])
def test_summaries_of_another_prompt_or_model_are_not_done(run: SmallRun, changes: dict[str, Any]) -> None:
    run.captions()
    run.groups()
    run.summaries(0, 1, 2, **changes)
    assert run.count().groups == Amount(3, 0, TABLES)


def test_equal_prompts_are_one_request(run: SmallRun) -> None:
    run.write("captions/all.parquet", tables.CAPTIONS, [{"caption_id": i, "caption": "a dog"} for i in range(4)])
    run.groups()
    assert run.count().groups.total == 3
    assert run.count().requests == Amount(1, 0, TABLES)


def test_the_merger_sends_no_request(run: SmallRun) -> None:
    run.captions()
    run.groups()
    run.summaries(0, model="merge")
    counts = run.count(summaries__provider="merge")
    assert counts.groups == Amount(3, 1, TABLES)
    assert counts.requests.total == counts.prompts.total == 0


def test_a_local_models_requests_are_counted_and_its_summaries_found(run: SmallRun) -> None:
    run.captions()
    run.groups()
    run.summaries(2, model="folder")
    counts = run.count(summaries__provider="transformers", summaries__transformers__model="folder")
    assert counts.requests == Amount(3, 1, TABLES)


def test_a_damaged_table_counts_as_not_there(run: SmallRun, caplog: pytest.LogCaptureFixture) -> None:
    run.captions()
    run.groups()
    (run.folder / "groups" / "all.parquet").write_bytes(b"cut short")
    assert run.count().groups == Amount(4, 0, GUESS)
    assert "groups/all.parquet: is no whole Parquet file" in caplog.text


def test_pictures_are_as_many_as_groups_are_usable(run: SmallRun) -> None:
    changes: dict[str, Any] = {"estimate__captions": 80, "estimate__unusable_share": 0.25, "images__spare": 0.05}
    arms = {"arms": ["multi", "single", "single_matched", "multi_head"]}
    assert run.count(**changes, **arms).arms == {"multi": 60, "single": 63, "single_matched": 80}
    few = run.count(**changes, **arms, images__max_summaries=10)
    assert few.arms == {"multi": 10, "single": 11, "single_matched": 70}
    assert few.pictures == few.checks == Amount(91, 0, GUESS)
    assert run.count(**changes, arms=["single"]).arms == {"multi": 60, "single": 63}  # single has as many as multi
    alone = run.count(**changes, arms=["neighbors"], images__max_summaries=10)
    assert (alone.arms, alone.groups.total, alone.requests.total) == ({"neighbors": 10}, 0, 0)


def test_dropped_summaries_draw_no_picture(run: SmallRun) -> None:
    run.captions()
    run.groups()
    run.summaries(0, 1, 2, dropped=1)
    assert run.count(arms=["multi"]).arms == {"multi": 2}
    run.summaries(0, 1, dropped=1)
    assert run.count(arms=["multi"], estimate__unusable_share=0.0).arms == {"multi": 2}
    assert run.count(arms=["multi"], estimate__unusable_share=1.0).arms == {"multi": 1}


def test_pictures_in_tables_or_in_the_store_are_done(run: SmallRun) -> None:
    run.captions()
    run.groups()
    run.summaries(0, 1, 2)
    run.pictures("multi", 3)
    counts = run.count(arms=["multi"])
    assert counts.pictures == counts.checks == Amount(3, 3, TABLES)
    with image_store(run.drawn, "small").writer() as segment, image_store(run.drawn, "other").writer() as other:
        segment.append([(f"{number:064x}", b"PNG") for number in range(5)])
        other.append([("f" * 64, b"PNG")])
    counts = run.count(arms=["multi", "single"], images__spare=0.0)
    assert counts.arms == {"multi": 3, "single": 3}
    assert (counts.pictures, counts.checks) == (Amount(6, 5, GUESS), Amount(6, 3, GUESS))


SCORED: dict[str, Any] = {"alignment": {"model": "resources/picturebook/clip"}}


def test_candidates_and_their_scores_are_counted(run: SmallRun) -> None:
    """80 captions give 60 sentences of multi and 63 of single, each drawn up to three times."""
    changes: dict[str, Any] = {"estimate__captions": 80, "estimate__unusable_share": 0.25, "images__spare": 0.05}
    changes |= {"arms": ["multi", "single"], "images__candidates": 3} | SCORED
    counts = run.count(**changes)
    assert (counts.arms, counts.drawn) == ({"multi": 60, "single": 63}, {"multi": 180, "single": 189})
    assert counts.pictures == counts.checks == counts.scored == Amount(369, 0, GUESS)
    assert run.count(**changes, images__max_images=100).drawn == {"multi": 100, "single": 100}
    assert run.count(**changes, images__max_images=10).drawn == {"multi": 60, "single": 63}  # first ones have no limit
    assert run.count(**changes, images__redraw_below=0.3).drawn == counts.drawn
    assert run.count(arms=["multi"], estimate__captions=80).scored == Amount(0, source="config")
    assert run.count(arms=["multi"], alignment={"score": "random"}).scored.total == 0


def test_rematch_compares_each_caption_with_each_picture(run: SmallRun) -> None:
    changes: dict[str, Any] = {"estimate__captions": 80, "estimate__unusable_share": 0.25, "images__spare": 0.05}
    changes |= {"arms": ["multi", "single"], "images__candidates": 2, "estimate__captions_per_summary": 5.0}
    counts = run.count(**changes, alignment={**SCORED["alignment"], "rematch": 10})
    assert counts.vectors == Amount(120 + 120 * 5 + 126 + 126, 0, GUESS)
    assert counts.comparisons == Amount(60 * 5 * 120 + 63 * 126, 0, GUESS)


def test_tables_tell_how_many_candidates_are_drawn(run: SmallRun) -> None:
    """Of three sentences two fell short of the score once, and it is still open how many of these fall short again."""
    run.captions()
    run.groups()
    run.summaries(0, 1, 2)
    run.pictures("multi", 3)
    again: dict[str, Any] = {"arms": ["multi"], "images__candidates": 3, "images__redraw_below": 0.3} | SCORED
    assert run.count(**again).pictures == Amount(9, 3, GUESS)
    scores = [{"image_id": f"multi-{i}", "caption_id": caption} for i in range(3) for caption in (None, 0, 1)]
    run.write("alignment/multi", tables.ALIGNMENT, scores)
    assert run.count(**again).scored == Amount(9, 3, GUESS)
    second = [{"image_id": f"multi-{i}_1"} for i in range(2)]
    run.write("images/multi/candidate-1/sentences.parquet", tables.SENTENCES, second)
    run.write("images/multi/candidate-1", tables.IMAGES, second)
    assert run.count(**again).pictures == Amount(3 + 2 + 2, 5, GUESS)
    run.write("images/multi/candidate-2/sentences.parquet", tables.SENTENCES, [{"image_id": "multi-0_2"}])
    counts = run.count(**again)
    assert counts.pictures == Amount(3 + 2 + 1, 5, TABLES)
    assert (counts.arms, counts.drawn, counts.checks.done) == ({"multi": 3}, {"multi": 6}, 3)


def test_the_real_arm_alone_sends_and_draws_nothing(run: SmallRun) -> None:
    pictures = run.folder.parents[1] / "photographs"
    pictures.mkdir()
    (pictures / "1.jpg").write_bytes(b"12345")
    real = {"annotations": "nowhere.json", "images": str(pictures)}
    counts = run.count(arms=["real"], pictures__real=real)
    assert counts.groups.total == counts.requests.total == counts.pictures.total == 0
    assert (counts.arms, counts.bytes_to_copy) == ({}, 5)
    tables.write(run.folder / "pictures" / "real" / "images.parquet", tables.IMAGES, [])
    assert run.count(arms=["real"], pictures__real=real).bytes_to_copy == 0


def test_trainings_with_a_history_are_done(run: SmallRun) -> None:
    tables.write(run.folder / "captioner" / "multi" / "seed-1" / "history.parquet", tables.HISTORY, [])
    counts = run.count(arms=["multi", "real"], captioner__seeds=[0, 1], pictures__real=DEFAULT["pictures"]["real"])
    assert counts.trainings == Amount(4, 1, "config")


def test_clip_score_encodes_test_pictures_once_and_each_prediction(run: SmallRun) -> None:
    assert run.count(arms=["multi"]).judged.total == 0
    judging = {"arms": ["multi"], "captioner__seeds": [0, 1], "evaluation__clip_model": "resources/picturebook/clip"}
    counts = run.count(**judging, estimate__test_pictures=7)
    assert (counts.judged, counts.judgements) == (Amount(7, 0), Amount(14, 0))
    tables.write(run.folder / "evaluation/clip_vectors/test.parquet", tables.CLIP_VECTORS, [])
    tables.write(run.folder / "evaluation/multi/seed-1/test/scores.parquet", tables.SCORES, [])
    counts = run.count(**judging, estimate__test_pictures=7)
    assert (counts.judged, counts.judgements) == (Amount(7, 7), Amount(14, 7))


# --- Costs ------------------------------------------------------------------------------------------------------------

COUNTS = Counts(
    captions=Amount(72_000, 36_000, TABLES),
    groups=Amount(1_000, 400, TABLES),
    requests=Amount(1_000, 400, TABLES),
    prompts=Amount(4_000_000, 1_000_000, TABLES),
    pictures=Amount(7_200, 3_600),
    arms={"multi": 7_200},
    drawn={"multi": 7_200},
    scored=Amount(0),
    vectors=Amount(0),
    comparisons=Amount(0),
    checks=Amount(7_200, 0),
    trainings=Amount(4, 1, "config"),
    judged=Amount(0),
    judgements=Amount(0),
    bytes_to_copy=7,
    bytes_on_disk=1_000,
)
RATES: dict[str, Any] = {
    "estimate__tokens_per_character": 0.25,
    "estimate__answer_tokens": 100.0,
    "estimate__repair_share": 0.5,
    "estimate__requests_at_once": 20,
    "estimate__seconds_per_request": 36.0,
    "estimate__local_requests_per_second": 0.5,
    "estimate__embeddings_per_second": 10.0,
    "estimate__images_per_second": 1.0,
    "estimate__checks_per_second": 2.0,
    "estimate__training_steps_per_second": 0.5,
    "captioner__steps": 900,
    "summaries__openai__prompt_usd_per_million": 2.0,
    "summaries__openai__completion_usd_per_million": 10.0,
}


def _costs(run: SmallRun, provider: str, **changes: Any) -> Costs:
    return costs(COUNTS, run.config(**(RATES | {"summaries__provider": provider} | changes)))


def test_tokens_and_money_are_those_of_the_prices(run: SmallRun) -> None:
    taken = _costs(run, "openai")
    assert taken.repairs.total == 0
    assert taken.prompt_tokens == Amount(1_000_000, 250_000, "tables × rates")
    assert taken.answer_tokens == Amount(100_000, 40_000, "tables × rates")
    assert taken.usd == Amount(2 + 1, 0.5 + 0.4, "tables × rates")


def test_a_repair_shows_prompt_and_answer_again(run: SmallRun) -> None:
    taken = _costs(run, "openai", summaries__repair=True)
    assert taken.repairs == Amount(500, 200, "tables × rates")  # half of the 1,000 requests, of which 400 are done
    assert taken.prompt_tokens == Amount(1_500_000 + 500 * 100, 375_000 + 200 * 100, "tables × rates")
    assert taken.answer_tokens == Amount(1_500 * 100, 600 * 100, "tables × rates")


def test_finished_work_does_not_change_the_total_cost(run: SmallRun) -> None:
    config = run.config(**RATES, summaries__repair=True)
    finished = replace(COUNTS, requests=Amount(1_000, 1_000, TABLES), prompts=Amount(4_000_000, 4_000_000, TABLES))
    begun, ended = costs(COUNTS, config), costs(finished, config)
    assert begun.usd.total == ended.usd.total == ended.usd.done > begun.usd.done > 0


@pytest.mark.parametrize(("provider", "usd"), [("openai-batch", 1.5), ("transformers", 0.0)])
def test_a_batch_costs_half_and_a_local_model_nothing(run: SmallRun, provider: str, usd: float) -> None:
    assert _costs(run, provider).usd.total == pytest.approx(usd)


def test_the_merger_costs_nothing(run: SmallRun) -> None:
    none = replace(COUNTS, requests=Amount(0), prompts=Amount(0))
    taken = costs(none, run.config(**(RATES | {"summaries__provider": "merge", "summaries__repair": True})))
    assert {taken.usd.total, taken.prompt_tokens.total, taken.answer_tokens.total, taken.request_hours.total} == {0.0}


def test_hours_of_requests_are_those_of_all_jobs_together(run: SmallRun) -> None:
    one_at_a_time = {"shards": 1, "summaries__openai__concurrency": 1}
    assert _costs(run, "openai").request_hours.total == pytest.approx(1_000 * 36 / 20 / 3600)
    assert _costs(run, "openai", **one_at_a_time).request_hours.total == pytest.approx(1_000 * 36 / 3600)
    assert _costs(run, "transformers").request_hours.total == pytest.approx(1_000 / 0.5 / 3600)


def test_batches_take_a_day_for_all_that_may_be_enqueued(run: SmallRun) -> None:
    assert _costs(run, "openai-batch").request_hours.left == 24
    assert _costs(run, "openai-batch", summaries__batch__enqueued_tokens=300_000).request_hours.left == 3 * 24
    done = replace(COUNTS, requests=Amount(1_000, 1_000), prompts=Amount(4_000_000, 4_000_000))
    assert costs(done, run.config(**(RATES | {"summaries__provider": "openai-batch"}))).request_hours.left == 0


def test_gpu_hours_are_of_each_stage(run: SmallRun) -> None:
    taken = _costs(run, "openai").gpu
    hours = {stage: (amount.total, amount.done) for stage, amount in taken.items()}
    assert {stage: pytest.approx(pair) for stage, pair in hours.items()} == {
        "embeddings": (2, 1),
        "images": (2, 1),
        "safety": (1, 0),
        "captioner": (2, 0.5),
    }
    assert _costs(run, "transformers").gpu["summaries"].total == pytest.approx(1_000 / 0.5 / 3600)


def test_scoring_takes_gpu_hours_and_rematch_hours_of_a_core(run: SmallRun) -> None:
    counts = replace(COUNTS, scored=Amount(7_200, 1_800, TABLES), comparisons=Amount(7_200_000, 0, TABLES))
    rates = RATES | {"estimate__alignments_per_second": 2.0, "estimate__comparisons_per_second": 1000.0}
    taken = costs(counts, run.config(**rates))
    assert (taken.gpu["alignment"].total, taken.gpu["alignment"].done) == pytest.approx((1, 0.25))
    assert taken.match_hours.total == pytest.approx(2)


def test_clip_score_takes_gpu_hours(run: SmallRun) -> None:
    counts = replace(COUNTS, judged=Amount(3_600, 3_600), judgements=Amount(36_000, 0))
    taken = costs(counts, run.config(**RATES, estimate__alignments_per_second=2.0))
    assert (taken.gpu["evaluation"].total, taken.gpu["evaluation"].done) == pytest.approx((0.5 + 1, 0.5))
    assert "evaluation" not in costs(COUNTS, run.config(**RATES)).gpu


def test_a_training_of_epochs_takes_longer_with_more_pairs(run: SmallRun) -> None:
    epochs = {"captioner__steps": None, "captioner__epochs": 2, "captioner__batch_size": 64}
    config = run.config(**(RATES | epochs | {"arms": ["multi", "multi_head"], "estimate__captions_per_summary": 5.0}))
    steps = (2 * 7_200 * 5 / 64 + 2 * 7_200 / 64) / 2
    assert costs(COUNTS, config).gpu["captioner"].total == pytest.approx(4 * steps / 0.5 / 3600)


def test_a_training_decodes_the_picture_of_each_pair(run: SmallRun) -> None:
    taken = _costs(run, "openai", captioner__batch_size=10, estimate__decodes_per_second=50.0)
    assert taken.decoded == Amount(4 * 900 * 10, 900 * 10, "config × rates")
    assert taken.decode_hours.total == pytest.approx(4 * 900 * 10 / 50 / 3600)


def test_disk_counts_present_and_future_bytes(run: SmallRun) -> None:
    sizes: dict[str, Any] = {"caption": 1.0, "summary": 10.0, "image": 100.0, "training": 1000.0}
    taken = _costs(run, "openai", **{f"estimate__bytes_per_{name}": size for name, size in sizes.items()})
    assert taken.disk.done == 1_000
    assert taken.disk.left == 36_000 + 600 * 10 + 3_600 * 100 + 3 * 1_000 + 7
    rates = {f"estimate__bytes_per_{name}": size for name, size in sizes.items()} | {"estimate__bytes_per_vector": 5.0}
    vectors = replace(COUNTS, vectors=Amount(20, 4))
    assert costs(vectors, run.config(**(RATES | rates))).disk.left == taken.disk.left + 16 * 5


def test_coco_needs_its_known_number_of_tokens(run: SmallRun) -> None:
    """566,435 groups of 30 captions: 312 M prompt tokens and 45 M answer tokens, before any repair."""
    config = run.config(estimate__captions=566_435, groups__k=30)
    prompt = load_prompt(ROOT / "config" / "prompts" / "paper.txt")
    taken = costs(count(config, prompt, configured_run(config, run.folder)), config)
    assert taken.prompt_tokens.total == pytest.approx(312e6, rel=0.05)
    assert taken.answer_tokens.total == pytest.approx(45e6, rel=0.01)
    assert taken.usd.total == pytest.approx(312 * 0.15 + 45 * 0.60, rel=0.05)


# --- The page ---------------------------------------------------------------------------------------------------------


def _cells(page: str) -> dict[str, list[str]]:
    """The table's rows by their first cell."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in rows}


def test_the_page_has_done_and_left(run: SmallRun) -> None:
    run.captions()
    run.groups()
    run.replies(1)
    page = write_estimate(run.config(arms=["multi"]), run.path, run.folder)
    assert (run.folder / "estimate.md").read_text(encoding="utf-8") == page
    assert page.startswith("# Estimate of the run small\n")
    cells = _cells(page)
    assert cells["requests"] == ["tables", "3", "1", "2", "1"]
    assert cells["prompt tokens"][-1] == "30"
    assert cells["answer tokens"] == ["tables × rates", "240", "80", "160", "9"]
    assert cells["USD"][-1] == "0.25"
    assert cells["pictures to draw"] == ["guess", "3", "0", "3", ""]
    assert cells["GPU hours"][0] == "sum"
    assert "Provider: openai, gpt-4o-mini, at 0.15 and 0.6 USD a million prompt and answer tokens." in page


def test_the_page_has_candidates_and_scores(run: SmallRun) -> None:
    run.captions()
    run.groups()
    changes: dict[str, Any] = {"arms": ["multi"], "images__candidates": 4, "images__redraw_below": 0.25}
    changes |= {"images__max_images": 11, "alignment": {**SCORED["alignment"], "rematch": 3}}
    page = write_estimate(run.config(**changes), run.path, run.folder)
    cells = _cells(page)
    assert cells["pictures to draw"] == cells["pictures to score"] == ["guess", "11", "0", "11", ""]
    assert cells["comparisons of captions and pictures"][1] == "231"  # 3 sentences of 7 captions, 11 pictures
    assert "- Pictures: 11 of multi.\n  At most images.candidates=4 of each sentence, and" in page
    assert "images.max_images=11 of an arm: an upper bound." in page
    without = write_estimate(run.config(arms=["multi"]), run.path, run.folder)
    assert not any(text in without for text in ("to score", "images.candidates", "comparisons"))


@pytest.mark.parametrize(
    ("provider", "text"),
    [
        ("merge", "Provider: merge. It sends no request and costs nothing."),
        ("openai-batch", "Provider: openai-batch, gpt-4o-mini, at 0.075 and 0.3 USD"),
        ("transformers", "Provider: transformers. It costs GPU hours alone."),
    ],
)
def test_the_page_names_the_provider_and_its_prices(run: SmallRun, provider: str, text: str) -> None:
    assert text in write_estimate(run.config(summaries__provider=provider), run.path, run.folder)


@pytest.mark.parametrize(("budget", "warned"), [(None, False), (4.0, False), (3.0, True)])
def test_the_page_warns_of_a_budget_that_is_too_small(run: SmallRun, budget: float | None, warned: bool) -> None:
    """2.1 USD are left to pay, 1.5 are spent."""
    config = run.config(**RATES, summaries__budget_usd=budget)
    page = estimate_page(config, COUNTS, costs(COUNTS, config), Spending(3, 2, 10, 5, 1.5))
    assert ("more than summaries.budget_usd=3" in page) == warned


def test_a_servers_pictures_cost_money_and_no_gpu(run: SmallRun) -> None:
    server = {"usd_per_image": 0.04, "concurrency": 4}
    changes: dict[str, Any] = {f"images__openai__{key}": value for key, value in server.items()}
    changes |= {"images__provider": "openai", "images__budget_usd": 200.0, "estimate__seconds_per_image_request": 10.0}
    config = run.config(**(RATES | changes | {"shards": 2}))
    taken = costs(COUNTS, config)
    assert taken.image_usd == Amount(288.0, 144.0, "guess × rates") and "images" not in taken.gpu
    assert taken.image_hours.total == pytest.approx(7_200 * 10 / 8 / 3600)
    page = estimate_page(config, COUNTS, taken, Spending(), Spending(3_700, 0, 0, 0, 148.0))
    assert _cells(page)["USD for pictures"] == ["guess × rates", "288.00", "144.00", "144.00", "148.00"]
    assert "292.00 USD together, is more than images.budget_usd=200" in page and "at 0.04 USD each" in page
    local = costs(COUNTS, run.config(**RATES))
    assert local.image_usd.total == local.image_hours.total == 0


def test_what_a_run_spent_on_pictures_is_in_its_events(run: SmallRun) -> None:
    with ResponseCache(run.drawn).writer(run="small") as segment:
        segment.append([segment.record("ab" * 32, {"image": 100}, 0.5), segment.record("cd" * 32, {"failed": "x"}, 0)])
    page = write_estimate(run.config(images__provider="openai"), run.path, run.folder)
    assert _cells(page)["USD for pictures"][-1] == "0.50"
