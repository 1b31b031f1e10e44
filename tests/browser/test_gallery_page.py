"""The gallery in a browser, opened from disk: what it finds, shows and says, by mouse and by keyboard."""

import json
import re
import shutil
from pathlib import Path

import pytest
from gallery_world import ODD, TESTS, Made, add_scores, flat_png, write_run
from playwright.sync_api import Browser, Locator, Page, expect

from icsd.views.gallery import write_gallery
from icsd.views.run import found_run

ANCHORS = 30  # 60 pictures: two pages
VIEWS = ["pictures", "side-by-side", "captions"]
OUTLINE = """() => {
  const style = getComputedStyle(document.activeElement);
  return [style.outlineStyle, style.outlineWidth];
}"""
UNNAMED = "(all) => all.filter((each) => each.labels.length === 0).map((each) => each.id)"
IDS = "() => [...document.querySelectorAll('[id]')].map((each) => each.id)"
CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of whose pictures the gallery is. Do not write into it."""
    folder = tmp_path_factory.mktemp("made") / "tiny"
    write_run(folder, Made(ANCHORS))
    write_gallery(found_run(folder), folder / "gallery", 1000)
    return folder


@pytest.fixture
def gallery(page: Page, made: Path) -> Page:
    """The page as it opens."""
    return opened(page, made)


def opened(page: Page, run: Path, place: str = "") -> Page:
    """The run's gallery, its catalogue loaded."""
    page.goto((run / "gallery" / "index.html").as_uri() + place)
    expect(page.locator("#count")).not_to_have_text("Loading …")
    return page


def cards(page: Page) -> Locator:
    return page.locator("#list .card")


def ids(page: Page) -> list[str]:
    return cards(page).evaluate_all("(cards) => cards.map((card) => card.dataset.id)")


def focused(page: Page) -> str:
    """The id of the picture or element that has the focus."""
    return page.evaluate("document.activeElement.dataset.id ?? document.activeElement.id")


def test_each_picture_is_shown_with_its_sentence(gallery: Page, tmp_path: Path) -> None:
    expect(gallery.locator("#count")).to_have_text("60 pictures")
    expect(gallery.locator("#pages")).to_have_text("Page 1 of 2")
    expect(gallery.locator("#list img")).to_have_count(48)
    card = gallery.locator('[data-id="multi-5"]')
    expect(card.get_by_role("img")).to_have_attribute("alt", "Together: a red boat number 5")
    expect(card).to_contain_text("unsafe")
    assert card.locator("img").evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 16
    gallery.screenshot(path=tmp_path / "pictures.png")
    assert (tmp_path / "pictures.png").stat().st_size > 10_000


def test_search_finds_words_of_sentences_captions_and_ids(gallery: Page) -> None:
    """The search also covers the selected captions of multi: two of each group, the second with the next number."""
    found = {"boat number 7": 9, "BLUE  multi-4": 1, "together": 30, "number 2": 27, "ocean": 0}
    for words, count in found.items():
        gallery.get_by_label("Search").fill(words)
        expect(gallery.locator("#count")).to_have_text(f"{count} of 60 pictures")
        assert cards(gallery).count() == min(count, 48)
    gallery.get_by_label("Search").fill("")
    expect(gallery.locator("#count")).to_have_text("60 pictures")


def test_a_filter_keeps_what_it_says(gallery: Page) -> None:
    kept = [("Arm", "single", 30), ("Verdict", "unsafe", 6), ("Reason", "in the dataset", 54), ("Reason", "unsafe", 6)]
    for label, value, count in kept:
        select = gallery.get_by_label(label, exact=True)
        select.select_option(value)
        expect(gallery.locator("#count")).to_have_text(f"{count} of 60 pictures")
        expect(select.locator("option:checked")).to_have_text(f"{value} ({count})")
        select.select_option("all")


