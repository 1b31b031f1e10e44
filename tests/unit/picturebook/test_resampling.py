"""Intervals over drawings, trainings and test pictures, where the answer is known."""

import numpy as np
import pytest

from icsd.picturebook.claim import PictureCounts
from icsd.picturebook.resampling import (
    Training,
    Values,
    difference,
    mean_of,
    resampled_trainings,
    score_resamples,
    t_interval,
)
from icsd.stages.evaluation.bootstrap import resampled

SAMPLES = 2000
TRAININGS = [(drawing, seed) for drawing in (1, 2, 3) for seed in (0, 1, 2)]


def _counts(cider: list[float], objects: list[list[float]]) -> PictureCounts:
    return PictureCounts(np.array(cider), np.ones((len(cider), 10)), np.array(objects))


def _constant(values: dict[Training, float]) -> dict[Training, Values]:
    """Captioners with the same value on every test picture."""
    return {training: {"CIDEr": np.full(1 + SAMPLES, value)} for training, value in values.items()}


def test_scores_of_resamples_by_hand() -> None:
    pictures = _counts([1.0, 3.0], [[2, 1], [1, 1]])
    values = score_resamples(pictures, np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]))
    assert values["CIDEr"].tolist() == [2, 1, 3]
    assert values["objects"].tolist() == [1.5, 2, 1]
    assert values["true objects"] == pytest.approx([2 / 3, 1 / 2, 1])


def test_a_captioner_that_names_nothing_has_no_share() -> None:
    nothing = score_resamples(_counts([1.0, 0.0], [[0, 0], [0, 0]]), resampled(2, samples=10, seed=0))
    assert np.isnan(nothing["true objects"]).all()


def test_each_drawing_has_equal_weight_whatever_its_number_of_trainings() -> None:
    weights = resampled_trainings([(1, 0), (1, 1), (1, 2), (2, 0)], samples=4000, seed=0)
    assert weights[0] == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert weights.sum(axis=1) == pytest.approx(np.ones(4001))
    assert weights[1:].mean(axis=0) == pytest.approx(weights[0], abs=0.01)
    assert np.isin(np.round(weights[1:, 3] * 2), [0, 1, 2]).all()  # the only training of a drawing is taken with it


def test_the_interval_of_three_drawings_that_differ_is_their_range() -> None:
    trained = _constant({(drawing, seed): float(drawing) for drawing, seed in TRAININGS})
    found = mean_of(trained, "CIDEr")
    assert [found.value, found.low, found.high] == pytest.approx([2, 1, 3])


def test_the_luck_of_training_alone_has_the_variance_of_its_mean() -> None:
    values = np.random.default_rng(0).normal(size=(10, 5))
    values -= values.mean(axis=1, keepdims=True)  # drawings do not differ
    trained = _constant({(drawing, seed): values[drawing, seed] for drawing in range(10) for seed in range(5)})
    found = mean_of(trained, "CIDEr")
    expected = values.std() / 50**0.5
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * expected, rel=0.1)


@pytest.mark.parametrize(("drawings", "seeds", "times"), [(3, 3, 4 / 3), (2, 2, 1), (3, 1, 2 / 3), (1, 3, 2 / 3)])
def test_the_variance_of_the_luck_of_training_is_counted_in_both_stages(
    drawings: int, seeds: int, times: float
) -> None:
    trainings = [(drawing, seed) for drawing in range(drawings) for seed in range(seeds)]
    weights = resampled_trainings(trainings, SAMPLES, seed=0)[1:]
    worlds = np.random.default_rng(0).normal(size=(SAMPLES, len(trainings)))  # drawings do not differ
    variance = (weights @ worlds.T).var(axis=0).mean()
    assert variance == pytest.approx(times / len(trainings), rel=0.06)


def test_one_drawing_with_one_seed_has_no_luck_of_either() -> None:
    found = mean_of(_constant({(1, 0): 1.5}), "CIDEr")
    assert [found.value, found.low, found.high] == [1.5] * 3


def test_one_captioner_that_names_nothing_in_a_resample_leaves_no_bounds() -> None:
    counts = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    trained = {
        (1, seed): score_resamples(_counts([1.0, 1.0], objects), counts)
        for seed, objects in enumerate(([[1, 1], [1, 0]], [[0, 0], [2, 1]]))
    }
    found = mean_of(trained, "true objects")
    assert found.value == 0.5 and np.isnan([found.low, found.high]).all()


def test_equal_captioners_have_the_interval_of_the_test_pictures() -> None:
    cider = np.random.default_rng(0).normal(size=400)
    counts = resampled(400, SAMPLES, seed=0)
    of_one = score_resamples(_counts(cider.tolist(), [[1, 1]] * 400), counts)
    found = mean_of(dict.fromkeys(TRAININGS, of_one), "CIDEr")
    assert [found.low, found.high] == pytest.approx(np.percentile(of_one["CIDEr"][1:], [2.5, 97.5]))


def test_a_gain_that_every_drawing_shares_has_no_width_however_much_they_differ() -> None:
    other = _constant({(drawing, seed): float(drawing + seed) for drawing, seed in TRAININGS})
    better = _constant({(drawing, seed): drawing + seed + 0.25 for drawing, seed in TRAININGS})
    found, by_drawing = difference(better, other, "CIDEr")
    assert [found.value, found.low, found.high, *by_drawing] == pytest.approx([0.25] * 6)


def test_a_difference_is_of_the_trainings_that_both_sides_have() -> None:
    better = _constant({(1, 0): 1.0, (1, 1): 3.0, (2, 0): 5.0, (3, 0): 100.0})
    other = _constant({(1, 0): 0.0, (1, 1): 0.0, (2, 0): 1.0, (2, 1): 50.0})
    found, by_drawing = difference(better, other, "CIDEr")
    assert by_drawing == [2, 4] and found.value == pytest.approx(3)


def test_sides_without_a_common_training_have_no_difference() -> None:
    with pytest.raises(ValueError, match="no drawing and seed in common"):
        difference(_constant({(1, 0): 1.0}), _constant({(2, 0): 1.0}), "CIDEr")


def test_the_interval_by_t_of_three_drawings_by_hand() -> None:
    # mean 2, standard deviation 1, 4.303 / sqrt(3)
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 2.484, 2 + 2.484), abs=1e-3)
    assert t_interval([1.0]) is None
