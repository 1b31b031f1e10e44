"""README.md of what is exported: a header that YAML reads, and text that stays text."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from export_world import NASTY, SOURCE, write_arm
from markdown_it import MarkdownIt

from icsd.config import load_config
from icsd.config.downloads import MARKER
from icsd.core.text import as_block, as_code, as_text
from icsd.llm.cache import ResponseCache, Spending
from icsd.views.export.card import dataset_card
from icsd.views.export.facts import Facts, facts_of
from icsd.views.export.manifest import read_manifest
from icsd.views.export.provenance import hub_id, model_line, shown_path

READER = MarkdownIt("gfm-like", {"html": True, "linkify": False}).disable("linkify")


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    arm = write_arm(tmp_path / "tiny")
    (tmp_path / "tiny/benchmarks/generate_images/multi").mkdir(parents=True)
    for shard in range(2):
        path = tmp_path / f"tiny/benchmarks/generate_images/multi/{shard}.tsv"
        path.write_text("s\th:m:s\n3600.5\t1:00:00\n")
    (tmp_path / "tiny/benchmarks/form_groups.tsv").write_text("s\th:m:s\n12.4\t0:00:12\n")
    with ResponseCache(tmp_path / "replies").writer(run="tiny") as segment:
        segment.append(
            [{"key": "a" * 64, "reply": {"prompt_tokens": 9, "completion_tokens": 1}, "run": "tiny", "usd": 0.25}]
        )
    manifest = read_manifest(arm.pairs, arm.images)
    timed = ["form_groups", "generate_images/multi", "check_safety/multi"]
    return facts_of(manifest, arm.ledger, arm.summaries, tmp_path / "tiny", tmp_path / "replies", timed)


def shown(markdown: str) -> str:
    """Return the text that a reader sees of one paragraph without elements."""
    (paragraph,) = [token for token in READER.parse(markdown) if token.type == "inline"]
    assert {child.type for child in paragraph.children} <= {"text", "text_special", "code_inline"}, paragraph.children
    return "".join(child.content for child in paragraph.children)


@pytest.mark.parametrize("text", [*NASTY.values(), "a\\*b", "&lt;b&gt;", "<!-- x", "a^2^ == b", "![x](y)", "1. x"])
def test_text_stays_text(text: str) -> None:
    seen = " ".join(text.split()).replace("\u202e", "\ufffd").replace("\u202c", "\ufffd")
    assert shown(f"x: {as_text(text)}") == f"x: {seen}"
    assert shown(f"x: {as_code(text)}") == f"x: {seen}".replace("|", "¦")


def test_addresses_become_no_links() -> None:
    line = as_text("http://example.org WWW.example.org me@example.org a: b")
    assert "://" not in line and "WWW." not in line and "@" not in line and "a: b" in line


def test_a_block_holds_whatever_fences_are_in_it() -> None:
    (block,) = READER.parse(as_block("one\n```\n<script>\n````\nlast"))
    assert (block.type, block.content) == ("fence", "one\n```\n<script>\n````\nlast\n")


def test_the_card_has_no_element_that_a_caption_wrote(facts: Facts) -> None:
    card = dataset_card("multi", "coco", facts, SOURCE)
    page = READER.render(card.split("---\n", 2)[2])
    assert "<script" not in page and "<b>" not in page and 'href="http' not in page and "<strong>" not in page
    assert "&lt;script&gt;alert('x')&lt;/script&gt;" in page
    assert page.count("<table>") == 2


def test_the_header_is_yaml_that_the_hub_knows(facts: Facts) -> None:
    source = SOURCE | {"run": "tiny: [x]", "licence": "cc-by-4.0"}
    card = dataset_card("multi", "huggingface", facts, source)
    header = yaml.safe_load(card.split("---\n")[1])
    assert header == {
        "pretty_name": "tiny: [x]: multi",
        "license": "cc-by-4.0",
        "task_categories": ["image-to-text"],
        "size_categories": ["n<1K"],
        "tags": ["image-captioning", "icsd", "synthetic"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }
    assert "`cc-by-4.0`, as the run's config says." in card


def test_the_card_names_sources_counts_funnel_and_cost(facts: Facts) -> None:
    card = dataset_card("multi", "coco", facts, SOURCE)
    lines = card.splitlines()
    assert "- `data/captions.json`, from `https://example.org/captions.json`" in lines
    assert "license: unknown" in lines and "Unknown: the run's config names none." in card
    assert "- Safety: `some/drawer`, at a commit that the run does not name" in lines
    assert "| pictures                         |    4 |".replace(" ", "") in card.replace(" ", "")
    assert "|safety|1unsafe\\|&#60;b&#62;|5|4|" in card.replace(" ", "")
    assert "- Sentences of 5 groups: 500 prompt tokens and 100 completion tokens." in lines
    assert "- Endpoints: 1 requests for 0.25 USD at the prices of the run's config." in lines
    assert "- generate images/multi: 2.0 hours in jobs." in lines and "- form groups: 12 seconds in jobs." in lines
    assert not any("check safety" in line for line in lines)


def test_addresses_in_the_card_have_no_user_and_no_query(facts: Facts) -> None:
    source = SOURCE | {"captions": {"a.json": "https://user:hunter2@example.org/a.json?token=hunter2#hunter2"}}
    card = dataset_card("multi", "coco", facts, source)
    assert "- `a.json`, from `https://example.org/a.json?…`" in card.splitlines() and "hunter2" not in card


def test_an_llms_prompt_is_in_the_card_and_the_mergers_is_not(facts: Facts, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Captions:\n```\n{{ captions }}\n```\n")
    source = SOURCE | {"provider": "openai", "summaries": "gpt-4o-mini", "prompt": str(prompt)}
    card = dataset_card("multi", "coco", facts, source)
    assert "````text\nCaptions:\n```\n{{ captions }}\n```\n````" in card
    assert "`prompt.txt`, with the hash `abc` of prompt and limits" in card and str(tmp_path) not in card
    assert "- Sentences: `gpt-4o-mini`, served by an endpoint" in card
    assert "## Prompt" not in dataset_card("multi", "coco", facts, SOURCE)
    assert "## Prompt" not in dataset_card("single", "coco", facts, source)


def test_photographs_have_no_model_and_no_cost(facts: Facts) -> None:
    bare = replace(facts, spent=Spending(), tokens=replace(facts.tokens, prompt_tokens=None), seconds={})
    source = SOURCE | {"photographs": {"photos.json": None}}
    card = dataset_card("real", "coco", bare, source)
    assert "None: nothing was drawn." in card and "- `photos.json`" in card and "synthetic" not in card
    assert "captions.json" not in card.replace("captions_train.json", "")
    assert "- No request to a paid endpoint." in card


def test_pictures_of_a_server_have_its_model_and_are_not_called_free(facts: Facts) -> None:
    served = {"model": "Qwen/Qwen-Image", "parameters": {"step": 20}, "seed_parameter": "seed"}
    source = SOURCE | {"images": {"provider": "openai", "size": 512, "seed": 0, "openai": served}}
    card = dataset_card("multi", "coco", replace(facts, spent=Spending()), source)
    assert "- Pictures: `Qwen/Qwen-Image`, served by an endpoint that names no commit" in card
    assert "Drawn with size `512`, seed `0`, parameters" in card
    assert "- Pictures: drawn by a server; its price is not counted here." in card and "No request" not in card


def test_models_are_named_as_exactly_as_is_known(tmp_path: Path) -> None:
    downloaded, own = tmp_path / "downloaded", tmp_path / "own"
    for folder in (downloaded, own):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
    (downloaded / MARKER).write_text(json.dumps({"repo_id": "some/model", "revision": "0" * 40, "files": {}}))
    assert model_line(str(downloaded)) == f"`some/model` at commit `{'0' * 40}`"
    assert model_line(str(own)).startswith("`own`, a folder whose files have the SHA-256 `")
    assert (hub_id(str(downloaded)), hub_id(str(own)), hub_id("some/other")) == ("some/model", None, "some/other")


@pytest.mark.parametrize(
    ("path", "shown"), [("/home/me/a.json", "a.json"), ("../x/a.json", "a.json"), ("data/a.json", "data/a.json")]
)
def test_a_card_names_no_path_outside_the_checkout(path: str, shown: str) -> None:
    assert shown_path(path) == shown


ALIGNMENT = {"model": "some/clip", "score": "cosine", "candidates": 1}


@pytest.mark.parametrize(
    ("alignment", "lines"),
    [
        (ALIGNMENT | {"drop_share": 0.2, "rematch": 5}, ["  Pairs selected with drop share `0.2`, rematch `5`"]),
        (ALIGNMENT, ["  No pair was dropped for its score."]),
        (
            ALIGNMENT | {"candidates": 4, "redraw_below": 0.3, "min_score": 0.25},
            ["  Of at most 4 pictures of a sentence, the one that shows its captions best is used.",
             "  Pairs selected with redraw below `0.3`, min score `0.25`"],
        ),
    ],
)  # fmt: skip
def test_the_card_says_how_pairs_were_selected(facts: Facts, alignment: dict, lines: list[str]) -> None:
    first = "- Scores of pictures with their captions: `some/clip`, at a commit that the run does not name"
    card = dataset_card("multi", "coco", facts, SOURCE | {"alignment": alignment})
    assert "\n".join([first, *lines, "- Safety"]) in card
    assert "Scores of pictures" not in dataset_card("multi", "coco", facts, SOURCE)


def test_the_provenance_has_the_keys_of_selection_that_are_on() -> None:
    values = yaml.safe_load((Path(__file__).parents[4] / "config/config.yaml").read_text(encoding="utf-8"))
    values["alignment"], plain = {}, load_config(values | {"alignment": {}}).provenance
    assert "alignment" not in plain and "candidates" not in plain["images"]
    values["images"] |= {"candidates": 3, "max_images": 900}
    values["alignment"] = {"model": "ViT-L-14/openai", "min_score": 0.0}
    assert load_config(values).provenance["alignment"] == {
        "model": "ViT-L-14/openai", "score": "cosine", "candidates": 3, "min_score": 0.0, "max_images": 900,
    }  # fmt: skip