def test_filters_work_together_and_reset(gallery: Page, made: Path) -> None:
    gallery.get_by_label("Arm").select_option("multi")
    gallery.get_by_label("At least").fill("0.1")
    gallery.get_by_label("At most").fill("0.19")
    expect(gallery.locator("#count")).to_have_text("10 of 60 pictures")
    gallery.get_by_label("Verdict").select_option("unsafe")
    expect(gallery.locator("#count")).to_have_text("2 of 60 pictures")
    assert sorted(ids(gallery)) == ["multi-10", "multi-15"]
    gallery.get_by_label("Shard").select_option("0000-of-0002")
    expect(gallery.locator("#count")).not_to_have_text("2 of 60 pictures")
    gallery.get_by_role("button", name="Reset").click()
    expect(gallery.locator("#count")).to_have_text("60 pictures")


def test_sorting_puts_the_first_first(gallery: Page) -> None:
    ends = {"score-down": ("multi-29", "single-0"), "score-up": ("multi-0", "single-29")}
    for order, (first, last) in (ends | {"selected-down": ("multi", "single")}).items():
        gallery.get_by_label("Sort").select_option(order)
        expect(cards(gallery).first).to_have_attribute("data-id", first_with(first))
        gallery.get_by_role("button", name="Next page").click()
        expect(cards(gallery).last).to_have_attribute("data-id", first_with(last))


def first_with(start: str) -> re.Pattern[str]:
    return re.compile(f"^{start}\\b")


def test_pictures_without_similarity_come_last(gallery: Page) -> None:
    for order in ("similarity-down", "similarity-up"):
        gallery.get_by_label("Sort").select_option("order")
        expect(cards(gallery).nth(1)).to_have_attribute("data-id", first_with("single"))
        gallery.get_by_label("Sort").select_option(order)
        expect(cards(gallery).nth(1)).to_have_attribute("data-id", first_with("multi"))
        assert {each.partition("-")[0] for each in ids(gallery)[:30]} == {"multi"}


def test_a_picture_opens_with_captions_and_lineage(gallery: Page) -> None:
    gallery.locator('[data-id="multi-6"]').click()
    dialog = gallery.get_by_role("dialog", name="Together: a blue boat number 6")
    expect(dialog).to_be_visible()
    texts = dialog.locator("tbody tr").all_inner_texts()
    assert [text.split("\t") for text in texts] == [
        ["yes", "1.000", "a blue boat number 6", "6"],
        ["yes", "0.700", "a red boat number 7", "7"],
        ["–", "0.500", "a blue boat number 8", "8"],
        ["–", "0.300", "a red boat number 9", "9"],
    ]
    facts = dialog.locator("dl").inner_text()
    for said in ["safe, safety score 0.060", "2 pairs", str(2**61 + 6), "a model", "gpt", "abc", "500 of the prompt"]:
        assert said in facts
    dialog.locator('.others [data-id="single-6"]').click()
    expect(gallery.get_by_role("dialog", name="a blue boat number 6", exact=True)).to_be_visible()
    assert gallery.url.endswith("#picture/single-6")


def test_an_address_opens_a_picture(page: Page, made: Path) -> None:
    opened(page, made, "#picture/single-9")
    expect(page.get_by_role("dialog", name="a red boat number 9")).to_be_visible()
    page.goto((made / "gallery" / "index.html").as_uri() + "#picture/nothing-1")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_large_pictures_are_shown_in_full_size(page: Page, tmp_path: Path) -> None:
    write_run(tmp_path / "large", Made(2, png=lambda number: flat_png(number, 400)))
    write_gallery(found_run(tmp_path / "large"), tmp_path / "large" / "gallery", 10)
    opened(page, tmp_path / "large", "#picture/single-1")
    page.wait_for_function("document.querySelector('.sheet img')?.naturalWidth === 400")
    assert page.locator('#list [data-id="single-1"] img').evaluate("(image) => image.naturalWidth") == 224


# By keyboard


