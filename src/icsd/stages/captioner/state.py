"""A training's state on disk, so that a killed job goes on where it was."""

import json
import logging
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

# SIGTERM is what SLURM sends before it kills: at the walltime, at scancel, at preemption. SIGUSR1 is for people.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Told:
    """Whether this process has been told to stop."""

    def __init__(self) -> None:
        self.stop = False

    def note(self, _number: int, _frame: FrameType | None) -> None:
        """The handler of SIGNALS."""
        self.stop = True


@contextmanager
def told() -> Iterator[Told]:
    """While inside, SIGNALS are noted instead of ending the process."""
    noted = Told()
    before = {number: signal.signal(number, noted.note) for number in SIGNALS}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


FILE = "state.safetensors"
Tensors = dict[str, torch.Tensor]
_log = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a training is: steps done, their rows of HISTORY, the best weights by val."""

    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_value: float | None = None
    best: Tensors = field(default_factory=dict)


def save(folder: Path, key: str, progress: Progress, model: torch.nn.Module, optimizer: torch.optim.AdamW) -> None:
    """Everything in one file, renamed into place: a kill leaves the old state or the new, no mixture."""
    parts = {f"model.{name}": value for name, value in weights_of(model).items()}
    parts |= {f"best.{name}": value for name, value in progress.best.items()}
    for name, value in model.named_parameters():
        for kind, moment in optimizer.state.get(value, {}).items():
            parts[f"optimizer.{name}.{kind}"] = moment.detach().cpu().contiguous()
    about = {
        "key": key,
        "step": progress.step,
        "history": progress.history,
        "best_value": progress.best_value,
    }
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{FILE}.{os.getpid()}"
    save_file(parts, unfinished, metadata={"progress": json.dumps(about)})
    unfinished.replace(folder / FILE)


def restore(folder: Path, key: str, model: torch.nn.Module, optimizer: torch.optim.AdamW) -> Progress:
    """The saved progress, model and optimizer set to it; a fresh one where none of this key is found."""
    path = folder / FILE
    if not path.exists():
        return Progress()
    try:
        about, tensors = _read(path)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        _log.warning("%s can't be read (%s): training starts anew", path, error)
        return Progress()
    if about["key"] != key:
        _log.warning("%s is of other settings or other data: training starts anew", path)
        return Progress()
    _set(model, optimizer, tensors)
    _log.info("going on after step %d, from %s", about["step"], path)
    return Progress(about["step"], about["history"], about["best_value"], _under("best.", tensors))


def remove(folder: Path, others: Iterable[str] = ()) -> None:
    """Delete the state and the `others` beside it, and the folder unless something else lies in it."""
    if not folder.is_dir():
        return
    for path in [*folder.glob(f".{FILE}.*"), *(folder / name for name in (FILE, *others))]:
        path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def weights_of(model: torch.nn.Module) -> Tensors:
    """A copy of every parameter, tied ones once."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in model.named_parameters()}


def set_weights(model: torch.nn.Module, weights: Tensors) -> None:
    """Every parameter set to its value in `weights`."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(weights[name])


def _read(path: Path) -> tuple[dict[str, Any], Tensors]:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["progress"]), {name: file.get_tensor(name) for name in _names(file)}


def _names(file: Any) -> Iterable[str]:
    return list(file.keys())


def _set(model: torch.nn.Module, optimizer: torch.optim.AdamW, tensors: Tensors) -> None:
    set_weights(model, _under("model.", tensors))
    moments = _under("optimizer.", tensors)
    for name, value in model.named_parameters():
        for kind in ("step", "exp_avg", "exp_avg_sq"):
            if f"{name}.{kind}" in moments:
                moment = moments[f"{name}.{kind}"]
                optimizer.state[value][kind] = moment if kind == "step" else moment.to(value.device)


def _under(prefix: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
