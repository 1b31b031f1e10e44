"""Lines for the cards of datasets and captioners: sources, models and licence of an arm's pictures and captions."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from icsd.config.arms import ARMS
from icsd.config.downloads import MARKER
from icsd.core.errors import ModelError
from icsd.core.text import as_code, shown_address
from icsd.models.model_folder import folder_digest, is_hub_id

Provenance = Mapping[str, Any]  # from config/export.py


def model_line(model: str) -> str:
    """Return Markdown that names a model with its commit or the SHA-256 of its folder, if one is known."""
    folder = Path(model)
    if (folder / MARKER).is_file():
        return "{} at commit {}".format(*map(as_code, _repository(folder)))
    if folder.is_dir():
        return f"{as_code(shown_path(model))}, a folder whose files have the SHA-256 {as_code(folder_digest(folder))}"
    return f"{as_code(model)}, at a commit that the run does not name"


def shown_path(path: str) -> str:
    """Return a path for publication; of a path outside the checkout only the last name."""
    outside = Path(path).is_absolute() or ".." in Path(path).parts
    return Path(path).name if outside else path


def hub_id(model: str) -> str | None:
    """Return the repository of a model of the hub, None for any other model."""
    if (Path(model) / MARKER).is_file():
        return _repository(Path(model))[0]
    return model if is_hub_id(model) and not Path(model).is_dir() else None


def _repository(folder: Path) -> tuple[str, str]:
    """Return the repository and the commit that a downloaded folder is of."""
    try:
        manifest = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return str(manifest["repo_id"]), str(manifest["revision"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        way_out = "delete the folder, and `snakemake downloads` downloads it again"
        raise ModelError(f"{folder / MARKER} is unreadable ({error}); {way_out}") from error


SCORERS = {
    "random": "random numbers, a control",
    "probe": "the share of a caption's objects that the picture book's detector sees",
}
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
    """Yield a line for each file that captions were read from."""
    files = source["photographs" if ARMS[arm].photographs else "captions"]
    for path, address in files.items():
        yield f"- {as_code(shown_path(path))}" + (f", from {as_code(shown_address(address))}" if address else "")
    if not ARMS[arm].photographs:
        yield f"- Split, if the corpus has splits: {as_code(source['split'])}"


def model_lines(arm: str, source: Provenance) -> Iterator[str]:
    """Yield a line for each model that helped to make an arm's pictures."""
    if ARMS[arm].photographs:
        return
    if ARMS[arm].uses_groups:
        yield f"- Caption embeddings, for groups of {source['k']}: {model_line(source['embeddings'])}"
    if ARMS[arm].uses_summaries:
        yield f"- Sentences: {_summarizer(source)}"
    drawing = dict(source["images"])
    if is_served(source):
        served = dict(drawing.pop("openai"))
        del drawing["provider"]
        yield f"- Pictures: {as_code(served.pop('model'))}, served by an endpoint that names no commit"
        drawing |= served
    else:
        yield f"- Pictures: {model_line(drawing.pop('model'))}"
    settings = {name.replace("_", " "): str(value) for name, value in drawing.items() if value not in (None, "", {})}
    yield "  Drawn with " + ", ".join(f"{name} {as_code(value)}" for name, value in settings.items())
    if alignment := source.get("alignment"):
        yield from _alignment_lines(alignment)
    yield f"- Safety: {model_line(source['safety'])}"


def is_served(source: Provenance) -> bool:
    """Return whether the drawn pictures came from a server."""
    return source["images"].get("provider") == "openai"


def _alignment_lines(alignment: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines on the scores of pictures with their captions, and the keys by which they selected pairs."""
    selecting = dict(alignment)
    model, score, candidates = (selecting.pop(name) for name in ("model", "score", "candidates"))
    yield f"- Scores of pictures with their captions: {model_line(model) if score == 'cosine' else SCORERS[score]}"
    if candidates > 1:
        yield f"  Of at most {candidates} pictures of a sentence, the one that shows its captions best is used."
    keys = [f"{name.replace('_', ' ')} {as_code(str(value))}" for name, value in selecting.items()]
    yield f"  Pairs selected with {', '.join(keys)}" if keys else "  No pair was dropped for its score."


def _summarizer(source: Provenance) -> str:
    if source["provider"] == "merge":
        return "the workflow's built-in merger, no language model"
    if source["provider"] == "transformers":
        return model_line(source["summaries"])
    return f"{as_code(source['summaries'])}, served by an endpoint that names no commit"


def licence_line(source: Provenance) -> str:
    """Return the licence that the config names, or that it is unknown."""
    if source["licence"]:
        return f"{as_code(source['licence'])}, as the run's config says."
    return (
        "Unknown: the run's config names none. The captions have the licence of their corpus. The models' licences may "
        "have terms for generated content."
    )