def test_arrow_keys_move_between_pictures_and_pages(gallery: Page) -> None:
    shown = ids(gallery)
    cards(gallery).first.focus()
    gallery.keyboard.press("ArrowRight")
    assert focused(gallery) == shown[1]
    gallery.keyboard.press("ArrowDown")
    down = shown.index(focused(gallery))
    assert down > 2
    gallery.keyboard.press("ArrowUp")
    assert focused(gallery) == shown[1]
    gallery.keyboard.press("End")
    assert focused(gallery) == shown[-1]
    gallery.keyboard.press("ArrowRight")
    expect(gallery.locator("#pages")).to_have_text("Page 2 of 2")
    assert focused(gallery) == ids(gallery)[0]
    gallery.keyboard.press("ArrowLeft")
    assert focused(gallery) == shown[-1]


def test_a_picture_is_opened_left_and_closed_by_keys(gallery: Page) -> None:
    shown = ids(gallery)
    cards(gallery).nth(46).focus()
    gallery.keyboard.press("Enter")
    expect(gallery.get_by_role("dialog")).to_be_visible()
    for _ in range(3):  # onto the next page
        before = gallery.url
        gallery.keyboard.press("ArrowRight")
        gallery.wait_for_function(f"location.href !== {before!r}")
        expect(gallery.locator("#detail nav p")).to_contain_text(f"{gallery.url.partition('#picture/')[2]} · ")
    gallery.keyboard.press("Escape")
    expect(gallery.get_by_role("dialog")).to_have_count(0)
    expect(gallery.locator("#pages")).to_have_text("Page 2 of 2")
    assert focused(gallery) == ids(gallery)[1]
    assert focused(gallery) not in shown
    gallery.keyboard.press("/")
    gallery.keyboard.type("boat/")
    expect(gallery.get_by_label("Search")).to_have_value("boat/")


@pytest.mark.parametrize("view", VIEWS)
def test_every_control_is_reached_by_tab_with_visible_focus(page: Page, made: Path, view: str) -> None:
    seen(page, made, view)
    usable = page.locator("a[href], button:enabled, input, select").filter(visible=True).count()
    page.evaluate("document.body.focus()")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    reached = 0
    while page.evaluate("document.activeElement !== document.body"):
        outline = page.evaluate(OUTLINE)
        assert outline == ["solid", "3px"], focused(page)
        reached += 1
        page.keyboard.press("Tab")
    assert reached == usable


# Side by side, and test captions


def test_side_by_side_has_both_pictures_of_an_anchor_caption(gallery: Page, tmp_path: Path) -> None:
    gallery.get_by_role("link", name="Side by side").click()
    expect(gallery.locator("#count")).to_have_text("30 anchor captions drawn more than once")
    expect(gallery.locator("#pages")).to_have_text("Page 1 of 3")
    gallery.get_by_label("Search").fill("multi-12")
    expect(gallery.locator("#count")).to_have_text("1 anchor captions drawn more than once")
    expect(gallery.get_by_role("heading", name="a blue boat number 12")).to_be_visible()
    assert ids(gallery) == ["multi-12", "single-12"]
    tops = cards(gallery).evaluate_all("(cards) => cards.map((card) => card.getBoundingClientRect().top)")
    assert tops[0] == tops[1]


def test_test_captions_come_best_and_worst_first(gallery: Page) -> None:
    gallery.get_by_role("link", name="Test captions").click()
    expect(gallery.locator("#count")).to_have_text(f"{TESTS} test pictures")
    first = gallery.locator("#list > li").first
    expect(first).to_contain_text("real-7: what people said")
    expect(first.locator("dl")).to_contain_text("test picture 7 said in 0 ways")
    assert first.locator("dd.chosen").nth(1).inner_text() != "0"
    assert first.locator("img").get_attribute("alt") == "test picture 7 said in 0 ways"
    gallery.get_by_label("Order by its CIDEr-D").select_option("worst first")
    expect(first).not_to_contain_text("real-7:")
    gallery.get_by_label("Captioner").select_option("single")
    expect(first.locator("dt.chosen")).to_have_text("single")
    gallery.get_by_label("Order by its CIDEr-D").select_option("as they come")
    expect(first).to_contain_text("real-0: what people said")
    gallery.get_by_label("Search").fill("picture 11 said")
    expect(gallery.locator("#count")).to_have_text("1 test pictures")


