"""A script that needs no torch does not import it: seconds of every job, a thousand times."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"
HEAVY = ("torch", "transformers", "diffusers", "open_clip", "torchvision")
# those whose every job runs a model; each of the others imports one when there is something for it to do
WITH_MODELS = {"export_captioner", "predict_captions", "train_captioner"}
PROGRAM = """
import ast, sys
from pathlib import Path
for path in map(Path, sys.argv[1:]):
    tree = ast.parse(path.read_text())
    nodes = tree.body if FIRST else ast.walk(tree)
    imports = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(imports, []), path.name, "exec"))
    found = [name for name in HEAVY if name in sys.modules]
    if found:
        sys.exit(f"{path.name} imports {', '.join(found)}")
print(len(sys.argv) - 1)
"""


def _scripts() -> list[Path]:
    """All but those that train and measure the picture book's own models."""
    scripts = sorted(SCRIPTS.glob("*.py"))
    return [path for path in scripts if path.stem not in WITH_MODELS and "picturebook" not in path.stem]


def _imported(scripts: list[Path], *, first: bool = False) -> subprocess.CompletedProcess[str]:
    """Import what the scripts import, or only what they import first: before their log is opened."""
    command = [sys.executable, "-c", f"HEAVY, FIRST = {HEAVY}, {first}\n{PROGRAM}", *map(str, scripts)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_needs_no_model_imports_no_torch() -> None:
    done = _imported(_scripts())
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_a_job_has_its_gpu_before_it_imports_torch() -> None:
    leasing = [path for path in sorted(SCRIPTS.glob("*.py")) if "gpus=" in path.read_text()]
    done = _imported(leasing, first=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 20


def test_a_script_that_imports_torch_is_found() -> None:
    done = _imported([SCRIPTS / "predict_captions.py"])
    assert "predict_captions.py imports torch" in done.stderr
