"""profiles/slurm, as far as it shows without a cluster; tests/slurm runs on one."""

import re
from pathlib import Path
from typing import Any

import yaml
from checkout import Checkout

ROOT = Path(__file__).parents[2]
RULES = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
WITHOUT_GPU = {"score_captions"}  # it could use one, but most of its minutes are Java's


def _profile() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())


def _rules_with(resource: str) -> set[str]:
    """Rules in whose text a line of resources begins so."""
    blocks = re.findall(r"^ *(?:use rule \w+ as|rule) (\w+).*?:\n(.*?)(?=^\S|\Z)", RULES, re.MULTILINE | re.DOTALL)
    return {name for name, body in blocks if f"        {resource}" in body}


def test_the_profile_is_found_at_the_root_as_it_is_typed() -> None:
    assert (ROOT / "slurm").readlink() == Path("profiles/slurm")


def test_every_rule_that_can_use_a_gpu_asks_for_it_on_a_cluster() -> None:
    asked = {rule for rule, resources in _profile()["set-resources"].items() if "gpu" in resources}
    by_config = {"summarize_groups", "summarize_by_prompt", "train_captioner"}
    assert asked == (_rules_with("gpu=") - WITHOUT_GPU - by_config)


def test_no_rule_knows_the_cluster() -> None:
    assert not re.search(r"partition=|account=|constraint=|qos=|gres=|slurm_extra=\"|^    group:", RULES, re.MULTILINE)
    # a signal, and as many GPUs on each of several nodes as the config has processes: the same on all clusters
    assert re.findall(r"slurm_extra=(.*),", RULES) == ["cfg.captioner.sbatch"]
    assert "slurm-array-jobs" not in _profile()


def test_every_rule_fits_into_a_partition() -> None:
    """The largest resources of a rule, and their limits after retries, fit."""
    partitions = yaml.safe_load((ROOT / "profiles/slurm/partitions.yaml").read_text())["partitions"].values()
    most = _profile()["default-resources"]
    memory = max(most["most_mem_mb"], *map(int, re.findall(r"(?:mem_mb=|jobs\.memory\()(\d+)", RULES)))
    minutes = max(most["most_minutes"], *map(int, re.findall(r"(?:runtime=|jobs\.minutes\()\s*(\d+)", RULES)))
    for limits in partitions:
        days, hours, *_ = re.split(r"[-:]", limits["max_runtime"])
        assert memory <= limits["max_mem_mb"]
        assert minutes <= int(days) * 1440 + int(hours) * 60


def test_the_profile_is_added_to_the_default_and_reruns_nothing(done: Checkout) -> None:
    script = done.folder / "scripts/embed_captions.py"
    script.write_text(script.read_text() + "\n# edited\n")
    said = done.run("--dry-run", "--profile", "profiles/slurm")
    assert "profiles/slurm and workflow specific profile profiles/default" in said.stderr
    assert "Nothing to be done" in said.stdout + said.stderr
