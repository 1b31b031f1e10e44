"""Where an arm's pictures and captions come from, as the cards of datasets and captioners tell it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from icsd.config.arms import ARMS
from icsd.config.downloads import MARKER
from icsd.core.errors import ModelError
from icsd.core.text import as_code
from icsd.models.model_folder import folder_digest, is_hub_id


def model_line(model: str) -> str:
    """Markdown that says which model it is, as exactly as is known; of a folder elsewhere its last name alone."""
    folder = Path(model)
    if (folder / MARKER).is_file():
        return "{} at commit {}".format(*map(as_code, _fetched(folder)))
    if folder.is_dir():
        return f"{as_code(shown_path(model))}, a folder whose files have the SHA-256 {as_code(folder_digest(folder))}"
    return f"{as_code(model)}, at a commit that the run does not name"


def shown_path(path: str) -> str:
    """A path as it may be published: where it leads out of the checkout, its last name alone."""
    outside = Path(path).is_absolute() or ".." in Path(path).parts
    return Path(path).name if outside else path


def hub_id(model: str) -> str | None:
    """The repository that a model is of, where it is one of the hub's."""
    if (Path(model) / MARKER).is_file():
        return _fetched(Path(model))[0]
    return model if is_hub_id(model) and not Path(model).is_dir() else None


def _fetched(folder: Path) -> tuple[str, str]:
    try:
        manifest = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return str(manifest["repo_id"]), str(manifest["revision"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        way_out = "delete the folder, and `snakemake downloads` fetches it anew"
        raise ModelError(f"{folder / MARKER} is unreadable ({error}); {way_out}") from error


Provenance = Mapping[str, Any]  # of the config

PAPER = """\
```bibtex
@inproceedings{ma2024icsd,
  title     = {Image Captioning with Multi-Context Synthetic Data},
  author    = {Ma, Feipeng and Zhou, Yizhou and Rao, Fengyun and Zhang, Yueyi and Sun, Xiaoyan},
  booktitle = {Proceedings of the AAAI Conference on Artificial Intelligence},
  year      = {2024}
}
```
"""


def source_lines(arm: str, source: Provenance) -> Iterator[str]:
    """A line for each file that captions were read from."""
    files = source["photographs" if ARMS[arm].photographs else "captions"]
    for path, address in files.items():
        yield f"- {as_code(shown_path(path))}" + (f", from {as_code(address)}" if address else "")
    if not ARMS[arm].photographs:
        yield f"- of its splits, where it has any: {as_code(source['split'])}"


def model_lines(arm: str, source: Provenance) -> Iterator[str]:
    """A line for each model that took part in an arm's pictures."""
    if ARMS[arm].photographs:
        return
    if ARMS[arm].uses_groups:
        yield f"- Captions' vectors, by which groups of {source['k']} were formed: {model_line(source['embeddings'])}"
        yield f"- Sentences: {_summarizer(source)}"
    drawing = dict(source["images"])
    yield f"- Pictures: {model_line(drawing.pop('model'))}"
    given = {name.replace("_", " "): str(value) for name, value in drawing.items() if value not in (None, "")}
    yield "  Drawn with " + ", ".join(f"{name} {as_code(value)}" for name, value in given.items())
    yield f"- Safety: {model_line(source['safety'])}"


def _summarizer(source: Provenance) -> str:
    if source["provider"] == "merge":
        return "the workflow's built-in merger, no language model"
    if source["provider"] == "transformers":
        return model_line(source["summaries"])
    return f"{as_code(source['summaries'])}, asked of a server, which names no commit"


def licence_line(source: Provenance) -> str:
    """What is known of the licence, and no more."""
    if source["licence"]:
        return f"{as_code(source['licence'])}, as the run's config says."
    return (
        "Unknown: the run's config names none. The captions have the licence of their corpus; the models' licences may "
        "have terms for what they make."
    )
