"""The work of training and of judging captioners."""

from collections.abc import Mapping
from dataclasses import replace

import pyarrow.compute as pc

from icsd.config import ARMS, Config
from icsd.views.estimate.amounts import CONFIG, GUESS, Amount, Texts
from icsd.views.run import Run

CAPTIONS_OF_A_PHOTOGRAPH = 5  # of COCO and Flickr30k


def trainings(run: Run) -> Amount:
    """One training for each arm and seed; those with a history are done."""
    done = sum(bool(run.history(*each).there) for each in run.captioners)
    return Amount(len(run.captioners), done, CONFIG)


def decoded(config: Config, run: Run, corpus: Texts, arms: Mapping[str, int]) -> Amount:
    """The pictures that trainings decode. Each training keeps its own until it ends."""
    images = {arm: _images(config, run, corpus, arms, arm) for arm in run.arms}
    found = Amount(0)
    for arm, seed in run.captioners:
        found = found.plus(images[arm], images[arm] if run.history(arm, seed).there else 0)
    return found


def _images(config: Config, run: Run, corpus: Texts, arms: Mapping[str, int], arm: str) -> float:
    """The pictures of an arm: those of its pairs, else the sentences that are drawn, else a guess for photographs."""
    if run.pairs(arm).there:
        return len(pc.unique(run.pairs(arm).rows(["image_id"])["image_id"]))
    if ARMS[arm].photographs:
        return config.dataset.real_share * (run.photographs("real").count() or corpus.count / CAPTIONS_OF_A_PHOTOGRAPH)
    return arms[ARMS[arm].drawn_by.name]


def judged(config: Config, run: Run) -> Amount:
    """The test pictures that CLIPScore encodes, once for all captioners."""
    found = Amount(0, source=CONFIG)
    for test in run.tests if config.evaluation.clip_model else ():
        pictures = _test_pictures(config, run, test)
        found = replace(found.plus(pictures, pictures if run.clip_vectors(test).there else 0), source=GUESS)
    return found


def judgements(config: Config, run: Run) -> Amount:
    """The predicted captions that CLIPScore encodes, of each captioner on each test set."""
    found = Amount(0, source=CONFIG)
    for test in run.tests if config.evaluation.clip_model else ():
        for arm, seed in run.captioners:
            pictures = _test_pictures(config, run, test)
            done = pictures if run.test_scores(arm, seed, test).there else 0
            found = replace(found.plus(pictures, done), source=GUESS)
    return found


def _test_pictures(config: Config, run: Run, test: str) -> int:
    return run.photographs(test).count() or config.estimate.test_pictures
