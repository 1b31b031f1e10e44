"""Preview: what it shows and reckons, what it pays, and that the run stays as it is."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_behaviours import Behaviour, Kind
from chat_server import OK, ChatServer
from image_server import ImageServer
from plain_server import PlainServer
from report_world import NASTY, ROOT, SHOWN, small_config

from icsd.cli import main
from icsd.config import Config, SummariesConfig
from icsd.core import tables
from icsd.core.errors import ConfigError
from icsd.core.ids import seeded_order
from icsd.llm import throttle
from icsd.llm.budget import Budget, OutOfBudget, OverBound
from icsd.llm.cache import Spending
from icsd.stages.summaries import summarize_groups
from icsd.stages.summaries.quality import Quality, Summary
from icsd.views.preview import preview
from icsd.views.preview.content import PreviewContent
from icsd.views.preview.page import preview_page
from icsd.views.preview.reckoning import mean_interval, wilson
from icsd.views.preview.text import as_lines, verdict
from icsd.views.preview.trying import TriedPrompt, left_of
from icsd.views.run import Run, configured_run

KEY = "ICSD_TEST_KEY"
PROMPT = ROOT / "config/prompts/paper.txt"
GROUPS = 6


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv(KEY, "sk-secret")
    monkeypatch.setattr(throttle, "FIRST_BACKOFF_S", 0.01)
    with ChatServer() as running:
        yield running


def _config(folder: Path, url: str, **changes: Any) -> Config:
    openai = {"base_url": url, "api_key_env": KEY, "model": "m", "retries": 1}
    prices = {"prompt_usd_per_million": 10.0, "completion_usd_per_million": 100.0}
    own = {"provider": "openai", "store": str(folder / "replies"), "openai": openai | prices} | changes
    return small_config(summaries=own)


def _run(config: Config, folder: Path) -> Run:
    """A run with six groups of three captions, one of them not harmless."""
    results = folder / "results" / config.run
    texts = [NASTY, *(f"a dog number {number} in the park" for number in range(1, GROUPS))]
    captions = [
        {"caption_id": number, "image_id": number, "caption": text, "split": "train"}
        for number, text in enumerate(texts)
    ]
    groups = [
        {
            "group_id": number, "similarities": [1.0, 0.9, 0.8],
            "caption_ids": [(number + step) % GROUPS for step in range(3)],
        }
        for number in range(GROUPS)
    ]  # fmt: skip
    tables.write(results / "captions/all.parquet", tables.CAPTIONS, captions)
    tables.write(results / "groups/all.parquet", tables.GROUPS, groups)
    return configured_run(config, results)


def _files(run: Run) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}


def _previewed(
    folder: Path,
    server: ChatServer | PlainServer,
    prompts: tuple[str, ...] = ("paper",),
    groups: int = GROUPS,
    **changes: Any,
) -> tuple[PreviewContent, Run]:
    config = _config(folder, server.url, **changes)
    run = _run(config, folder)
    before = _files(run)
    content = preview(config, run, prompts, groups, 0, 0)
    assert _files(run) == before
    return content, run


def test_the_run_is_not_changed_and_pays_for_no_reply_again(tmp_path: Path, server: ChatServer) -> None:
    content, run = _previewed(tmp_path, server, groups=4)
    ids = [each.group.group_id for each in content.groups]
    assert ids == sorted(range(GROUPS), key=lambda number: seeded_order(number, 0))[:4]
    assert len(server.seen) == 4
    summarize_groups(
        run.groups.paths[0], run.captions.paths[0], PROMPT, run.folder / "summaries/all.parquet",
        _config(tmp_path, server.url).summaries, run.folder,
    )  # fmt: skip
    assert len(server.seen) == GROUPS


def test_the_whole_run_is_reckoned_from_the_sample(tmp_path: Path, server: ChatServer) -> None:
    content, _ = _previewed(tmp_path, server, groups=4)
    [tried], [lines] = content.tried, content.reckoned
    by_name = {line.name: line for line in lines}
    prompt, answer = (
        [getattr(summary, f"{name}_tokens") for summary in tried.summaries] for name in ("prompt", "completion")
    )
    usd = [(10 * p + 100 * a) / 1e6 for p, a in zip(prompt, answer, strict=True)]
    assert tried.usd == pytest.approx(usd)
    assert tried.sent.usd == pytest.approx(sum(usd))
    assert by_name["prompt tokens"].whole == f"{GROUPS / 4 * sum(prompt):,.0f}"
    assert by_name["USD"].whole == f"{GROUPS / 4 * sum(usd):,.2f}"
    assert by_name["usable groups"].cells[1:4] == ["4 of 4", "100%", "6 of 6"]
    again, _ = _previewed(tmp_path, server, groups=4)
    assert again.tried[0].sent.requests == 0
    assert "by the rates of estimate" in {line.name: line for line in again.reckoned[0]}["hours"].interval


def test_a_batch_run_is_previewed_at_once_and_reckoned_at_half(tmp_path: Path, server: ChatServer) -> None:
    content, _ = _previewed(tmp_path, server, provider="openai-batch")
    [tried] = content.tried
    assert len(server.seen) == GROUPS and not server.calls
    assert sum(usd or 0.0 for usd in tried.usd) == pytest.approx(tried.sent.usd / 2)
    assert any("Batch API" in note for note in content.notes)


def test_what_was_wrong_is_shown_with_what_it_cost(tmp_path: Path, server: ChatServer) -> None:
    server.script = lambda number, attempt, body: OK if number == 0 else Behaviour(Kind.TRUNCATED)
    content, _ = _previewed(tmp_path, server)
    [tried] = content.tried
    assert tried.usable == 1
    assert len(server.seen) == GROUPS + GROUPS - 1  # each unusable answer is repaired once
    text = as_lines(content, 100)
    assert text.count("dropped: not-json") == GROUPS - 1
    assert "With so many a run stops: summaries.max_drop_share=0.5" in text.replace("\n", " ")
    assert preview_page(content).count("dropped: not-json") == GROUPS - 1


def test_groups_without_a_reply_are_left_out_of_the_money(tmp_path: Path, server: ChatServer) -> None:
    server.script = lambda number, attempt, body: OK if number == 0 else Behaviour(Kind.STATUS, 500)
    content, _ = _previewed(tmp_path, server)
    assert sum(usd is None for usd in content.tried[0].usd) == GROUPS - 1
    assert any("5 groups have no token counts" in note for note in content.notes)


def test_a_preview_spends_what_the_run_and_earlier_previews_have_left(tmp_path: Path, server: ChatServer) -> None:
    first, run = _previewed(tmp_path, server, groups=1)
    spent = first.tried[0].sent.usd
    Budget(run.summaries_budget, 1.0).reserve(1.0)
    with pytest.raises(OutOfBudget, match=r"summaries.budget_usd=1: a preview may spend what .* have left"):
        _previewed(tmp_path, server, budget_usd=1.0)
    with pytest.raises(OutOfBudget):
        _previewed(tmp_path, server, budget_usd=1.0 + spent)
    assert len(server.seen) == 1
    _previewed(tmp_path, server, budget_usd=3.0)
    assert len(server.seen) == GROUPS


def test_what_earlier_previews_cost_beyond_their_bound_is_not_left(tmp_path: Path, server: ChatServer) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 90_000}
    body = {"choices": [{"message": {"content": "A dog."}, "finish_reason": "stop"}], "usage": usage}
    config = _config(tmp_path, server.url)
    run, store = _run(config, tmp_path), config.summaries.store
    assert left_of(10.0, run.summaries_budget, store, run) == 10.0
    over = pytest.raises(OverBound, match=r"^summaries.budget_usd=9: a preview may spend .* cannot be held")
    with PlainServer(lambda request: (200, json.dumps(body), {})) as hidden, over:
        _previewed(tmp_path, hidden, groups=1, budget_usd=9.0)
    assert left_of(10.0, run.summaries_budget, store, run) == pytest.approx(10.0 - 9.0001)


class _Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_two_prompts_stand_beside_each_other_and_text_stays_text(tmp_path: Path, server: ChatServer) -> None:
    content, _ = _previewed(tmp_path, server, ("paper", "strict"))
    assert len(server.seen) == 2 * GROUPS
    page = preview_page(content)
    read = _Tags(page)
    assert not {"script", "iframe", "link", "img"} & set(read.tags)
    assert not [name for name, value in read.attributes if name.startswith("on") or name in ("src", "href")]
    assert read.text.count(SHOWN) == 3  # its captions; the server answers in its own words
    assert read.tags.count("h3") == 2 * GROUPS
    chosen = [each.summaries[0].selected for each in content.tried]
    for index in range(3):
        letters = "".join(letter for letter, selected in zip("AB", chosen, strict=True) if index in selected)
        assert f'<span class="number">{index + 1}</span><span class="mark">{letters}</span>' in page
    lines = as_lines(content, 100).splitlines()
    assert max(map(len, lines)) < 140 and "\u202e" not in "".join(lines) and "[strict]" in "".join(lines)


def test_sentences_are_drawn_as_the_run_draws_them(tmp_path: Path, server: ChatServer) -> None:
    with ImageServer() as images:
        shared = {"base_url": images.url, "model": "m", "usd_per_image": 0.04}
        config = _config(tmp_path, server.url)
        openai = config.images.openai.model_copy(update=shared)
        update = {"provider": "openai", "openai": openai, "store": str(tmp_path / "drawn"), "size": 16}
        config = config.model_copy(update={"images": config.images.model_copy(update=update)})
        run = _run(config, tmp_path)
        before = _files(run)
        content = preview(config, run, ["paper"], GROUPS, 0, 2)
        assert len(images.seen) == 2 and _files(run) == before
        preview(config, run, ["paper"], GROUPS, 0, 2)
        assert len(images.seen) == 2
    assert preview_page(content).count('src="data:image/png;base64,') == 2
    lines = {line.name: line for line in content.reckoned[0]}
    assert lines["USD for pictures"].sample == "0.0800"
    assert lines["pictures"].sample == "2, 2 new"


def test_without_groups_the_message_says_what_to_type(tmp_path: Path, server: ChatServer) -> None:
    config = _config(tmp_path, server.url)
    with pytest.raises(ConfigError, match=r"there are no groups yet.*--until form_groups"):
        preview(config, configured_run(config, tmp_path / "nothing"), ["paper"], 5, 0, 0)
    with pytest.raises(ConfigError, match="name each prompt once"):
        preview(config, _run(config, tmp_path), ["paper", "paper"], 5, 0, 0)


def test_the_command_writes_its_page_outside_the_run(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("config", "resources"):
        (tmp_path / name).symlink_to(ROOT / name)
    run = _run(small_config(summaries=SummariesConfig().model_dump()), tmp_path)
    before = _files(run)
    assert main(["preview", "--groups", "2", "--config", f"run={run.name}"]) == 0
    assert _files(run) == before
    assert re.search("The same in a browser: results/previews/small.html", capsys.readouterr().out)
    assert (tmp_path / "results/previews/small.html").read_text().count("<section") == 2


def test_intervals_are_those_known() -> None:
    assert wilson(20, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)
    assert wilson(5, 20) == pytest.approx((0.1119, 0.4687), abs=1e-4)
    assert mean_interval(np.array([2.0, 2.0, 2.0])) == (2.0, 2.0)
    values = np.random.default_rng(1).normal(10, 3, 400)
    assert np.mean(values) - np.array(mean_interval(values)) == pytest.approx([0.294, -0.294], abs=0.04)


def test_words_are_counted_in_the_language_of_the_captions() -> None:
    summary = Summary("两只狗在奔跑。", (0,), quality=Quality(3, (), (0,), None))
    assert list(verdict(TriedPrompt("own-language", [summary], [None], Spending(), 0.0, "zh"), 0)) == [
        "5 words, 1 of 1 covered"
    ]
