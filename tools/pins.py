"""The exact versions that the project is installed with, written out from the packages that are installed.

`requirements.lock` has all of them, `envs/icsd.yaml` those that pyproject.toml names as needed to run.
"""

import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT, LOCK, ENVIRONMENT = Path("pyproject.toml"), Path("requirements.lock"), Path("envs/icsd.yaml")
# torch brings the libraries of its CUDA build along; there are none for other systems
LINUX_ONLY = ("nvidia-", "cuda-", "triton")
LINUX = 'platform_system == "Linux" and platform_machine == "x86_64"'


def asked(project: Path = PROJECT, *, to_run_only: bool) -> list[Requirement]:
    """What pyproject.toml names as needed to run and, unless `to_run_only`, to develop and to build."""
    sections = tomllib.loads(project.read_text(encoding="utf-8"))
    named = list(sections["project"]["dependencies"])
    if not to_run_only:
        named += sections["project"]["optional-dependencies"]["dev"] + sections["build-system"]["requires"]
    return [Requirement(each) for each in named]


def installed(requirements: Sequence[Requirement]) -> dict[str, str]:
    """The version installed of all that is required here, directly or by what is required, by canonical name."""
    found: dict[str, str] = {}
    waiting, done = list(requirements), set()
    while waiting:
        required = waiting.pop()
        name, extras = canonicalize_name(required.name), required.extras or {""}
        if (name, *sorted(extras)) not in done:
            done.add((name, *sorted(extras)))
            found[name] = version(name)
            waiting += [each for each in map(Requirement, requires(name) or []) if _applies(each, extras)]
    return dict(sorted(found.items()))


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)


def lock_page(versions: Mapping[str, str]) -> str:
    """A requirements file with every version, and no address of an index."""
    lines = [f"{name}=={number}{_marker(name)}" for name, number in versions.items()]
    return "\n".join(["# Written by `make lock` from what was installed and tested.", *lines, ""])


def environment_page(versions: Mapping[str, str], requirements: Sequence[Requirement]) -> str:
    """The conda environment of the jobs: Python, and the packages required to run with their versions."""
    python = f"python={sys.version_info.major}.{sys.version_info.minor}"
    pins = [
        f"      - {name}=={versions[name]}" for name in sorted(canonicalize_name(each.name) for each in requirements)
    ]
    head = ["# Written by `make lock`: the pins of requirements.lock for what pyproject.toml names.", "channels:"]
    return "\n".join([*head, "  - conda-forge", "dependencies:", f"  - {python}", "  - pip", "  - pip:", *pins, ""])


def _marker(name: str) -> str:
    return f" ; {LINUX}" if name.startswith(LINUX_ONLY) else ""


def main() -> None:
    """Write both files; PackageNotFoundError if something required is not installed."""
    versions = installed(asked(to_run_only=False))
    LOCK.write_text(lock_page(versions), encoding="utf-8")
    ENVIRONMENT.write_text(environment_page(versions, asked(to_run_only=True)), encoding="utf-8")


if __name__ == "__main__":
    main()
