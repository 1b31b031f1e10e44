"""Estimate: what a run takes, before anything is spent: counted in its tables where they exist, guessed elsewhere.

folder   what of a run's folder is there
counts   how many items each stage has, and how many of them are done
costs    what they take: tokens, money, hours, bytes
page     both, for people
"""

from pathlib import Path

from icsd.config import Config
from icsd.core import files
from icsd.llm.cache import Replies, spending
from icsd.stages.summaries.prompts import load_prompt
from icsd.views.estimate.costs import costs
from icsd.views.estimate.counts import count
from icsd.views.estimate.page import estimate_page

__all__ = ["write_estimate"]


def write_estimate(config: Config, prompt: Path, results: Path) -> str:
    """Write the page `results`/estimate.md, and return it. Nothing else is made, and nobody is asked.

    InputError for a prompt or a captions file that cannot be used; a table that cannot is taken as not there.
    """
    counts = count(config, load_prompt(prompt), results)
    spent = spending(Replies(Path(config.summaries.store)).events(), results.name)
    page = estimate_page(config, counts, costs(counts, config), spent)
    with files.atomic_path(results / "estimate.md") as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return page
