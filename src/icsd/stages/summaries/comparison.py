"""Comparison of prompts on the same groups."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icsd.core import tables
from icsd.core.errors import ConfigError
from icsd.core.files import atomic_path
from icsd.core.languages import ENGLISH
from icsd.core.text import markdown_table
from icsd.llm.budget import Prices
from icsd.stages.summaries.answers import word_count

Rows = Sequence[Mapping[str, Any]]
Measures = dict[str, float]


def compare_prompts(
    summaries: Mapping[str, Sequence[Path]], prices: Prices, comparison: Path, page: Path, language: str = ENGLISH
) -> None:
    """Write the PROMPTS table and a page, from the SUMMARIES shards of each prompt.

    ConfigError for fewer than two prompts.
    """
    if len(summaries) < 2:
        named = ", ".join(summaries) or "none"
        raise ConfigError(
            f"summaries.prompts names {named}: two prompts at least are compared, such as [paper, strict], in "
            "config/config.yaml"
        )
    rows = {name: tables.concat(paths, tables.SUMMARIES).to_pylist() for name, paths in summaries.items()}
    first = next(iter(rows.values()))
    found = {
        name: measures(each, prices, language) | {"agreement with the first": agreement(each, first)}
        for name, each in rows.items()
    }
    tables.write(
        comparison,
        tables.PROMPTS,
        [{"prompt": name, "measure": m, "value": value} for name, each in found.items() for m, value in each.items()],
    )
    with atomic_path(page) as unfinished:
        unfinished.write_text(comparison_page(found), encoding="utf-8")


def measures(rows: Rows, prices: Prices, language: str = ENGLISH) -> Measures:
    """Shares of the groups, means of the valid summaries, and sums; NaN for the mean of nothing."""
    valid = [row for row in rows if row["status"] == "ok"]
    reasons = Counter(row["reason"].split(":")[0] for row in rows if row["reason"])
    prompt, completion = (sum(row[name] or 0 for row in rows) for name in ("prompt_tokens", "completion_tokens"))
    return {
        "groups": float(len(rows)),
        "valid": _mean([row["status"] == "ok" for row in rows]),
        "selected a group": _mean([len(row["selected"]) for row in valid]),
        "of them covered": _mean([len(row["covered"]) / len(row["selected"]) for row in valid]),
        "words a summary": _mean([word_count(row["summary"], language) for row in valid]),
        "unsupported words a summary": _mean([len(row["unsupported"]) for row in valid]),
        "image tokens a summary": _mean([row["image_tokens"] for row in valid if row["image_tokens"] is not None]),
        **{f"dropped, {code}": count / len(rows) for code, count in sorted(reasons.items())},
        "prompt tokens": float(prompt),
        "answer tokens": float(completion),
        "USD": prices.cost(prompt, completion),
    }


def agreement(rows: Rows, others: Rows) -> float:
    """The mean Jaccard index of the selected captions, over groups that are valid in both."""
    selected = {row["group_id"]: set(row["selected"]) for row in others if row["status"] == "ok"}
    pairs = [
        (set(row["selected"]), selected[row["group_id"]])
        for row in rows
        if row["status"] == "ok" and row["group_id"] in selected
    ]
    return _mean([len(one & other) / len(one | other) for one, other in pairs])


def comparison_page(found: Mapping[str, Measures]) -> str:
    """Markdown with a row for each measure and a column for each prompt."""
    names = list(dict.fromkeys(name for each in found.values() for name in each))
    rows = [[name, *(_cell(name, each.get(name, 0.0)) for each in found.values())] for name in names]
    return "\n".join([
        "# Prompts compared",
        "",
        "All prompts got the same groups. Valid and dropped are shares of them; agreement is the mean Jaccard index "
        f"of the selected captions with those of `{next(iter(found))}`; tokens and USD are those of all answers and "
        "repairs, whenever they were paid for.",
        "",
        *markdown_table(["", *found], rows),
        "",
    ])  # fmt: skip


def _cell(name: str, value: float) -> str:
    if name in {"groups", "prompt tokens", "answer tokens"}:
        return f"{value:,.0f}"
    if name == "USD":
        return f"{value:.4f}"
    return f"{100 * value:.1f}%" if name.startswith(("valid", "dropped", "agreement", "of them")) else f"{value:.2f}"


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
