"""SPICE: its answers are read, and a message says why it cannot run.

CoreNLP's jars cannot be downloaded here, so a stand-in takes the program's place and gives the recorded answers.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from shared_data import SHARED, needs

from icsd.cli import main
from icsd.core.errors import InputError, ModelError
from icsd.corpora.coco_results import write_results
from icsd.stages.evaluation.bootstrap import Tokenised, score_sets
from icsd.stages.evaluation.spice import JARS, Spice, f_scores_of

RECORDED = "spice_recorded_1000.parquet"
# like java: -version prints a version; else it checks the class path and the arguments, and writes an answer
STAND_IN = """#!{python}
import json, sys
if sys.argv[1] == "-version":
    sys.exit('{version}')
assert sys.argv[1:3] == ["-Xmx8G", "-cp"] and sys.argv[4] == "edu.anu.spice.SpiceScorer"
jars = sys.argv[3].split(":")
assert jars[0].endswith("spice-1.0.jar") and jars[2] == "{jars}/*"
given = json.load(open(sys.argv[5]))
assert sys.argv[6] == "-out" and sys.argv[8:] == ["-subset", "-silent", "-threads", "1"]
if given[0]["test"] == "fail":
    sys.exit("java.lang.OutOfMemoryError")
f = lambda row: len(set(row["test"].split()) & set(" ".join(row["refs"]).split())) / 10
rows = [{{"image_id": row["image_id"], "scores": {{"All": {{"f": f(row)}}}}}} for row in given]
json.dump(rows[::-1], open(sys.argv[7], "w"))
"""


def install(folder: Path, version: str = 'openjdk version "11.0.2" 2019-01-15') -> Spice:
    """Fill a folder with files of the jars' names and the stand-in for Java."""
    (folder / "corenlp").mkdir()
    for name in JARS:
        (folder / "corenlp" / name).write_bytes(b"")
    java = folder / "java"
    java.write_text(STAND_IN.format(python=sys.executable, version=version, jars=folder / "corenlp"))
    java.chmod(0o755)
    return Spice(str(folder / "corenlp"), str(java))


def test_each_picture_has_the_score_of_its_own_record(tmp_path: Path) -> None:
    found = install(tmp_path).f_scores([["a red ball", "the ball"], ["two fish"]], ["a ball", "two crème fish here"])
    assert found.tolist() == [0.2, 0.2]


def test_the_programs_failure_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"corenlp: SPICE's Java program failed: java\.lang\.OutOfMemoryError"):
        install(tmp_path).f_scores([["a"]], ["fail"])


def test_missing_jars_are_named_with_their_address_and_folder(tmp_path: Path) -> None:
    (tmp_path / JARS[0]).write_bytes(b"")
    with pytest.raises(ModelError) as error:
        Spice(str(tmp_path), "java").jars()
    message = str(error.value)
    assert f"evaluation.spice.corenlp={tmp_path} has no {JARS[1]}" in message and JARS[0] not in message
    assert "stanford-corenlp-full-2015-12-09.zip" in message
    assert "or remove SPICE from evaluation.metrics" in message


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        ('openjdk version "17.0.15" 2025-04-15', "is Java 17; SPICE needs a JavaScript engine"),
        ("no java here", "is not a Java program (no java here)"),
    ],
)
def test_a_java_that_cannot_run_it_is_named(tmp_path: Path, version: str, problem: str) -> None:
    spice = install(tmp_path, version)
    with pytest.raises(ModelError) as error:
        spice.f_scores([["a"]], ["a"])
    assert f"evaluation.spice.java={spice.java} {problem}" in str(error.value)


@pytest.mark.parametrize("version", ['java version "1.8.0_281"', 'openjdk version "14" 2020-03-17'])
def test_java_from_8_to_14_is_accepted(tmp_path: Path, version: str) -> None:
    install(tmp_path, version).check_java()


def test_a_missing_java_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such program"):
        Spice("nowhere", str(tmp_path / "java")).check_java()


def test_a_picture_without_a_score_is_named() -> None:
    with pytest.raises(InputError, match="image_id 2: SPICE gave no score for 1 of 2 pictures"):
        f_scores_of([{"image_id": 1, "scores": {"All": {"f": 0.5}}}], [1, 2], "scores.json")


def test_the_command_line_scores_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spice = install(tmp_path)
    write_results(tmp_path / "results.json", {1: "A red ball."})
    annotations = [{"id": 1, "image_id": 1, "caption": "The red ball, here."}]
    document = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": annotations}
    (tmp_path / "captions.json").write_text(json.dumps(document))
    command = ["scores", str(tmp_path / "results.json"), "--annotations", str(tmp_path / "captions.json")]
    command += ["--metrics", "ROUGE_L", "SPICE", "--samples", "5"]
    assert main([*command, "--corenlp", spice.corenlp, "--java", spice.java]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split("|")[3].strip() == "0.200 (0.200 to 0.200)"
    assert main([*command, "--corenlp", str(tmp_path / "nowhere")]) == 1
    assert "nowhere has no stanford-corenlp-3.6.0.jar and no" in capsys.readouterr().err


@needs(RECORDED)
def test_the_mean_of_the_recorded_scores_is_the_recorded_spice() -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(SHARED / RECORDED).to_pylist()
    answer = [{"image_id": row["image_id"], "scores": json.loads(row["scores"])} for row in rows]
    f = f_scores_of(answer, [row["image_id"] for row in rows], SHARED / RECORDED)
    captions = Tokenised([row["refs"] for row in rows], [row["test"] for row in rows])
    (found,) = score_sets(captions, {"all": np.arange(len(rows))}, [], 100, 0, means={"SPICE": f})["all"]
    assert found.value == pytest.approx(0.13289, abs=5e-6)
    assert found.low < found.value < found.high
