"""The work of training and of judging captioners."""

from dataclasses import replace

from icsd.config import Config
from icsd.views.estimate.amounts import CONFIG, GUESS, Amount
from icsd.views.run import Run


def trainings(run: Run) -> Amount:
    """One training for each arm and seed; those with a history are done."""
    done = sum(bool(run.history(*each).there) for each in run.captioners)
    return Amount(len(run.captioners), done, CONFIG)


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
