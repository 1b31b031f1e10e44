"""SPICE (arXiv:1607.08822) by its authors' Java program, which pycocoevalcap brings.

No package brings CoreNLP's jars and a Java of version 8 to 14. The config names where they are.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icsd.core.errors import InputError, ModelError

JARS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
SOURCE = "https://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"
NEWEST_JAVA = 14  # the last with a JavaScript engine, which SPICE writes its result with
MEMORY = "8G"  # pycocoevalcap's default
ALTERNATIVE = "or remove SPICE from evaluation.metrics in config/config.yaml"


@dataclass(frozen=True)
class Spice:
    """SPICE with the folder of CoreNLP's jars and the Java program that runs it."""

    corenlp: str
    java: str

    def jars(self) -> Path:
        """Return the folder with CoreNLP's jars. ModelError, with their address, if no folder has them."""
        folders = [Path(self.corenlp), _own_folder() / "lib"]
        for folder in folders:
            if all((folder / name).is_file() for name in JARS):
                return folder
        missing = [name for name in JARS if not (folders[0] / name).is_file()]
        raise ModelError(
            f"evaluation.spice.corenlp={self.corenlp} has no {' and no '.join(missing)}, nor has {folders[1]}. "
            f"SPICE needs them: download {SOURCE} (384 MB) and put its jars into the folder, {ALTERNATIVE}"
        )

    def check_java(self) -> None:
        """Raise ModelError if the Java program does not start or is too new."""
        program = shutil.which(self.java)
        found = subprocess.run([program, "-version"], capture_output=True, check=False) if program else None
        said = (found.stderr + found.stdout).decode(errors="replace") if found else "there is no such program"
        version = re.search(r'version "(?:1\.)?(\d+)', said)
        if version is None:
            problem = f"is not a Java program ({said.strip()[:200]})"
        elif int(version[1]) > NEWEST_JAVA:
            problem = (
                f"is Java {version[1]}; SPICE needs a JavaScript engine, which Java has up to version {NEWEST_JAVA}"
            )
        else:
            return
        hint = "name a Java of version 8 to 14, such as conda's openjdk=11"
        raise ModelError(f"evaluation.spice.java={self.java} {problem}; {hint}, {ALTERNATIVE}")

    def f_scores(self, references: Sequence[Sequence[str]], candidates: Sequence[str], threads: int = 1) -> np.ndarray:
        """Return SPICE of each picture, [n], 0 to 1. The captions must be tokenised."""
        jars = self.jars()
        self.check_java()
        rows = [
            {"image_id": number, "test": candidate, "refs": list(captions)}
            for number, (captions, candidate) in enumerate(zip(references, candidates, strict=True))
        ]
        with tempfile.TemporaryDirectory() as folder:
            given, answer = Path(folder) / "captions.json", Path(folder) / "scores.json"
            given.write_text(json.dumps(rows), encoding="ascii")  # Java reads it in the machine's encoding
            classes = os.pathsep.join([str(_own_folder() / "spice-1.0.jar"), f"{_own_folder() / 'lib'}/*", f"{jars}/*"])
            options = ["-out", str(answer), "-subset", "-silent", "-threads", str(threads)]
            command = [self.java, f"-Xmx{MEMORY}", "-cp", classes, "edu.anu.spice.SpiceScorer", str(given), *options]
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode or not answer.exists():
                said = (done.stdout + done.stderr).decode(errors="replace").strip()[-500:]
                raise InputError(jars, "", f"SPICE's Java program failed: {said}", "check the folder and the Java")
            return f_scores_of(json.loads(answer.read_bytes()), range(len(rows)), answer)


def f_scores_of(answer: Sequence[Mapping[str, Any]], image_ids: Sequence[int], path: Path | str) -> np.ndarray:
    """Read the F of all tuples for each of the ids, [n], from SPICE's output. Its mean is the SPICE of the pictures."""
    found = {record["image_id"]: record["scores"]["All"]["f"] for record in answer}
    without = [image_id for image_id in image_ids if found.get(image_id) is None]
    if without:
        problem = f"SPICE gave no score for {len(without):,} of {len(image_ids):,} pictures"
        raise InputError(path, f"image_id {without[0]}", problem, "run again")
    return np.asarray([found[image_id] for image_id in image_ids], dtype=np.float64)


def _own_folder() -> Path:
    """Return SPICE's folder in pycocoevalcap, without importing the package."""
    package = importlib.util.find_spec("pycocoevalcap")
    if package is None or not package.submodule_search_locations:
        raise ModelError("pycocoevalcap, which brings SPICE, is not installed; install the project's requirements")
    return Path(package.submodule_search_locations[0]) / "spice"
