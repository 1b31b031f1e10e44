"""Caption metrics of coco-caption that need no Java, and the reference captions that they compare with."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icsd.core import tables
from icsd.core.errors import ConfigError, InputError
from icsd.core.ids import real_image_id
from icsd.core.languages import ENGLISH, INSTALL, folded_words

BLEU_ORDER = 4
_NO_WORD = re.compile(r"[^\w' ]+")

References = Sequence[Sequence[str]]  # the tokenised reference captions of each picture


def read_domains(domains: Path | str) -> dict[str, str]:
    """The domain of each picture that has one, by its id in the IMAGES tables."""
    return {real_image_id(row["image_id"]): row["domain"] for row in tables.read(domains, tables.DOMAINS).to_pylist()}


def read_references(captions: Path | str) -> dict[str, list[str]]:
    """The captions of each picture by its id in the IMAGES tables, in the order of their ids."""
    rows = tables.read(captions, tables.CAPTIONS).to_pylist()
    if not rows:
        hint = "point pictures in config/config.yaml at annotations that hold captions"
        raise InputError(captions, "", "holds no caption", hint)
    references: dict[str, list[str]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["image_id"], row["caption_id"])):
        references[real_image_id(row["image_id"])].append(row["caption"])
    return dict(references)


def plain_tokens(caption: str, language: str = ENGLISH) -> str:
    """Lower-cased words with a space between: PTB tokens of plain words, without starting Java.

    It differs at clitics ("man's" stays one word) and hyphens. Good enough to rank checkpoints, whose
    references are treated alike; test scores use the PTB tokeniser. Of other languages they are ICU's words, for
    test scores too.
    """
    if language != ENGLISH:
        return " ".join(folded_words(caption, language))
    return " ".join(_NO_WORD.sub(" ", caption.lower()).split())


def cider(references: References, candidates: Sequence[str]) -> np.ndarray:
    """CIDEr-D of each picture, [n], 0 to 10; document frequencies of these references (arXiv:1411.5726)."""
    from pycocoevalcap.cider.cider import Cider

    return np.asarray(Cider().compute_score(*_as_coco(references, candidates))[1], dtype=np.float64)


def rouge_l(references: References, candidates: Sequence[str]) -> np.ndarray:
    """ROUGE-L of each picture, [n], 0 to 1 (F with beta 1.2 of the best recall and the best precision)."""
    from pycocoevalcap.rouge.rouge import Rouge

    return np.asarray(Rouge().compute_score(*_as_coco(references, candidates))[1], dtype=np.float64)


def bleu_statistics(references: References, candidates: Sequence[str]) -> np.ndarray:
    """Counts that BLEU sums over pictures, [n, 10]: lengths of caption and nearest reference, n-grams right, all."""
    from pycocoevalcap.bleu.bleu_scorer import cook_refs, cook_test

    cooked = [cook_test(text, cook_refs(refs)) for text, refs in zip(candidates, references, strict=True)]
    lengths = [[one["testlen"], _closest(one["reflen"], one["testlen"])] for one in cooked]
    rows = [[*length, *one["correct"], *one["guess"]] for length, one in zip(lengths, cooked, strict=True)]
    return np.asarray(rows, dtype=np.float64)


def bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU-1 to BLEU-4 [..., 4] of summed `bleu_statistics` [..., 10]; the constants are coco-caption's."""
    given, wanted = sums[..., 0], sums[..., 1]
    right, guessed = sums[..., 2 : 2 + BLEU_ORDER], sums[..., 2 + BLEU_ORDER :]
    logs = np.cumsum(np.log((right + 1e-15) / (guessed + 1e-9)), axis=-1) / np.arange(1, BLEU_ORDER + 1)
    ratio = (given + 1e-15) / (wanted + 1e-9)
    return np.exp(logs + np.minimum(0.0, 1 - 1 / ratio)[..., None])


def chrf_statistics(references: References, candidates: Sequence[str]) -> np.ndarray:
    """Counts that chrF sums over pictures, [n, 18]: of 1 to 6 characters those of caption, reference and both.

    Of several references they are those of the best. ConfigError without the package.
    """
    scorer = _chrf()
    info = [scorer._extract_reference_info(list(texts)) for texts in references]
    rows = [scorer._compute_segment_statistics(text, each) for text, each in zip(candidates, info, strict=True)]
    return np.asarray(rows, dtype=np.float64)


def chrf(sums: np.ndarray) -> float:
    """ChrF, 0 to 1, of summed `chrf_statistics` [18], with sacrebleu's defaults (Popović, "chrF", WMT 2015)."""
    return float(_chrf()._compute_f_score(list(sums))) / 100


def _chrf() -> Any:
    try:
        from sacrebleu.metrics.chrf import CHRF  # late: the other metrics do not need it
    except ImportError:
        raise ConfigError(f"chrF of evaluation.metrics needs the package sacrebleu: {INSTALL}") from None
    return CHRF()


def _closest(lengths: Sequence[int], length: int) -> int:
    """The length nearest to `length`; ties go to the shorter, as in coco-caption."""
    return min((abs(each - length), each) for each in lengths)[1]


def _as_coco(references: References, candidates: Sequence[str]) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """The dictionaries that pycocoevalcap takes, keyed by position."""
    true = {row: list(texts) for row, texts in enumerate(references)}
    return true, {row: [text] for row, text in enumerate(candidates)}
