"""The probe: a small network that detects kinds and colours in a picture, to measure what a generator draws."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from icsd.core import tables
from icsd.core.pictures import read_picture
from icsd.picturebook.scenes import COLOURS, KINDS
from icsd.picturebook.splits import colour_labels, split_renders
from icsd.picturebook.training import Meter, as_tensor, batches, optimizer_for, prepare


class Probe(nn.Module):
    """A network from pictures [n, 3, 32, 32] in -1..1 to logits [n, kinds, 1 + colours]. Class 0 is "absent"."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in ((3, 32, 1), (32, 64, 2), (64, 64, 1), (64, 96, 2), (96, 96, 1)):
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Conv2d(96, len(KINDS) * (1 + len(COLOURS)), 3, padding=1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        scores = self.head(self.trunk(pictures)).amax(dim=(2, 3))
        return scores.view(-1, len(KINDS), 1 + len(COLOURS))


def train_probe(folder: Path, seed: int, threads: int, steps: int, scenes: int = 20_000) -> None:
    """Train on real renders, with noise so that the probe tolerates small flaws of a drawing."""
    device = prepare(seed, threads)
    data = split_renders("generator", scenes)
    labels = torch.from_numpy(colour_labels(data.scenes)).to(device)
    model = Probe().to(device)
    optimizer, schedule = optimizer_for(model, 2e-3, steps)
    meter = Meter("probe", steps)
    for step, index in enumerate(batches(len(data.scenes), 64, steps, seed)):
        pictures = as_tensor(data.pictures[index], device)
        pictures = pictures + 0.05 * torch.randn_like(pictures) * torch.rand(len(index), 1, 1, 1, device=device)
        loss = nn.functional.cross_entropy(model(pictures).flatten(0, 1), labels[index].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        meter.add(step, loss)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")


def load_probe(folder: Path) -> Probe:
    """Load the trained probe, in evaluation mode."""
    model = Probe()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


def detect_in_tables(images: Sequence[str], ids: Sequence[str], probe: Path) -> list[set[tuple[str, str]]]:
    """Detect the objects in the pictures `ids` of the IMAGES tables, in this order, with the probe of a folder."""
    rows = tables.concat(images, tables.IMAGES, ["image_id", "image"]).to_pylist()
    files = {row["image_id"]: row["image"]["bytes"] for row in rows if row["image"]}
    return detect_objects(load_probe(probe), np.stack([np.asarray(read_picture(files[each])) for each in ids]))


@torch.no_grad()
def detect_objects(probe: Probe, pictures: np.ndarray) -> list[set[tuple[str, str]]]:
    """Detect the (colour, kind) pairs in each picture of uint8 [n, 32, 32, 3]."""
    found: list[set[tuple[str, str]]] = []
    for start in range(0, len(pictures), 500):
        classes = probe(as_tensor(pictures[start : start + 500], torch.device("cpu"))).argmax(dim=-1)
        found += [_named(row) for row in classes.tolist()]
    return found


def _named(classes: list[int]) -> set[tuple[str, str]]:
    return {(COLOURS[c - 1], kind) for kind, c in zip(KINDS, classes, strict=True) if c}
