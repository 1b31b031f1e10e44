"""Imports of the library run down: a floor knows those below it, and rooms of one floor do not know each other."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src/icsd"
FLOORS = (
    {"core"},
    {"config", "workflow"},
    {"models", "corpora"},
    {"llm", "merger"},
    {"stages"},
    {"views", "picturebook"},
    {"cli"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def _imported(module: Path) -> set[str]:
    """The rooms that a module imports from, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [f"icsd.{alias.name}" for alias in node.names] if names == ["icsd"] else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name.split(".")[1] for name in names if name.startswith("icsd.")}
    return found


def test_every_module_has_a_room() -> None:
    rooms = {path.stem for path in SOURCE.iterdir() if path.name not in ("__init__.py", "__pycache__")}
    assert rooms == set(FLOOR_OF)


def test_no_import_runs_up_or_sideways() -> None:
    wrong = []
    for module in sorted(SOURCE.rglob("*.py")):
        room = module.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room in FLOOR_OF:
            below = {other for other in FLOOR_OF if other == room or FLOOR_OF[other] < FLOOR_OF[room]}
            wrong += [f"{module.relative_to(SOURCE)} imports {other}" for other in _imported(module) - below]
    assert not wrong


def test_no_stage_knows_another() -> None:
    stages = {path.stem: path for path in (SOURCE / "stages").iterdir() if path.stem not in ("__init__", "__pycache__")}
    wrong = []
    for stage, path in stages.items():
        for module in [path] if path.is_file() else sorted(path.rglob("*.py")):
            text = module.read_text(encoding="utf-8")
            wrong += [
                f"{module.name} imports {other}"
                for other in stages
                if other != stage and f"icsd.stages.{other}" in text
            ]
    assert not wrong
