"""An arm that is one entry of ARMS more is planned by all rules."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from checkout import SNAKEMAKE, offline

ROOT = Path(__file__).parents[2]
ENTRIES = """
        Arm("multi_two", "The pictures of multi, with two captions each.", pictures="multi", captions=2),
        Arm("matched_few", "As many pictures of multi's captions as multi has.", sentences="pairs", balanced=True),
"""


def test_an_added_arm_is_planned_from_captions_to_scores(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src/icsd", tmp_path / "src/icsd")
    arms = tmp_path / "src/icsd/config/arms.py"
    last = '        Arm("real"'
    arms.write_text(arms.read_text(encoding="utf-8").replace(last, ENTRIES + last), encoding="utf-8")
    for name in ("Snakefile", "rules", "scripts", "profiles", "config", "resources", "report", "envs"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [SNAKEMAKE, "--dry-run", "--cores", "1", "--config", "arms=[multi_two, matched_few]"],
        cwd=tmp_path, env=offline(os.environ) | {"PYTHONPATH": str(tmp_path / "src")}, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    planned = set(
        re.findall(r"^rule (\w+):$(?:\n    .*)*?\n    wildcards: (?:arm|drawing)=(\w+)", done.stdout, re.MULTILINE)
    )
    assert {arm for rule, arm in planned if rule == "build_dataset"} == {"multi", "multi_two", "matched_few"}
    assert {arm for rule, arm in planned if rule == "generate_images"} == {"multi", "matched_few"}
    assert {arm for rule, arm in planned if rule == "train_captioner"} == {"multi_two", "matched_few"}
    assert "summarize_groups" in done.stdout
    assert {("select_sentences", "multi"), ("select_matched_sentences", "matched_few")} <= planned