# Scores of pictures with their captions


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with scores and with second candidates of multi-3 and multi-4. Do not write into it."""
    folder = tmp_path_factory.mktemp("scored") / "tiny"
    write_run(folder, Made(12))
    add_scores(folder, Made(12))
    write_gallery(found_run(folder), folder / "gallery", 1000)
    return folder


def test_a_page_without_scores_has_no_controls_for_them(gallery: Page) -> None:
    assert gallery.get_by_label("Caption score").count() == 0
    assert "caption score" not in gallery.get_by_label("Sort").inner_text()


def test_pictures_are_sorted_and_filtered_by_score(page: Page, scored: Path) -> None:
    opened(page, scored)
    page.get_by_label("Sort").select_option("caption score, lowest first")
    expect(cards(page).first).to_have_attribute("data-id", "multi-4_1")
    assert ids(page)[:3] == ["multi-4_1", "multi-0", "multi-1"]
    expect(cards(page).first).to_contain_text("captions 0.140 to 0.240")
    expect(cards(page).first).to_contain_text("candidate 1, not used")
    page.get_by_label("Sort").select_option("sentence score, highest first")
    expect(cards(page).first).to_have_attribute("data-id", "multi-3_1")
    page.get_by_label("Sort").select_option("mean caption score, highest first")
    expect(cards(page).nth(1)).to_have_attribute("data-id", "multi-8")
    page.get_by_label("Caption score at most").fill("0.21")
    expect(page.locator("#count")).to_have_text("3 of 26 pictures")
    assert sorted(ids(page)) == ["multi-0", "multi-1", "multi-4_1"]
    page.get_by_label("Caption score at least").fill("0.205")
    expect(page.locator("#count")).to_have_text("1 of 26 pictures")  # a caption of the picture lies between both
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("Reason").select_option("another candidate is used")
    expect(page.locator("#count")).to_have_text("2 of 26 pictures")


def test_a_picture_opens_with_scores_and_dropped_pairs(page: Page, scored: Path) -> None:
    opened(page, scored, "#picture/multi-6")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("columnheader", name="Score")).to_be_visible()
    assert [row.split() for row in dialog.locator("tbody tr").all_inner_texts()] == [
        "yes 1.000 0.360 a blue boat number 6 6".split(),
        "yes 0.700 0.260 a red boat number 7 dropped, below alignment.min_score=0.28: its score is 0.260 7".split(),
        "– 0.500 – a blue boat number 8 8".split(),
        "– 0.300 – a red boat number 9 9".split(),
    ]
    expect(dialog.locator("dl")).to_contain_text("0.560, how well it shows its sentence")


def test_the_candidates_of_a_sentence_are_side_by_side(page: Page, scored: Path) -> None:
    opened(page, scored, "#picture/multi-3")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("dl")).to_contain_text("candidate 0, not used")
    expect(dialog.get_by_role("heading", name="Other candidates for the same sentence")).to_be_visible()
    shown = dialog.locator(".card").evaluate_all("(cards) => cards.map((card) => card.dataset.id)")
    assert shown == ["multi-3_1", "single-3"]
    dialog.locator('[data-id="multi-3_1"]').click()
    expect(dialog.locator("dl")).to_contain_text("images/multi/candidate-1/")
    close_picture(page, "multi-3_1")
    page.get_by_role("link", name="Side by side").click()
    expect(page.locator("#count")).to_have_text("12 anchor captions drawn more than once")
    page.get_by_label("Search").fill("single-3")
    expect(page.locator("#count")).to_have_text("1 anchor captions drawn more than once")
    assert ids(page) == ["multi-3_1", "single-3"]  # the used candidate


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_scores_have_contrast_names_and_focus(page: Page, scored: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    for place in ["pictures", "picture/multi-7"]:
        seen(page, scored, place)
        assert [each for each in page.evaluate(CONTRAST) if each["ratio"] < 4.5] == [], place
        assert page.locator("input, select").evaluate_all(UNNAMED) == []
        every = page.evaluate(IDS)
        assert len(set(every)) == len(every), place
    close_picture(page, "multi-7")
    page.get_by_label("Caption score at least").focus()
    page.keyboard.press("Tab")
    assert focused(page) == "caption-high"
    assert page.evaluate(OUTLINE) == ["solid", "3px"]


# Bad input


def test_odd_text_stays_text(page: Page, tmp_path: Path) -> None:
    made = Made(6, caption=lambda number: ODD if number == 3 else f"plain {number}")
    run = tmp_path / "<img src=x onerror=alert(1)> & '{{ 7*7 }}"
    write_run(run, made)
    write_gallery(found_run(run), run / "gallery", 10)
    page.on("dialog", lambda dialog: pytest.fail(f"a text ran: {dialog.message}"))
    opened(page, run, "#picture/multi-3")
    expect(page.locator("#sentence")).to_have_text(f"Together: {ODD}")
    assert page.locator("#sentence").evaluate("(each) => each.textContent") == f"Together: {ODD}"
    assert page.locator("#detail .sheet > div > .frame img").get_attribute("alt") == f"Together: {ODD}"
    assert page.locator("h1").inner_text() == f"Gallery of {run.name}"
    assert page.locator('img[src="x"]').count() == 0
    assert page.locator("script").count() == 1
    close_picture(page, "multi-3")
    page.get_by_label("Search").fill("שלום")
    expect(page.locator("#count")).to_have_text("3 of 12 pictures")


def test_an_unfinished_run_lists_what_is_missing(page: Page, made: Path, tmp_path: Path) -> None:
    run = tmp_path / "half"
    shutil.copytree(made, run)
    for name in ("evaluation", "dataset", "safety", "images/single"):
        shutil.rmtree(run / name)
    gone = next((run / "images" / "multi").glob("*-of-*.parquet"))
    gone.unlink()
    write_gallery(found_run(run), run / "gallery", 100)
    opened(page, run)
    expect(page.locator(".missing")).to_contain_text("This run is not finished")
    expect(page.locator(".missing")).to_contain_text(f"images/multi/: 1 of 2 shards: {gone.stem}")
    expect(page.locator(".frame", has_text="no picture yet").first).to_be_visible()
    expect(page.locator("#list img").first).to_be_visible()
    page.get_by_role("link", name="Side by side").click()
    expect(page.locator("#list")).to_contain_text("No anchor caption drawn in both arms matches.")
    page.get_by_role("link", name="Test captions").click()
    expect(page.locator("#count")).to_have_text("30 test pictures")


def test_a_run_without_a_picture_says_so(page: Page, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    write_gallery(found_run(tmp_path / "new"), tmp_path / "new" / "gallery", 10)
    opened(page, tmp_path / "new")
    expect(page.locator("#list")).to_contain_text("This run has no picture yet.")
    page.get_by_role("link", name="Test captions").click()
    expect(page.locator("#list")).to_contain_text("no captioner has written captions yet")


def test_missing_files_of_the_gallery_are_named(browser: Browser, made: Path, tmp_path: Path) -> None:
    """A browser reports each file that it does not find, so that this page's faults are not counted."""
    shutil.copytree(made / "gallery", tmp_path / "gallery")
    for path in (tmp_path / "gallery" / "data").glob("*-*.js"):
        path.unlink()
    with browser.new_context() as context:
        page = context.new_page()
        opened(page, tmp_path)
        expect(page.locator("#list .frame").first).to_have_text(
            "data/pictures-0000.js is missing: copy the whole folder"
        )
        cards(page).first.click()
        expect(page.get_by_role("dialog")).to_contain_text("copy the whole folder")
        page.keyboard.press("Escape")
        page.get_by_role("link", name="Test captions").click()
        expect(page.locator("#list")).to_contain_text("data/captions-0.js is missing: copy the whole folder")
        (tmp_path / "gallery" / "data" / "catalog.js").unlink()
        page.reload()
        expect(page.locator("#count")).to_have_text("data/catalog.js is missing: copy the whole folder")


