"""The training state on disk, from which a killed job resumes."""

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


class StopSignal:
    """A flag that is set when the process receives a signal to stop."""

    def __init__(self) -> None:
        self.received = False

    def record(self, _number: int, _frame: FrameType | None) -> None:
        """Handle one of SIGNALS."""
        self.received = True


@contextmanager
def watch_stop_signals() -> Iterator[StopSignal]:
    """Record SIGNALS inside, instead of ending the process."""
    received = StopSignal()
    before = {number: signal.signal(number, received.record) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


FILE = "state.safetensors"
Tensors = dict[str, torch.Tensor]
_log = logging.getLogger(__name__)


@dataclass
class TrainingProgress:
    """Steps done, their rows of HISTORY, and the best weights on val so far."""

    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_value: float | None = None
    best: Tensors = field(default_factory=dict)


def save(
    folder: Path, key: str, progress: TrainingProgress, model: torch.nn.Module, optimizer: torch.optim.AdamW
) -> None:
    """Write the state to one file and rename it: a killed process leaves the old state or the new one."""
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


def restore(folder: Path, key: str, model: torch.nn.Module, optimizer: torch.optim.AdamW) -> TrainingProgress:
    """Load the progress into model and optimizer; return new progress if no state of this key is there."""
    path = folder / FILE
    if not path.exists():
        return TrainingProgress()
    try:
        about, tensors = _read(path)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        _log.warning("%s cannot be read (%s): training starts from step 0", path, error)
        return TrainingProgress()
    if about["key"] != key:
        _log.warning("%s belongs to other settings or other data: training starts from step 0", path)
        return TrainingProgress()
    _set(model, optimizer, tensors)
    _log.info("resuming after step %d, from %s", about["step"], path)
    return TrainingProgress(about["step"], about["history"], about["best_value"], _under("best.", tensors))


def remove(folder: Path, others: Iterable[str] = ()) -> None:
    """Delete the state and the files `others` beside it, and the folder if it is then empty."""
    if not folder.is_dir():
        return
    for path in [*folder.glob(f".{FILE}.*"), *(folder / name for name in (FILE, *others))]:
        path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def weights_of(model: torch.nn.Module) -> Tensors:
    """Copy every parameter that is trained to the CPU, tied ones once."""
    trained = ((name, value) for name, value in model.named_parameters() if value.requires_grad)
    return {name: value.detach().cpu().clone().contiguous() for name, value in trained}


def set_weights(model: torch.nn.Module, weights: Tensors) -> None:
    """Set every parameter that is trained to its value in `weights`."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.requires_grad:
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
