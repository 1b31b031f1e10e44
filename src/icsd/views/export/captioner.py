"""Export of a trained captioner: a folder with the files of transformers and a card."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from icsd.config.arms import ARMS
from icsd.core import tables
from icsd.core.files import atomic_path
from icsd.core.text import as_code, markdown_table
from icsd.stages.captioner.folder import GenerationSettings, write_folder
from icsd.views.export.provenance import (
    PAPER,
    Provenance,
    hub_id,
    licence_line,
    model_line,
    model_lines,
    source_lines,
)

Settings = Mapping[str, Any]
_log = logging.getLogger(__name__)
Row = Mapping[str, Any]
USE = """\
```python
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, VisionEncoderDecoderModel

folder = "path/to/this/folder"
model = VisionEncoderDecoderModel.from_pretrained(folder)
processor = AutoImageProcessor.from_pretrained(folder, backend="pil")  # resizes exactly as in training
tokenizer = AutoTokenizer.from_pretrained(folder)

picture = Image.open("picture.png").convert("RGB")
prompt = tokenizer(model.config.caption_prefix, return_tensors="pt").input_ids[:, :-1]
ids = model.generate(**processor(picture, return_tensors="pt"), decoder_input_ids=prompt)
print(tokenizer.decode(ids[0, prompt.shape[1] :], skip_special_tokens=True))
```

Every training caption began with the prefix, so the model needs it. `generation_config.json` has the beam search of the
scores. With the workflow installed, `icsd caption picture.png --model path/to/this/folder` does the same."""
_IDS = "ids = model.generate("
_START = "prompt[0, 0] = model.config.decoder_start_token_id  # not the tokenizer's own\n"
USE_PROMPT = """\
With the workflow installed, `icsd caption picture.png --model path/to/this/folder` captions pictures as the pipeline
does. `AutoModelForImageTextToText` and `AutoProcessor` of transformers load the folder. Every training caption came
after the prompt {prompt} and was written in lower case; `config.json` has it as `caption_prompt`, and
`generation_config.json` has the beam search of the scores."""
LIMITS = """\
- The captions have the words, biases and errors of the training captions and training pictures.
- A caption can name things that are not in the picture and miss things that are. Conclude nothing about people from it.
- The scores hold for the test pictures named above, and say little about others."""


@dataclass(frozen=True)
class Trained:
    """A trained captioner: its arm and seed, the pairs and settings of its training, its SCORES on each test set."""

    arm: str
    seed: int
    checkpoint: Path
    pairs: Path
    scores: Sequence[Path]
    settings: Settings


def export_captioner(trained: Trained, folder: Path, generation: GenerationSettings, source: Provenance) -> None:
    """Write the checkpoint and README.md as a folder that transformers loads; an error leaves no folder."""
    rows = tables.concat(trained.scores, tables.SCORES).to_pylist()
    with atomic_path(folder) as unfinished:
        unfinished.mkdir()
        write_folder(trained.checkpoint, unfinished, generation)
        (unfinished / "README.md").write_text(captioner_card(trained, rows, source), encoding="utf-8")
    _log.info("%s of seed %d, %s", trained.arm, trained.seed, folder)


def captioner_card(trained: Trained, scores: Sequence[Row], source: Provenance) -> str:
    """Return the README.md of a captioner: usage, scores, training and limits."""
    sections = {
        "Usage": _usage(trained),
        "Scores": "\n".join(_scores(scores)),
        "Training": "\n".join(_training(trained)),
        "Training pictures": "\n".join([ARMS[trained.arm].about, "", *model_lines(trained.arm, source)]),
        "Sources of the captions": "\n".join(source_lines(trained.arm, source)),
        "Limits": LIMITS,
        "Licence": licence_line(source),
        "Citation": PAPER.strip(),
    }
    body = "\n\n".join(f"## {title}\n\n{text.strip()}" for title, text in sections.items())
    title = f"{source['run']}: a captioner of the arm {trained.arm}"
    model = trained.settings.get("model")
    parts = "a vision-language model" if model else "the vision encoder of CLIP and a BERT decoder with cross-attention"
    about = f"An image captioner: {parts}."
    return f"---\n{_header(trained, scores, source)}\n---\n\n# {title}\n\n{about}\n\n{body}\n"


def _usage(trained: Trained) -> str:
    if trained.settings.get("model"):
        config = json.loads((trained.checkpoint / "config.json").read_text(encoding="utf-8"))
        return USE_PROMPT.format(prompt=as_code(config["caption_prompt"] or "(empty)"))
    return USE.replace(_IDS, _START + _IDS) if trained.settings.get("start_token") else USE


def _header(trained: Trained, scores: Sequence[Row], source: Provenance) -> str:
    own = trained.settings.get("model")
    named = [own] if own else [trained.settings["vision_model"], trained.settings["decoder_weights"]]
    repositories = [found for model in named if model and (found := hub_id(model))]
    name = f"{source['run']}: {trained.arm}, seed {trained.seed}"
    return ModelCardData(
        license=source["licence"] or "unknown",
        library_name="transformers",
        pipeline_tag="image-to-text",
        tags=["image-captioning", "icsd"],
        base_model=repositories or None,
        model_name=name,
        eval_results=[_result(row) for row in scores],
    ).to_yaml()


def _result(row: Row) -> EvalResult:
    return EvalResult(
        task_type="image-to-text",
        dataset_type=row["test"],
        dataset_name=row["test"],
        metric_type=row["metric"].lower(),
        metric_name=row["metric"],
        metric_value=round(100 * row["value"], 1),
    )


def _scores(rows: Sequence[Row]) -> list[str]:
    cells = [
        [row["test"], row["metric"], *(f"{100 * row[name]:.1f}" for name in ("value", "low", "high"))] for row in rows
    ]
    header = ["test pictures", "metric", "times 100", "95% interval from", "to"]
    return markdown_table(header, cells, left=2)


def _training(trained: Trained) -> list[str]:
    pairs = tables.read(trained.pairs, tables.PAIRS, columns=["image_id"])["image_id"]
    settings = dict(trained.settings)
    vision, decoder = settings.pop("vision_model"), settings.pop("decoder_weights", None)
    tokenizer, model = settings.pop("tokenizer"), settings.pop("model", None)
    parts = {"Model": model} if model else {"Encoder": vision, "Decoder": decoder}
    before = {part: model_line(name) if name else "random weights" for part, name in parts.items()}
    shown = ", ".join(f"{name} {as_code(str(value))}" for name, value in settings.items() if value is not None)
    return [
        f"- {len(pairs):,} pairs of {len(pairs.unique()):,} pictures; seed {trained.seed}",
        *(f"- {part}, before training: {line}" for part, line in before.items()),
        *([] if model else [f"- Tokenizer: {model_line(tokenizer)}"]),
        f"- Settings: {shown}",
    ]