# Ten thousand pictures, and everybody's eyes


def test_of_ten_thousand_pictures_a_page_is_in_the_document(page: Page, made: Path, tmp_path: Path) -> None:
    """The catalogue is repeated: what is measured with ten thousand pictures is benchmarks/gallery.py."""
    shutil.copytree(made / "gallery", tmp_path / "gallery")
    catalog = tmp_path / "gallery" / "data" / "catalog.js"
    call, _, rest = catalog.read_text().partition("{")
    columns = json.loads("{" + rest.strip().removesuffix(");"))
    many = {name: (values * 170)[:10_000] for name, values in columns.items()}
    many["id"] = [f"{each}{number:05d}" for number, each in enumerate(many["id"])]
    catalog.write_text(f"{call}{json.dumps(many)});")
    opened(page, tmp_path)
    expect(page.locator("#count")).to_have_text("10,000 pictures")
    assert cards(page).count() == 48
    assert page.evaluate("document.querySelectorAll('*').length") < 1000
    page.get_by_label("Search").fill("09999")
    expect(page.locator("#count")).to_have_text("1 of 10,000 pictures")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast_enough(page: Page, made: Path, scheme: str, tmp_path: Path) -> None:
    page.emulate_media(color_scheme=scheme)
    for place in [*VIEWS, "picture/multi-5"]:
        seen(page, made, place)
        page.screenshot(path=tmp_path / f"{place.replace('/', '-')}.png")
        found = page.evaluate(CONTRAST)
        assert len(found) > 30
        assert [each for each in found if each["ratio"] < 4.5] == [], place


