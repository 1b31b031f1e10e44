"""The places that name versions agree: ranges in pyproject.toml, pins in the lock and in the conda environment."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.pins import asked, environment_page, installed, lock_page

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK_LINES = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
ENVIRONMENT = yaml.safe_load((ROOT / "envs" / "icsd.yaml").read_text(encoding="utf-8"))


def _pins(lines: list[str]) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(each.name): each for each in found}


def _version(pin: Requirement) -> str:
    (only,) = pin.specifier
    assert only.operator == "=="
    return only.version


LOCKED = _pins(LOCK_LINES)
ASKED = asked(ROOT / "pyproject.toml", to_run_only=False)


@pytest.mark.parametrize("requirement", ASKED, ids=str)
def test_lock_has_a_version_in_the_range_that_the_project_asks_for(requirement: Requirement) -> None:
    assert _version(LOCKED[canonicalize_name(requirement.name)]) in requirement.specifier


def test_conda_environment_has_the_locks_versions_of_what_the_project_needs_to_run() -> None:
    (pip,) = (each["pip"] for each in ENVIRONMENT["dependencies"] if isinstance(each, dict))
    pinned = {name: _version(pin) for name, pin in _pins(pip).items()}
    names = {canonicalize_name(each.name) for each in asked(ROOT / "pyproject.toml", to_run_only=True)}
    assert pinned == {name: _version(LOCKED[name]) for name in names}


def test_conda_environments_python_is_one_that_the_project_runs_on() -> None:
    (python,) = (each for each in ENVIRONMENT["dependencies"] if str(each).startswith("python="))
    assert Requirement(f"python{PROJECT['project']['requires-python']}").specifier.contains(python.partition("=")[2])


def test_lock_has_exact_versions_only_and_no_address() -> None:
    pin = re.compile(r"[a-z0-9-]+==[\w.]+( ; [\w ='\"]+)?")
    assert [line for line in LOCK_LINES if not (line.startswith("#") or pin.fullmatch(line))] == []
    assert "://" not in "".join(LOCK_LINES)


def test_lock_leaves_cuda_to_linux() -> None:
    cuda = [pin for name, pin in LOCKED.items() if name.startswith(("nvidia-", "cuda-", "triton"))]
    assert cuda
    assert all(pin.marker and not pin.marker.evaluate({"platform_system": "Darwin"}) for pin in cuda)


def test_pages_by_hand() -> None:
    versions = {"numpy": "2.4.6", "nvidia-nccl-cu13": "2.30"}
    assert lock_page(versions).splitlines()[1:] == [
        "numpy==2.4.6",
        'nvidia-nccl-cu13==2.30 ; platform_system == "Linux" and platform_machine == "x86_64"',
    ]
    page = yaml.safe_load(environment_page(versions, [Requirement("numpy>=2")]))
    assert page["dependencies"][1:] == ["pip", {"pip": ["numpy==2.4.6"]}]


def test_what_is_required_comes_with_what_that_requires() -> None:
    found = installed([Requirement("jinja2>=3")])
    assert list(found) == ["jinja2", "markupsafe"]
    assert found["jinja2"].startswith("3.")
