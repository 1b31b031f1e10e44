"""The report: equal tables give equal figures, missing tables are listed, and texts stay text."""

import json
import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from PIL import Image
from report_world import (
    CAPTIONS,
    NAME,
    NASTY,
    PROMPT,
    ROOT,
    SHARD,
    SHOWN,
    config_json,
    scored_run,
    small_config,
    small_run,
)

from icsd.config import ARMS, load_config
from icsd.core import tables
from icsd.views.report import draw_report
from icsd.views.report.alignment import draw_alignment
from icsd.views.report.costs import duration
from icsd.views.report.scored_pairs import ScoredItems, scored_pairs
from icsd.views.report.style import ARM_STYLES, PARTS, HtmlTable, compact, html_page
from icsd.views.report.training import thinned
from icsd.views.run import configured_run

PLOTS = ["costs", "funnel", "scores", "similarity", "sizes", "training", "words"]
PAGES = ["costs", "examples", "funnel", "scores", "state"]


class _Reader(HTMLParser):
    """The tags of a page, its paragraphs and the cells of its tables."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.paragraphs: list[str] = []
        self._into: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self._into = self.rows[-1]
        if tag == "p":
            self._into = self.paragraphs
        if tag in {"td", "th", "p"}:
            self._into.append("")

    def handle_data(self, data: str) -> None:
        if self._into:
            self._into[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th", "p"}:
            self._into = []


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a finished run."""
    return small_run(tmp_path)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a finished run. Do not write into it."""
    folder = tmp_path_factory.mktemp("finished")
    return _drawn(small_run(folder), folder / "report")


def _drawn(run: Path, folder: Path) -> Path:
    draw_report(small_config(), PROMPT, run, folder, finished=True)
    return folder


def test_every_part_is_there(report: Path) -> None:
    expected = [*(f"{name}.svg" for name in PLOTS), *(f"{name}.html" for name in PAGES), "sheets"]
    assert sorted(path.name for path in report.iterdir()) == sorted(expected)
    assert [path.name for path in (report / "sheets").iterdir()] == [f"multi.{SHARD}.png"]


def test_the_same_tables_give_the_same_bytes(report: Path, run: Path, tmp_path: Path) -> None:
    again = _drawn(run, tmp_path / "report")
    for path in report.glob("*.*"):
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_plots_have_a_title_and_a_description_and_no_date(report: Path) -> None:
    for name in PLOTS:
        root = ET.parse(report / f"{name}.svg").getroot()  # noqa: S314 - written a moment ago
        title, description, *_ = root
        assert (title.tag[-5:], description.tag[-4:]) == ("title", "desc")
        assert title.text and description.text
        assert root.attrib["role"] == "img"
        assert "dc:date" not in (report / f"{name}.svg").read_text()
    assert "multi, seed 0, test, CIDEr: 50.0 (40.0 to 60.0)" in (report / "scores.svg").read_text()


def test_no_two_arms_look_alike_in_print() -> None:
    styles = [ARM_STYLES[arm] for arm in ARMS]
    for values in (
        [style.color for style in styles],
        [style.marker for style in styles],
        [style.line for style in styles],
    ):
        assert len(set(map(str, values))) == len(ARMS)
    assert len({hatch for _, hatch in PARTS}) == len({color for color, _ in PARTS}) == len(PARTS)


def test_the_funnel_is_counted(report: Path) -> None:
    rows = _Reader(report / "funnel.html").rows
    assert rows[1:9] == [
        ["groups: captions as anchors of groups", "", "4", "1", "3"],
        ["", "the same captions as another's group", "", "1", ""],
        ["summaries: groups with a summary", "", "3", "1", "2"],
        ["", "not supported", "", "1", ""],
        ["images: chosen to be drawn", "", "2", "0", "2"],
        ["safety: pictures that may be used", "", "2", "1", "1"],
        ["", "unsafe", "", "1", ""],
        ["step", "reason", "taken in", "dropped", "kept"],
    ]


def test_the_guard_is_counted_and_begins_the_funnel(run: Path, tmp_path: Path) -> None:
    """One of four captions is dropped, and the others are the anchors of three groups."""
    near = f'nearly a reference: test, caption 7, "{NASTY}", cosine 0.981'
    ledger = [
        {"stage": stage, "item_id": str(number), "kept": why is None or stage == "references", "reason": why}
        for stage, reasons in {"references": {2: near}, "duplicates": {3: "same text: caption 1"}}.items()
        for number in range(1, 5)
        for why in [reasons.get(number)]
    ]
    tables.write(run / "captions/guard.parquet", tables.LEDGER, ledger)
    unusable = [{"stage": "captions", "item_id": f"x, line {n}", "kept": False, "reason": "no caption"} for n in (3, 4)]
    tables.write(run / "captions/dropped.parquet", tables.LEDGER, unusable)
    config = small_config(guard={"duplicates": "drop", "references": "report"})
    draw_report(config, PROMPT, run, tmp_path / "report", finished=True)
    page = _Reader(tmp_path / "report/funnel.html")
    assert page.rows[1:7] == [
        ["captions: records with a caption", "", "6", "2", "4"],
        ["", "no caption", "", "2", ""],
        ["references: captions that are no reference", "", "4", "0", "4"],
        ["duplicates: captions that repeat none", "", "4", "1", "3"],
        ["", "same text", "", "1", ""],
        ["groups: captions as anchors of groups", "", "3", "0", "3"],
    ]
    assert ["pictures: photographs", "", "1", "0", "1"] in page.rows  # real has no guard
    assert page.rows[-6:] == [
        ["step", "found", "they are", "captions"],
        ["references", "nearly a reference", "reported", "1"],
        ["duplicates", "same text", "dropped", "1"],
        ["caption", "text", "it is"],
        ["2", CAPTIONS[1], near.replace(NASTY, SHOWN)],
        ["3", CAPTIONS[2], "same text: caption 1"],
    ]
    assert "script" not in page.tags
    state = _Reader(tmp_path / "report/state.html")
    assert ["captions", "ledger of captions", "1", "1", ""] in state.rows


def test_scores_and_costs_are_those_of_the_tables(report: Path) -> None:
    assert ["real", "1", "1", "0", "60.0 (50.0 to 70.0)", "60.0 (50.0 to 70.0)"] in _Reader(report / "scores.html").rows
    rows = _Reader(report / "costs.html").rows
    assert "alignment" not in [row[0] for row in rows]
    assert ["images", "1", "2.0 h", "0.0 s", "1,024", "2.0 s"] in rows  # of two pictures, at one a second
    assert ["prompt tokens of the summaries", "300", "–"] in rows


def test_texts_are_counted(report: Path) -> None:
    assert "Captions: 4 captions, mean 3.5, median 3, largest 5" in (report / "words.svg").read_text()
    sizes = (report / "sizes.svg").read_text()
    assert "Captions of a group: 3 groups, mean 2.3, median 2, largest 3" in sizes
    assert "Captions selected of it: 2 groups, mean 2.0" in sizes
    assert "Groups that a caption is in: 4 captions, mean 1.8" in sizes
    assert "Median from 0.70 at rank 2 to 0.80 at rank 3" in (report / "similarity.svg").read_text()


SCORED = {
    "images": {"model": "m", "candidates": 2},
    "alignment": {"model": "a/model", "min_score": 0.3, "min_sentence_score": 0.4, "rematch": 1},
}


def _drawn_scored(run: Path, folder: Path, **changes: object) -> Path:
    config = small_config(**SCORED, **changes)
    draw_report(config, PROMPT, run, folder, finished=True)
    return folder


def test_scores_and_what_they_drop_are_counted(tmp_path: Path) -> None:
    report = _drawn_scored(scored_run(tmp_path), tmp_path / "report")
    page = _Reader(report / "alignment.html")
    assert page.paragraphs[0].startswith("A score is the cosine of the picture's and the caption's vectors by a/model.")
    assert page.rows[1:5] == [
        ["multi", "candidates", "another candidate is used", "pictures", "2", "1"],
        ["multi", "alignment", "none", "pictures", "1", "0"],
        ["multi", "pairs", "below alignment.min_score=0.3", "pairs", "2", "1"],
        ["multi", "rematch", "none of its 1 nearest images shows it", "captions", "1", "1"],
    ]
    assert page.rows[6:8] == [["multi", "0", "2", "0"], ["multi", "1", "1", "1"]]
    assert page.rows[9:11] == [
        ["multi-1_1", CAPTIONS[1], "below alignment.min_score=0.3: its score is 0.200", "0.200"],
        ["multi-1_1", CAPTIONS[0], "just above the line, kept", "0.500"],
    ]
    assert page.rows[11:] == [
        ["picture", "sentence", "it is", "score"],
        ["multi-1_1", SHOWN, "just above the line, kept", "0.450"],
    ]
    plot = (report / "alignment.svg").read_text()
    assert "multi: 2 pairs, 1 dropped, median 0.350; multi: sentences of 1 pictures, 0 dropped, median 0.450" in plot
    with Image.open(report / "alignment_pairs.png") as sheet:
        assert (255, 165, 0) in {sheet.getpixel((20, 60)), sheet.getpixel((20, 300))}  # the picture is orange
    assert ["alignment", "scores of those of multi", "2", "2", ""] in _Reader(report / "state.html").rows
    stages = [row[0] for row in _Reader(report / "costs.html").rows]
    assert stages.index("alignment") == stages.index("images") + 1


def test_the_funnel_says_what_its_steps_count(tmp_path: Path) -> None:
    page = _Reader(_drawn_scored(scored_run(tmp_path), tmp_path / "report") / "funnel.html")
    assert "pairs counts the pairs of the pictures that are left" in page.paragraphs[1]
    shown = [row for row in page.rows if row[0].partition(":")[0] in ("candidates", "alignment", "pairs", "rematch")]
    assert shown == [
        ["candidates: pictures, one a sentence", "", "2", "1", "1"],
        ["alignment: pictures that fit the text", "", "1", "0", "1"],
        ["pairs: pairs of picture and caption", "", "2", "1", "1"],
        ["rematch: captions with a new picture", "", "1", "1", "0"],
    ]
    assert "pairs 1 of 2 pairs, rematch 0 of 1 captions" in (tmp_path / "report/funnel.svg").read_text()


def test_scores_without_a_dataset_are_shown(tmp_path: Path) -> None:
    run = scored_run(tmp_path)
    shutil.rmtree(run / "dataset/multi")
    shutil.rmtree(run / "images/multi/candidate-1")
    (run / f"alignment/multi/candidate-1/{SHARD}.parquet").unlink()
    report = _drawn_scored(run, tmp_path / "report")
    assert "multi: 4 pairs, not selected yet, median 0.175" in (report / "alignment.svg").read_text()
    page = _Reader(report / "alignment.html")
    assert page.paragraphs[1] == "missing: 1 of 2 files of scores of those of multi"
    assert ["multi", "1", "0", "–"] in page.rows


def test_a_run_that_has_no_scores_yet_says_so(tmp_path: Path) -> None:
    report = _drawn_scored(tmp_path / NAME, tmp_path / "report")
    for name in ("alignment.svg", "alignment.html"):
        assert "No picture has a score yet" in (report / name).read_text()
    assert (report / "alignment_pairs.png").is_file()


@pytest.mark.parametrize(
    ("settings", "line", "limits"),
    [
        ({}, None, [-np.inf, -np.inf]),
        ({"min_score": 0.1}, 0.1, [0.1, 0.1]),
        ({"max_below_best": 0.2}, None, [0.3, 0.3]),
        ({"min_score": 0.4, "max_below_best": 0.2}, 0.4, [0.4, 0.4]),
    ],
)
def test_the_line_is_the_lowest_score_that_a_pair_may_have(
    tmp_path: Path, settings: dict[str, float], line: float | None, limits: list[float]
) -> None:
    config = small_config(images=SCORED["images"], alignment={"model": "a/model"} | settings)
    pairs = scored_pairs(configured_run(config, scored_run(tmp_path)), "multi", config.alignment)
    assert pairs.items.to_pylist() == ["multi-1_1/1", "multi-1_1/2"]
    assert pairs.line == line
    assert pairs.limits == pytest.approx(limits)
    sides = ["just below the line, dropped", "just above the line, kept"] if settings else ["the lowest scores"]
    assert list(pairs.beside_the_line) == sides


def test_captions_of_one_text_stand_once_beside_the_line() -> None:
    items = [f"multi-{image}/{number}" for image, number in [(1, 1), (1, 2), (1, 3), (2, 4), (1, 5)]]
    scores = np.array([0.5, 0.4, 0.4, 0.4, 0.3])
    reasons = [None, "low", "low", "low", "low"]
    pairs = ScoredItems(
        "multi", "pairs", pa.array(items), scores, pa.array(reasons, pa.string()), np.full(5, 0.45), 0.45
    )
    assert pairs.beside_the_line == {"just below the line, dropped": [1, 3, 4], "just above the line, kept": [0]}


def test_the_pictures_beside_the_line_of_sentences_are_shown(tmp_path: Path) -> None:
    results = scored_run(tmp_path)
    ledger = results / "dataset/multi/ledger.parquet"
    reason = "below alignment.min_sentence_score=0.4: its sentence's score is 0.200"
    low = {"stage": "alignment", "item_id": "multi-2", "kept": False, "reason": reason}
    tables.write(ledger, tables.LEDGER, [*tables.read(ledger, tables.LEDGER).to_pylist(), low])
    heights = {}
    for line in (None, 0.4):
        config = small_config(images=SCORED["images"], alignment={"model": "a/model", "min_sentence_score": line})
        files = [tmp_path / name for name in ("plot.svg", "page.html", "sheet.png")]
        draw_alignment(configured_run(config, results), config.alignment, *files)
        with Image.open(files[2]) as sheet:
            heights[line] = sheet.height
    assert heights[0.4] > heights[None]  # a row of pictures on each side
    assert _Reader(files[1]).rows[-2:] == [
        ["multi-2", SHOWN, reason, "0.200"],
        ["multi-1_1", SHOWN, "just above the line, kept", "0.450"],
    ]


def test_markup_and_odd_letters_stay_text(report: Path) -> None:
    """In every page; in plots no text of captions or models is."""
    examples = _Reader(report / "examples.html")
    assert ["1", SHOWN, "a red kite\na kite in the sky"] in examples.rows
    assert ["4", f"not supported: {SHOWN}", ""] in examples.rows
    for page in PAGES:
        assert _Reader(report / f"{page}.html").tags.isdisjoint({"script", "img"})
    for plot in PLOTS:
        assert not re.search(r"<script|hacked", (report / f"{plot}.svg").read_text())


def test_thresholds_of_groups_are_counted_from_the_neighbors(run: Path, tmp_path: Path) -> None:
    neighbors = [
        {"caption_id": each, "neighbor_ids": [each, *others], "similarities": [1.0, *similarities]}
        for each, others, similarities in [
            (1, [2, 3], [0.95, 0.8]), (2, [1, 3], [0.95, 0.6]), (3, [2, 4], [0.6, 0.55]), (4, [3, 1], [0.55, 0.1]),
        ]
    ]  # fmt: skip
    path = run / f"groups/neighbors/{SHARD}.parquet"
    tables.write(path, tables.NEIGHBORS, neighbors)
    rows = _Reader(_drawn(run, tmp_path / "report") / "examples.html").rows
    assert ["as the run is", "3", "3.0", "3"] in rows
    assert ["0.5", "3", "2.7", "1"] in rows  # 3 and 4 share two of three captions with 1 and 3
    assert ["0.7", "2", "2.5", "3"] in rows
    assert ["0.9", "1", "2.0", "3"] in rows
    assert ["whose nearest caption has a similarity of 0.9 or more", "1 of 3 (33%)"] in rows
    assert ["that share more than 50% of their captions with another one", "3 of 3 (100%)"] in rows
    assert ["1", f"1.00 ✓ {CAPTIONS[0]}\n0.90 ✓ {CAPTIONS[1]}\n0.80 {CAPTIONS[2]}"] in rows


def test_an_unfinished_run_lists_what_is_missing(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run / "evaluation/real")
    shutil.rmtree(run / "captioner/multi")
    (run / "dataset/multi/ledger.parquet").unlink()
    summaries = run / f"summaries/{SHARD}.parquet"
    summaries.write_bytes(summaries.read_bytes()[:500])  # cut short is not there
    report = _drawn(run, tmp_path / "report")
    state = _Reader(report / "state.html")
    assert "The run is not finished" in state.paragraphs[0]
    assert ["captioner", "training of multi, seed 0", "0", "1", "captioner/multi/seed-0/history.parquet"] in state.rows
    assert ["evaluation", "scores", "1", "2", "evaluation/real/seed-0/test/scores.parquet"] in state.rows
    assert _Reader(report / "scores.html").paragraphs[1] == "missing: 1 of 2"
    assert [row[0] for row in _Reader(report / "scores.html").rows] == ["arm", "multi"]
    assert _Reader(report / "funnel.html").paragraphs[1] == "missing: multi"
    assert "There are no summaries yet" in (report / "examples.html").read_text()


def test_a_run_that_has_not_begun_has_a_report_too(tmp_path: Path) -> None:
    report = _drawn(tmp_path / NAME, tmp_path / "report")
    assert "No captioner has been scored yet" in (report / "scores.svg").read_text()
    assert all(row[2] == "0" for row in _Reader(report / "state.html").rows[1:])
    assert list((report / "sheets").iterdir()) == []


@pytest.mark.parametrize("overlay", [None, *sorted((ROOT / "config/runs").rglob("*.yaml"))], ids=str)
def test_the_rule_passes_the_whole_config(overlay: Path | None) -> None:
    values = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config = load_config(_updated(values, yaml.safe_load(overlay.read_text()) if overlay else {}))
    handed_on = load_config(json.loads(config_json(config)))
    assert handed_on == config.model_copy(update={"downloads": handed_on.downloads})


def _updated(values: dict, changes: dict) -> dict:
    """Merge one config over another as Snakemake does."""
    both = {key: _updated(values[key], changes[key]) for key in values.keys() & changes.keys()
            if isinstance(values[key], dict) and isinstance(changes[key], dict)}  # fmt: skip
    return values | changes | both


def test_long_curves_are_thinned_to_means() -> None:
    steps, values = thinned(np.arange(10.0), np.arange(10.0) * 2, points=5)
    assert steps.tolist() == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert values.tolist() == [1, 5, 9, 13, 17]
    assert len(thinned(np.arange(3.0), np.arange(3.0), points=5)[0]) == 3


@pytest.mark.parametrize(("hours", "shown"), [(None, "–"), (0.001, "3.6 s"), (0.5, "30.0 min"), (2100, "2,100.0 h")])
def test_durations_have_readable_units(hours: float | None, shown: str) -> None:
    assert duration(hours) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.025, "0.025"), (71.3, "71.3"), (40_000, "40 k"), (3.12e8, "312 M"), (2e9, "2 G")]
)
def test_large_figures_are_short(value: float, shown: str) -> None:
    assert compact(value) == shown


def test_a_page_marks_headers_of_columns_and_rows() -> None:
    page = html_page("A <title>", ["a & b", ""], [HtmlTable("Rows", ["name", "count"], [["<b>", "1"]])])
    assert "<title>A &lt;title&gt;</title>" in page
    assert '<th scope="row" class="text"><bdi>&lt;b&gt;</bdi></th><td><bdi>1</bdi></td>' in page
    assert page.count("<p>") == 1
