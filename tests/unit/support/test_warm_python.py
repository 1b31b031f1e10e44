"""Programs that a server forks: what a process sees, how it ends, and what becomes of it when its client is killed."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from warm_python import WarmPython

LIMIT_S = 60
SAYS = """
import os, sys
print(sys.argv[1:], os.getcwd(), os.environ["ASKED"], "colorsys" in sys.modules, __name__, input())
print("to stderr", file=sys.stderr)
sys.exit(7)
"""
STARTS_ANOTHER = """
import os, subprocess, sys, time
if len(sys.argv) == 1:
    subprocess.run([sys.executable, __file__, "second"])
open(f"pid-{os.getpid()}", "w").close()
time.sleep(600)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with WarmPython(tmp_path_factory.mktemp("warm") / "bin", {"colorsys": ["rgb_to_hsv"]}) as warm:
        yield str(warm.folder / "python")


def _script(folder: Path, text: str) -> str:
    (folder / "script.py").write_text(text)
    return str(folder / "script.py")


def test_a_process_has_its_clients_arguments_folder_environment_and_files(python: str, tmp_path: Path) -> None:
    command = [python, _script(tmp_path, SAYS), "a", "b"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"ASKED": "yes"}, input="typed\n", capture_output=True, text=True, check=False
    )
    assert done.stdout == f"['a', 'b'] {tmp_path} yes True __main__ typed\n"
    assert (done.stderr, done.returncode) == ("to stderr\n", 7)


@pytest.mark.parametrize(
    ("text", "status"),
    [("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL), ("1 / 0", 1), ("", 0)],
)
def test_a_client_ends_as_its_process_does(python: str, tmp_path: Path, text: str, status: int) -> None:
    done = subprocess.run([python, _script(tmp_path, text)], capture_output=True, check=False)
    assert done.returncode == status


def test_a_killed_client_takes_its_process_and_all_that_it_started_along(python: str, tmp_path: Path) -> None:
    with subprocess.Popen([python, _script(tmp_path, STARTS_ANOTHER)], cwd=tmp_path) as client:
        (second,) = _awaited(lambda: [int(path.name[4:]) for path in tmp_path.glob("pid-*")])
        client.kill()
    _awaited(lambda: not Path(f"/proc/{second}").exists())


def test_options_of_python_start_a_real_one(python: str) -> None:
    command = [python, "-c", "import sys; print('colorsys' in sys.modules)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


def _awaited(true):
    end = time.monotonic() + LIMIT_S
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found
