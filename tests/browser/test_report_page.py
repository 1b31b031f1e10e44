"""The report's page in a browser: every result opens, no text becomes a script, nothing is asked of a server."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, Page, expect
from report_world import ROOT, SHARD, SHOWN, said_config, small_run

SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
CHECKED_OUT = ("Snakefile", "rules", "scripts", "config", "envs", "profiles", "report", "resources")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Path:
    """The page of the small run, in a checkout of its own, with markup in its config too."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in CHECKED_OUT:
        (folder / name).symlink_to(ROOT / name)
    small_run(folder)
    config = said_config()
    config["images"]["negative_prompt"] = "</script><script>window.hacked = 1</script>"
    (folder / "small.yaml").write_text(yaml.safe_dump(config))
    _snakemake(folder, "--nolock", "--force", "report_so_far")
    _snakemake(folder, "report_so_far", "--report", "report.html")
    return folder / "report.html"


def _snakemake(folder: Path, *arguments: str) -> None:
    command = [SNAKEMAKE, "--configfile", "small.yaml", "--cores", "1", *arguments]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[Page]:
    """The page; the test fails where a script did, or where something was asked of a server."""
    context = browser.new_context(viewport={"width": 1300, "height": 800}, offline=True)
    errors: list[str] = []
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: errors.extend([] if _inside(request.url) else [request.url]))
    page.goto(report.as_uri())
    yield page
    context.close()
    assert errors == []


def _inside(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:", "about:"))


def _results(report: Path) -> dict[str, dict]:
    """Read the page's data of each result, by its path."""
    found = re.search(r"^ *var results = (\{.*\});$", report.read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    return json.loads(found[1])


def test_every_result_has_a_caption_and_a_name(report: Path) -> None:
    results = _results(report)
    assert len(results) == 16
    for path, result in results.items():
        assert len(result["caption"]) > 50, path
        assert result["labels"], path


def test_every_result_opens_and_nothing_runs_in_it(opened: Page, report: Path, tmp_path: Path) -> None:
    """Screenshots of all of them are kept in the test's folder."""
    seen = 0
    categories = [text for text in opened.locator("li").all_inner_texts() if re.match(r"\d ", text)]
    assert len(categories) == 7
    for category in categories:
        opened.goto(report.as_uri())
        opened.get_by_text(category, exact=True).click()
        for row in opened.locator("table tbody tr").all():
            row.locator("a").first.click()
            _assert_shown(opened)
            opened.screenshot(path=tmp_path / f"{seen}.png")
            seen += 1
            assert [frame.evaluate("window.hacked") for frame in opened.frames] == [None] * len(opened.frames)
    assert seen == 16


def _assert_shown(page: Page) -> None:
    """A plot or contact sheet with pixels, or a table."""
    shown = page.locator("img[src^='data:image'], iframe").last
    expect(shown).to_be_visible()
    if shown.evaluate("each => each.tagName") == "IMG":
        page.wait_for_function("each => each.complete && each.naturalWidth > 100", arg=shown.element_handle())
    else:
        expect(page.frame_locator("iframe").locator("h1")).to_be_visible()


def test_a_summary_with_markup_is_shown_as_it_is(opened: Page) -> None:
    opened.get_by_text("4 Groups and summaries", exact=True).click()
    opened.get_by_role("row").filter(has_text="Summaries and groups to read").locator("a").first.click()
    cell = opened.frame_locator("iframe").locator("td").filter(has_text="turned").first
    assert cell.inner_text() == SHOWN


def test_the_top_of_a_tall_contact_sheet_can_be_reached(opened: Page) -> None:
    opened.get_by_text("5 Pictures", exact=True).click()
    opened.get_by_role("row").filter(has_text=SHARD).locator("a").first.click()
    sheet = opened.locator("img[src^='data:image/png']")
    expect(sheet).to_be_visible()
    box = sheet.bounding_box()
    assert box and box["height"] > 800 and box["y"] >= 0
