"""A copy of the workflow, and what a user does with it: edit, run, look at the plan, lose power."""

import copy
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
OVERLAY = "config/tiny.yaml"
LIMIT_S = 1_200  # a run that hangs fails its test
Config = dict[str, Any]


@dataclass(frozen=True)
class Checkout:
    """A folder in which a user types `snakemake`, with the overlay that the tests give it."""

    folder: Path
    config: Config
    program: str = SNAKEMAKE

    @property
    def results(self) -> Path:
        """The run's tables."""
        return self.folder / "results" / self.config["run"]

    def edit(self, key: str, value: Any) -> None:
        """Set a dotted key of the overlay."""
        *sections, last = key.split(".")
        section = self.config
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
        self.save()

    def save(self) -> None:
        """Write the overlay."""
        (self.folder / OVERLAY).write_text(yaml.safe_dump(self.config), encoding="utf-8")

    def copy(self, folder: Path) -> "Checkout":
        """The same in another folder, modification times and Snakemake's records included."""
        shutil.copytree(self.folder, folder)
        return Checkout(folder, copy.deepcopy(self.config), self.program)

    def snakemake(self, *arguments: str, cores: int = 1) -> subprocess.CompletedProcess[str]:
        """Run `snakemake` with these arguments."""
        return subprocess.run(
            self._command(self.program, arguments, cores), cwd=self.folder, env=offline(os.environ),
            capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip

    def run(self, *arguments: str, cores: int = 1) -> subprocess.CompletedProcess[str]:
        """The same, where it must succeed."""
        done = self.snakemake(*arguments, cores=cores)
        assert done.returncode == 0, done.stderr
        return done

    def remove(self, name: str) -> None:
        """Delete a folder of the results."""
        shutil.rmtree(self.results / name)

    def planned(self, *arguments: str) -> dict[str, int]:
        """Rule -> jobs that the next run would do."""
        said = self.run("--dry-run", *arguments).stdout
        if "Nothing to be done" in said:
            return {}
        stats, *_ = re.findall(r"^job +count\n[- ]+\n(.*?)\ntotal ", said, re.MULTILINE | re.DOTALL)
        return {rule: int(count) for rule, count in (line.split() for line in stats.splitlines())}

    def kill_when(self, seen: Callable[[], bool], *arguments: str) -> str:
        """Start `snakemake` and kill it and its jobs when `seen` is true, as a loss of power does; what was said."""
        path = self.folder / "killed.txt"
        with path.open("w") as said:
            process = subprocess.Popen(
                self._command(SNAKEMAKE, arguments, cores=1), cwd=self.folder, env=offline(os.environ), stdout=said,
                stderr=said, start_new_session=True,
            )  # fmt: skip
            try:
                deadline = time.monotonic() + LIMIT_S
                while not seen():
                    assert process.poll() is None, path.read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.002)
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return path.read_text()

    def dry_run_with_imports(self) -> str:
        """Return Python's import times of the modules that a dry run imports."""
        command = [sys.executable, "-X", "importtime", *self._command(SNAKEMAKE, ("--dry-run", "--quiet"), 1)]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=offline(os.environ),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=True,
        ).stderr

    def _command(self, program: str, arguments: tuple[str, ...], cores: int) -> list[str]:
        return [program, "--configfile", OVERLAY, "--cores", str(cores), *arguments]


def offline(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which no missing folder is asked of the hub, on any machine."""
    return dict(environment) | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
