"""A COCO results file scored against annotations of any layout, whichever captioner it is of."""

from pathlib import Path

from icsd.coco_results import read_results
from icsd.corpora import Corpus
from icsd.corpora.corpus import ALL as EVERY_SPLIT
from icsd.errors import InputError
from icsd.evaluation.scores import Score
from icsd.evaluation.scoring import Scoring, score_predicted, sets_of
from icsd.pages import markdown_table

ALL = "all"  # what the table calls all pictures; domains stand below it
DIGITS = 3  # as coco-caption prints its scores


def score_results(results: Path, annotations: Path, scoring: Scoring, partial: bool = False) -> str:
    """The scores as a Markdown table; with `partial`, of the pictures that the results have."""
    scores, pictures, captions = scores_of_results(results, annotations, scoring, partial)
    about = f"{pictures:,} pictures with {captions:,} captions, with 95% bootstrap intervals over the pictures"
    names = [score.metric for score in scores[ALL]]
    rows = [[name.removeprefix(f"{ALL}/"), *map(_cell, of_set)] for name, of_set in scores.items()]
    return "\n".join([about, "", *markdown_table(["", *names], rows)])


def scores_of_results(
    results: Path, annotations: Path, scoring: Scoring, partial: bool = False
) -> tuple[dict[str, list[Score]], int, int]:
    """The scores of all pictures and of each domain, and how many pictures and true captions there are."""
    known = {each.image_id: each for each in Corpus((annotations,), split=EVERY_SPLIT).pictures()}
    predicted = read_results(results, known.keys(), annotations, partial)
    references = {
        image_id: [caption for _, caption in sorted(known[image_id].captions)] for image_id in sorted(predicted)
    }
    _check_described(references, annotations)
    texts = {str(image_id): predicted[image_id] for image_id in references}
    true = {str(image_id): captions for image_id, captions in references.items()}
    domains = {str(each.image_id): each.domain for each in known.values() if each.domain is not None}
    scores = score_predicted(true, texts, sets_of(ALL, list(texts), domains), scoring)
    return scores, len(true), sum(map(len, true.values()))


def _check_described(references: dict[int, list[str]], annotations: Path) -> None:
    without = [image_id for image_id, captions in references.items() if not captions]
    if without:
        problem = f"has no caption, nor have {len(without) - 1:,} more, so that none can be scored against it"
        hint = "caption the image or take it out of images, and out of the results"
        raise InputError(annotations, f"image {without[0]}", problem, hint)


def _cell(score: Score) -> str:
    return " ".join([f"{score.value:.{DIGITS}f}", f"({score.low:.{DIGITS}f} to {score.high:.{DIGITS}f})"])
