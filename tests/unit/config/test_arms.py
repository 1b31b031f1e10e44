"""Arms that a run draws pictures for, and the entries of ARMS."""

import pytest

from icsd.config.arms import ARMS, Arm, arms_with_pictures_of, drawing_names, drawn_arms


@pytest.mark.parametrize(
    ("arms", "drawn"),
    [
        (["real"], []),
        (["multi", "real"], ["multi"]),
        (["single"], ["multi", "single"]),
        (["single_matched"], ["multi", "single_matched"]),
        (["multi_head"], ["multi"]),
        (["neighbors"], ["neighbors"]),
        (list(ARMS), ["multi", "single", "single_matched", "neighbors"]),
    ],
)
def test_a_run_draws_what_its_arms_need(arms: list[str], drawn: list[str]) -> None:
    assert drawn_arms(arms) == drawn


def test_an_arm_has_its_own_pictures_or_another_arms_or_photographs() -> None:
    for arm in ARMS.values():
        assert [bool(arm.sentences), bool(arm.pictures), arm.photographs].count(True) == 1
        assert arm.needs <= set(ARMS)
        assert arm.about.endswith(".")
    summarized = ["multi", "single_matched", "multi_head"]
    assert [name for name, arm in ARMS.items() if arm.uses_groups] == [*summarized, "neighbors"]
    assert [name for name, arm in ARMS.items() if arm.uses_summaries] == summarized


def test_an_added_arm_brings_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARMS, "alone", Arm("alone", "A picture a caption.", sentences="captions"))
    monkeypatch.setitem(ARMS, "two", Arm("two", "Two captions.", pictures="single_matched", captions=2))
    assert drawn_arms(["alone"]) == ["alone"]
    assert drawn_arms(["two"]) == ["multi", "single_matched"]
    assert arms_with_pictures_of("single_matched") == ["single_matched", "two"]
    assert arms_with_pictures_of("unknown") == ["unknown"]


def test_candidates_have_drawings_of_their_own() -> None:
    assert drawing_names("multi", 1) == ["multi"]
    assert drawing_names("multi", 3) == ["multi", "multi/candidate-1", "multi/candidate-2"]
