"""The commands in README, CONTRIBUTING and the pages of docs/ are right, without the hours that some would take.

Those of `make` and `snakemake` are planned, those of `icsd` parsed. Another program needs a line in `BY_PROGRAM`, or in
`TESTED` the test that runs the command.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from icsd.cli import parser

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    "docs/log.md",
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/[gb]*/*.md")),
]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
PROGRAMS = "programs"  # first in PATH: they are there at once
INLINE = re.compile(r"`((?:snakemake|icsd|make|python|torchrun)(?: [^`\n]+)?)`")
UNFINISHED = re.compile(r"…|\*|<[a-z]+>")  # of a command in a sentence: "snakemake downloads --configfile …"
FOLLOWED = {  # word for word, by a test of the page's own
    "docs/guide/your-captions.md": "tests/workflow/test_your_captions.py",
    "docs/guide/module.md": "tests/workflow/test_module.py",
    "docs/guide/export.md": "tests/workflow/test_export_typed.py",
}
TESTED = {  # beginning of a command -> file and name of the test that runs it
    "torchrun --nnodes 2 ": (
        "tests/jobs/test_torchrun.py",
        "test_two_killed_and_restarted_processes_have_the_curve_of_one",
    ),
    "generate-slurm-partition-config": (
        "tests/slurm/test_cluster.py",
        "test_the_partitions_can_be_written_down_by_the_command_of_the_docs",
    ),
    "pip install 'snakemake-executor-plugin-cluster-generic": (
        "tests/slurm/test_other_executor.py",
        "test_groups_are_formed_by_a_submit_command_and_a_cancelled_job_is_submitted_again",
    ),
    "snakemake --report ": (
        "tests/workflow/test_reporting.py",
        "test_a_whole_run_ends_in_a_report_of_every_result",
    ),
    "python -m tools.fill_block ": (
        "tests/unit/tools/test_fill_block.py",
        "test_the_command_reads_stdin_and_fences_it",
    ),
}
SUBCOMMANDS = {  # of icsd -> the tests that run it on tables
    "status": "tests/workflow/test_status_typed.py",
    "resume": "tests/slurm/test_resume.py",
    "trace": "tests/unit/views/test_trace.py",
    "caption": "tests/unit/views/export/test_captioner.py",
    "scores": "tests/unit/stages/evaluation/test_results.py",
    "compare": "tests/unit/views/test_scores.py",
    "figure": "tests/unit/views/test_figure.py",
    "gallery": "tests/unit/views/test_gallery.py",
    "preview": "tests/unit/views/test_preview.py",
    "clean": "tests/unit/views/test_clean.py",
    "convert": "tests/unit/models/test_conversion.py",
}


def _fenced() -> Iterator[tuple[str, str]]:
    """Page and command of each line in a block of shell."""
    for page in PAGES:
        for language, block in FENCE.findall((ROOT / page).read_text(encoding="utf-8")):
            if language in ("sh", "bash") and page not in FOLLOWED:
                for line in block.replace("\\\n", " ").splitlines():
                    command = re.sub(r"(^|\s+)# .*", "", line).strip()
                    if command:
                        yield page, command


def _inline() -> Iterator[tuple[str, str]]:
    """Page and command of each that a sentence names whole."""
    for page in PAGES:
        for command in INLINE.findall(FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))):
            if not UNFINISHED.search(command):
                yield page, command


FENCED = {command: page for page, command in _fenced()}
NAMED = {command: page for page, command in _inline() if command not in FENCED}


@pytest.fixture(scope="module")
def checkout(warm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which nothing has run, with what the pages take for given; COCO's run has 2 shards, not 600."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / PROGRAMS).symlink_to(warm_python)
    for name in (
        "Snakefile",
        "rules",
        "scripts",
        "envs",
        "profiles",
        "slurm",
        "resources",
        "src",
        "tests",
        "benchmarks",
        ".venv",
    ):
        (folder / name).symlink_to(ROOT / name)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy2(ROOT / name, folder)
    shutil.copytree(ROOT / "config", folder / "config")
    coco = folder / "config/runs/coco.yaml"
    coco.write_text(coco.read_text(encoding="utf-8").replace("shards: 600", "shards: 2"), encoding="utf-8")
    (folder / "results/picturebook/captioner/multi/seed-0/checkpoint").mkdir(parents=True)  # of a finished demo
    for name in ("my-run.yaml", "FILE"):
        (folder / name).write_text("run: mine\n", encoding="utf-8")
    return folder


def _type(command: str, folder: Path) -> None:
    path = os.pathsep.join([str(folder / PROGRAMS), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def _make(command: str, folder: Path) -> None:
    _type(f"{command} --dry-run", folder)


def _snakemake(command: str, folder: Path) -> None:
    _type(command if "--unlock" in command else f"{command} --dry-run --quiet", folder)


def _icsd(command: str, folder: Path) -> None:
    """Its arguments are parsed; what it does with them, the tests in `SUBCOMMANDS` look at."""
    _, *arguments = shlex.split(command)
    if arguments and "--help" not in arguments:
        tests = (ROOT / SUBCOMMANDS[arguments[0]]).read_text(encoding="utf-8")
        assert f'main(["{arguments[0]}"' in tests or f'"icsd.cli", "{arguments[0]}"' in tests
    if len(arguments) > 1 and "--help" not in arguments:
        parser().parse_args(arguments)
    else:
        _type(f"{command} --help", folder)


def _python(command: str, folder: Path) -> None:
    """A script of benchmarks/ has the options; -c runs."""
    _, script, *arguments = shlex.split(command)
    if script == "-c":
        _type(command, folder)
    else:
        text = (folder / script).read_text(encoding="utf-8")
        assert all(f'"{option}"' in text for option in arguments if option.startswith("--")), command


BY_PROGRAM: dict[str, Callable[[str, Path], None]] = {
    "make": _make,
    "snakemake": _snakemake,
    "icsd": _icsd,
    "python": _python,
    "source": _type,
    ".venv/bin/pytest": lambda command, folder: _type(f"{command} --collect-only", folder),
}


def _try(command: str, folder: Path) -> None:
    if not command.startswith(tuple(TESTED)):
        program = command.split()[0]
        assert program in BY_PROGRAM, f"no test runs {command}: say in BY_PROGRAM or TESTED how it is run"
        BY_PROGRAM[program](command, folder)


@pytest.mark.parametrize("command", FENCED)
def test_a_command_of_a_block_does_what_it_is_typed_for(checkout: Path, command: str) -> None:
    _try(command, checkout)


@pytest.mark.parametrize("command", NAMED)
def test_a_command_in_a_sentence_does_what_it_is_typed_for(checkout: Path, command: str) -> None:
    _try(command, checkout)


def test_no_block_of_commands_is_overlooked() -> None:
    assert {"make demo", "snakemake export", "make check"} <= FENCED.keys()
    for page in PAGES:
        for language, block in FENCE.findall((ROOT / page).read_text(encoding="utf-8")):
            if language not in ("sh", "bash"):
                assert not re.search(r"^(snakemake|icsd|make|pip|python|torchrun|sbatch) ", block, re.MULTILINE), page


def test_the_tests_that_are_named_here_exist() -> None:
    for page, path in FOLLOWED.items():
        assert Path(page).name in (ROOT / path).read_text(encoding="utf-8")
    for path, name in TESTED.values():
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")


def test_an_overlay_does_not_take_the_target_of_the_report(checkout: Path) -> None:
    from snakemake.cli import get_argument_parser

    given = ["make", "--dry-run", "report", "OVERLAY=my-run.yaml", "CHANGE=run=mine"]
    done = subprocess.run(given, cwd=checkout, capture_output=True, text=True, check=True)
    commands = re.findall(r"\.venv/bin/snakemake ([^;&]*report_so_far[^;&]*)", done.stdout)
    assert len(commands) == 2
    for command in commands:
        options = get_argument_parser().parse_args(shlex.split(command))
        assert list(options.targets) == ["report_so_far"]
        assert [path.name for path in options.configfile] == ["my-run.yaml"]


def test_the_report_is_written_to_the_run_that_the_overlay_names(checkout: Path) -> None:
    command = ["make", "--no-print-directory", "--eval", "folder: ; @echo $(FOLDER)", "folder"]
    for given, folder in [
        ([], "results/picturebook"),
        (["OVERLAY=my-run.yaml"], "results/mine"),
        (["OVERLAY=my-run.yaml", "CHANGE=run=other"], "results/other"),
        (["RESULTS=results/here"], "results/here"),
    ]:
        done = subprocess.run([*command, *given], cwd=checkout, capture_output=True, text=True, check=True)
        assert done.stdout == f"{folder}\n"
