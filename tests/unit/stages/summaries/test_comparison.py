import math
from pathlib import Path
from typing import Any

import pytest

from icsd.core import tables
from icsd.core.errors import ConfigError
from icsd.llm.budget import Prices
from icsd.stages.summaries.comparison import agreement, compare_prompts, measures

PRICES = Prices(1000.0, 2000.0)


def _row(group_id: int, selected: list[int], reason: str | None = None, **changes: Any) -> dict[str, Any]:
    row = {
        "group_id": group_id, "summary": None if reason else "a red ball", "selected": selected,
        "status": "dropped" if reason else "ok", "reason": reason, "prompt_tokens": 10, "completion_tokens": 5,
        "model": "m", "prompt_hash": "h", "unsupported": [], "covered": selected[:1], "image_tokens": 5,
    }  # fmt: skip
    return row | changes


ONE = [_row(1, [1, 2]), _row(2, [2, 3, 4, 5]), _row(3, [], "not-json: What?"), _row(4, [], "refusal")]
OTHER = [_row(1, [2, 3]), _row(2, [2, 3, 4, 5]), _row(3, [3], unsupported=["kite"]), _row(4, [], "refusal")]


def test_measures_of_a_prompt() -> None:
    found = measures(ONE, PRICES)
    assert (found["groups"], found["valid"], found["selected a group"], found["words a summary"]) == (4, 0.5, 3, 3)
    assert found["of them covered"] == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert (found["dropped, not-json"], found["dropped, refusal"]) == (0.25, 0.25)
    assert (found["prompt tokens"], found["answer tokens"], found["USD"]) == (40, 20, pytest.approx(0.08))
    assert measures(OTHER, PRICES)["unsupported words a summary"] == pytest.approx(1 / 3)
    assert math.isnan(measures([_row(4, [], "refusal")], PRICES)["words a summary"])


def test_agreement_is_of_groups_valid_in_both() -> None:
    assert agreement(OTHER, ONE) == pytest.approx((1 / 3 + 1) / 2)
    assert agreement(ONE, ONE) == 1.0


def test_the_table_and_the_page_have_both(tmp_path: Path) -> None:
    shards: dict[str, list[Path]] = {}
    for name, rows in (("paper", ONE), ("strict", OTHER)):
        shards[name] = [tmp_path / name / f"{number}.parquet" for number in range(2)]
        for number, path in enumerate(shards[name]):
            tables.write(path, tables.SUMMARIES, rows[number::2])
    compare_prompts(shards, PRICES, tmp_path / "comparison.parquet", tmp_path / "comparison.md")
    rows = tables.read(tmp_path / "comparison.parquet", tables.PROMPTS).to_pylist()
    values = {(row["prompt"], row["measure"]): row["value"] for row in rows}
    assert values["paper", "valid"] == 0.5 and values["strict", "valid"] == 0.75
    assert values["paper", "agreement with the first"] == 1.0
    lines = (tmp_path / "comparison.md").read_text().splitlines()
    assert any("paper" in line and "strict" in line for line in lines)
    [dropped] = [line for line in lines if line.startswith("| dropped, not-json")]
    assert "25.0%" in dropped and " 0.0%" in dropped


@pytest.mark.parametrize("shards", [{}, {"paper": []}])
def test_one_prompt_is_not_compared(tmp_path: Path, shards: dict[str, list[Path]]) -> None:
    with pytest.raises(ConfigError, match=r"summaries.prompts names .*: two prompts at least"):
        compare_prompts(shards, PRICES, tmp_path / "a.parquet", tmp_path / "a.md")
