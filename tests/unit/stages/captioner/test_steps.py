import numpy as np
import torch

from icsd.stages.captioner.augmentation import Augmentation, augment, random_views
from icsd.stages.captioner.stream import step_rows


def test_every_epoch_has_each_row_once():
    rows = np.concatenate([step_rows(step, 4, 10, seed=3) for step in range(5)])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert list(rows[:10]) != list(rows[10:])


def test_step_rows_wrap_around_a_small_dataset():
    assert sorted(step_rows(0, 6, 2, seed=0)) == [0, 0, 0, 1, 1, 1]


def test_step_rows_change_with_the_seed():
    assert list(step_rows(0, 20, 20, seed=0)) != list(step_rows(0, 20, 20, seed=1))


def test_no_augmentation_is_the_same_picture():
    pixels = torch.rand(2, 3, 8, 8)
    assert augment(pixels, random_views(2, Augmentation(), np.random.default_rng(0))) is pixels


def test_flip_mirrors_about_half_of_the_pictures():
    pixels = torch.rand(64, 3, 8, 8)
    flipped = augment(pixels, random_views(64, Augmentation(flip=True), np.random.default_rng(0)))
    same = torch.isclose(flipped, pixels, atol=1e-5).flatten(1).all(dim=1)
    turned = torch.isclose(flipped, pixels.flip(-1), atol=1e-5).flatten(1).all(dim=1)
    assert (same ^ turned).all()
    assert 20 < int(turned.sum()) < 44


def test_crop_stays_inside_the_picture():
    ramp = torch.linspace(0, 1, 16).expand(32, 3, 16, 16)  # brightness rises from left to right
    cropped = augment(ramp, random_views(32, Augmentation(crop=0.5), np.random.default_rng(0)))
    width = cropped[..., -1] - cropped[..., 0]
    assert ((width > 0.5) & (width < 1.05)).all()
    assert (cropped.diff(dim=-1) > -0.01).all()
