"""The files that name versions agree: ranges in pyproject.toml, pins in the lock and in the conda environment."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.pins import environment_page, locked_versions, main

ROOT = Path(__file__).parents[3]
DOCUMENT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = DOCUMENT["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
# a pin with its marker, then a line for each hash, joined by backslashes
ENTRIES = [entry.split(" \\\n    ") for entry in re.split(r"\n(?! )", LOCK.strip()) if not entry.startswith("#")]
ENVIRONMENT = yaml.safe_load((ROOT / "envs" / "icsd.yaml").read_text(encoding="utf-8"))


def _pins(lines: Iterable[str]) -> dict[str, Requirement]:
    return {canonicalize_name(each.name): each for each in map(Requirement, lines)}


def _version(pin: Requirement) -> str:
    (only,) = pin.specifier
    assert only.operator == "=="
    return only.version


LOCKED = _pins(pin for pin, *_ in ENTRIES)
REQUIRED = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"] + DOCUMENT["build-system"]["requires"]


@pytest.mark.parametrize("text", REQUIRED)
def test_lock_has_a_version_in_the_range_that_the_project_asks_for(text: str) -> None:
    requirement = Requirement(text)
    assert _version(LOCKED[canonicalize_name(requirement.name)]) in requirement.specifier


def test_conda_environment_has_the_locks_versions_of_what_the_project_needs_to_run() -> None:
    (pip,) = (each["pip"] for each in ENVIRONMENT["dependencies"] if isinstance(each, dict))
    pinned = {name: _version(pin) for name, pin in _pins(pip).items()}
    assert pinned == {name: _version(LOCKED[name]) for name in _pins(PROJECT["dependencies"])}


def test_conda_environments_python_is_one_that_the_project_runs_on() -> None:
    (python,) = (each for each in ENVIRONMENT["dependencies"] if str(each).startswith("python="))
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python.partition("=")[2])


def test_lock_has_exact_versions_only_and_no_address() -> None:
    pin = re.compile(r"[a-z0-9-]+==[\w.]+( ; [\w ='\"<>!.()]+)?")
    assert [line for line, *_ in ENTRIES if not pin.fullmatch(line)] == []
    assert "://" not in LOCK


def test_lock_has_a_hash_of_every_file_of_a_version() -> None:
    assert [pin for pin, *hashes in ENTRIES if not hashes] == []
    wrong = [line for _, *hashes in ENTRIES for line in hashes if not re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line)]
    assert wrong == []


def test_lock_leaves_cuda_to_linux() -> None:
    cuda = [pin for name, pin in LOCKED.items() if name.startswith(("nvidia-", "cuda-", "triton"))]
    assert cuda
    mac = {"platform_system": "Darwin", "sys_platform": "darwin"}
    assert all(pin.marker and not pin.marker.evaluate(mac) for pin in cuda)


def test_environment_page_by_hand() -> None:
    versions = locked_versions(
        "# a comment\nnumpy==2.4.6 \\\n    --hash=sha256:00\nopen-clip-torch==3.3.0 ; sys == 'a'\n"
    )
    assert versions == {"numpy": "2.4.6", "open-clip-torch": "3.3.0"}
    project = {"requires-python": ">=3.11", "dependencies": ["open_clip_torch>=3.3,<4", "numpy>=2"]}
    page = yaml.safe_load(environment_page(project, versions))
    assert page["dependencies"] == ["python=3.11", "pip", {"pip": ["numpy==2.4.6", "open-clip-torch==3.3.0"]}]


def test_the_conda_environment_is_what_make_lock_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyproject.toml", "requirements.lock"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "envs").mkdir()
    monkeypatch.chdir(tmp_path)
    main([])
    assert (tmp_path / "envs/icsd.yaml").read_bytes() == (ROOT / "envs/icsd.yaml").read_bytes()
