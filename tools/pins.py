"""Write envs/icsd.yaml, the conda environment of the jobs, with the versions of requirements.lock."""

import argparse
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT, LOCK, ENVIRONMENT = Path("pyproject.toml"), Path("requirements.lock"), Path("envs/icsd.yaml")
HEADER = """\
# Written by `make lock`: the pins of requirements.lock for what pyproject.toml names.
channels:
  - conda-forge
dependencies:
  - python={python}
  - pip
  - pip:
"""
_PIN = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def locked_versions(lock: str) -> dict[str, str]:
    """Return the version of each package in the text of requirements.lock, by canonical name."""
    return dict(_PIN.findall(lock))


def environment_page(project: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """Return the conda environment: the oldest Python that the project runs on, and its dependencies' versions."""
    names = sorted(canonicalize_name(Requirement(each).name) for each in project["dependencies"])
    pins = [f"      - {name}=={versions[name]}\n" for name in names]
    return HEADER.format(python=project["requires-python"].removeprefix(">=")) + "".join(pins)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the environment; KeyError for a dependency that the lock lacks."""
    argparse.ArgumentParser(prog="python -m tools.pins", description=__doc__).parse_args(arguments)
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    versions = locked_versions(LOCK.read_text(encoding="utf-8"))
    ENVIRONMENT.write_text(environment_page(project, versions), encoding="utf-8")


if __name__ == "__main__":
    main()
