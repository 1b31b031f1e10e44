"""Measure the gallery with 10,000 images in headless Chromium: first paint, search, filter, sorting, memory.

The run is generated: blurred noise as images, groups of thirty captions of which fifteen are selected. --side 512 is
the size of Stable Diffusion's images. The page's own clock measures from a change until the page is drawn again.
"""

import argparse
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/support"))

from gallery_world import Made, png_of, write_run  # noqa: E402

from icsd.core.text import markdown_table  # noqa: E402
from icsd.views.gallery import write_gallery  # noqa: E402
from icsd.views.run import found_run  # noqa: E402

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"
LOADED = "[...document.querySelectorAll('#list img')].filter((image) => image.complete && image.naturalWidth).length"
SHOWN = 48  # pictures a page


def main() -> None:
    """Write the gallery, use it in the browser, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000, help="images in two arms (default: %(default)s)")
    parser.add_argument("--side", type=int, default=32, help="side of an image in pixels (default: %(default)s)")
    parser.add_argument("--chromium", type=Path, default=Path("/usr/bin/chromium"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_run(folder, Made(options.pictures // 2, 10, 30, caption, lambda number: noise(number, options.side)))
        rows = written(folder, options.pictures)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=options.chromium, args=ARGUMENTS)
            rows += looked_at(browser, folder / "gallery" / "index.html")
            browser.close()
    print("\n".join(markdown_table(["gallery", f"{options.pictures:,} pictures"], rows)))


def caption(number: int) -> str:
    """Return about fifty characters, as COCO's captions have."""
    return f"a {'red' if number % 2 else 'blue'} boat number {number} on a lake with trees behind"


def noise(number: int, side: int) -> bytes:
    """Return a PNG whose thumbnail takes about as many bytes as that of a photograph."""
    generator = np.random.default_rng(number)
    coarse = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=int)
    return png_of(np.clip(smooth + generator.integers(-12, 13, (side, side, 1)), 0, 255).astype(np.uint8))


def written(folder: Path, pictures: int) -> list[list[str]]:
    """Return rows: the time of writing, and the files on disk."""
    begin = time.monotonic()
    write_gallery(found_run(folder), folder / "gallery", pictures)
    seconds = time.monotonic() - begin
    sizes = [path.stat().st_size for path in (folder / "gallery").rglob("*") if path.is_file()]
    return [["written in, s", f"{seconds:.1f}"], ["files", f"{len(sizes):,}"], ["MB", f"{sum(sizes) / 1e6:.1f}"]]


def looked_at(browser: Browser, index: Path) -> list[list[str]]:
    """Return rows: the waits of a person, and the memory of the page's process at the end."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(index.as_uri())
    page.wait_for_function(f"{LOADED} === {SHOWN}")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    rows = [["first paint, ms", f"{paint:.0f}"], ["first pictures, ms", f"{page.evaluate('performance.now()'):.0f}"]]
    actions = {
        "search of one word, ms": lambda: search(page, "boat"),
        "search of three words, ms": lambda: search(page, "red boat 77"),
        "search cleared, ms": lambda: search(page, ""),
        "filter by verdict, ms": lambda: choose(page, "verdict", "unsafe"),
        "filter cleared, ms": lambda: choose(page, "verdict", ""),
        "sort by score, ms": lambda: choose(page, "sort", "score-down"),
    }
    rows += [[name, f"{statistics.median(action() for _ in range(5)):.0f}"] for name, action in actions.items()]
    rows.append(
        ["next page until its images are loaded, ms", f"{statistics.median(turn(page) for _ in range(20)):.0f}"]
    )
    return [*rows, *memory(browser, page)]


def search(page: Page, words: str) -> float:
    """Return the milliseconds of a search, without the page's pause after a key press."""
    return timed(page, f"find('query').value = {words!r}; search();")


def choose(page: Page, select: str, value: str) -> float:
    """Return the milliseconds of a choice in a select field."""
    return timed(page, f"find({select!r}).value = {value!r}; search();")


def timed(page: Page, script: str) -> float:
    """Return the milliseconds from the start of the script until its change is drawn."""
    return page.evaluate(
        f"async () => {{ const begin = performance.now(); {script} return (await ({DRAWN})()) - begin; }}"
    )


def turn(page: Page) -> float:
    """Return the milliseconds until all images of the next page are loaded."""
    begin = page.evaluate("() => { const begin = performance.now(); turn(1); return begin; }")
    page.wait_for_function(f"{LOADED} === {SHOWN}", polling=5)
    return page.evaluate("performance.now()") - begin


def memory(browser: Browser, page: Page) -> list[list[str]]:
    """Return rows: the script's heap, and the resident size of the largest page process."""
    own = page.context.new_cdp_session(page)
    own.send("Performance.enable")
    found = {each["name"]: each["value"] for each in own.send("Performance.getMetrics")["metrics"]}
    resident = max(map(resident_mb, renderers(browser.new_browser_cdp_session())))
    return [["script's heap, MB", f"{found['JSHeapUsedSize'] / 1e6:.0f}"], ["page's process, MB", f"{resident:.0f}"]]


def renderers(session: CDPSession) -> list[int]:
    """Return the ids of the processes that show pages."""
    processes: list[Any] = session.send("SystemInfo.getProcessInfo")["processInfo"]
    return [each["id"] for each in processes if each["type"] == "renderer"]


def resident_mb(process: int) -> float:
    """Return the resident size of a process in MB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


if __name__ == "__main__":
    main()