def close_picture(page: Page, image_id: str) -> None:
    """Close a picture by its key, and wait until its card has the focus: a dialog's end is told to its page later."""
    page.keyboard.press("Escape")
    expect(page.locator(f'#list [data-id="{image_id}"]')).to_be_focused()


def seen(page: Page, run: Path, place: str) -> None:
    """Go to a view or a picture and wait until it is there."""
    opened(page, run, f"#{place}")
    page.reload()  # an address that differs in its last part alone loads nothing
    expect(page.locator("#list > li").first).to_be_visible()
    expect(page.locator("#list img").first).to_be_visible()
    if place.startswith("picture/"):
        expect(page.get_by_role("dialog")).to_be_visible()


def test_faint_text_would_be_found(gallery: Page) -> None:
    gallery.add_style_tag(content=":root { --quiet: #999; }")
    assert any(each["ratio"] < 4.5 for each in gallery.evaluate(CONTRAST))


def test_all_has_a_name_and_every_picture_its_words(page: Page, made: Path) -> None:
    for place in [*VIEWS, "picture/multi-5"]:
        seen(page, made, place)
        alts = page.locator("img").evaluate_all("(all) => all.map((each) => each.alt)")
        assert all(alts), place
        assert page.locator("input, select").evaluate_all(UNNAMED) == []
        assert all(text.strip() for text in page.locator("button").all_inner_texts()), place
        every = page.evaluate(IDS)
        assert len(set(every)) == len(every), place
    assert page.locator("html").get_attribute("lang") == "en"


def test_nothing_moves_with_reduced_motion(page: Page, made: Path) -> None:
    opened(page, made)
    frame = page.locator(".card .frame").first
    moves = "(each) => getComputedStyle(each).transitionDuration !== '0s'"
    assert frame.evaluate(moves)
    page.emulate_media(reduced_motion="reduce")
    assert not frame.evaluate(moves)


def test_a_narrow_window_needs_no_sideways_scrolling(page: Page, made: Path, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    for view in VIEWS:
        opened(page, made, f"#{view}")
        expect(page.locator("#list > li").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view
