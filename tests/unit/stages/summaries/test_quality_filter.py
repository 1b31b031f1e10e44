from pathlib import Path
from typing import Any

import pytest

from icsd.config import QualityConfig
from icsd.core.errors import ModelError
from icsd.stages.summaries.quality import Group, QualityFilter, Summary, dropped

MODEL = str(Path(__file__).parents[4] / "resources" / "picturebook" / "stable-diffusion")
GROUP = Group(1, (10, 11, 12), ("a red ball", "a kite on the beach", "a dog"))


def _judged(text: str, places: tuple[int, ...] = (0, 1), **limits: Any) -> Summary:
    return QualityFilter(QualityConfig(**limits))(GROUP, Summary(text, places, None, 5, 6))


def test_a_good_summary_keeps_its_text_and_gets_its_quality() -> None:
    summary = _judged("A red ball and a kite on the beach.", image_model=MODEL)
    assert summary.text and summary.reason is None and summary.quality is not None
    assert (summary.quality.unsupported, summary.quality.covered) == ((), (0, 1))
    assert summary.quality.image_tokens == 12  # nine words, a full stop, start and end mark


@pytest.mark.parametrize(
    ("text", "limits", "reason"),
    [
        ("A purple cat under an umbrella.", {}, "unsupported: 3 of 3 words stand in no selected caption: purple, cat"),
        ("一只狗在海滩上。", {}, "unsupported: 1 of 1 words stand in no selected caption: \\u4e00"),
        ("A red ball and a cat.", {"max_unsupported_share": 0.3}, "unsupported: 1 of 3"),
        ("A red ball.", {"min_covered": 2}, "covers-too-few: all words of 1 selected captions, not of 2"),
        ("A red ball " * 40, {"image_model": MODEL, "must_fit": True}, "does-not-fit: 122 tokens, and the image model"),
    ],
)
def test_a_summary_beyond_a_limit_is_dropped_with_its_quality_and_may_be_repaired(
    text: str, limits: dict[str, Any], reason: str
) -> None:
    summary = _judged(text, **limits)
    assert summary.text is None and summary.selected == () and summary.reason is not None
    assert summary.reason.startswith(reason), summary.reason
    assert summary.repairable and summary.quality is not None and summary.prompt_tokens == 5


def test_what_is_within_the_limits_is_not_dropped() -> None:
    assert _judged("A red ball and a cat.").reason is None  # one word of three
    assert _judged("A red ball.", min_covered=1).reason is None


def test_a_dropped_group_stays_as_it_is() -> None:
    assert QualityFilter(QualityConfig())(GROUP, dropped("refusal", "No.")) == dropped("refusal", "No.")


def test_a_missing_tokenizer_is_an_error_before_any_request(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"summaries\.quality\.image_model"):
        QualityFilter(QualityConfig(image_model=str(tmp_path)))
