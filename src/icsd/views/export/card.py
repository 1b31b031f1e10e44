"""The card of a dataset: README.md with a YAML header for the hub."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import DatasetCardData

from icsd.config.arms import ARMS
from icsd.core.text import as_block, as_code, as_text, markdown_table
from icsd.views.export.facts import Facts
from icsd.views.export.provenance import (
    PAPER,
    Provenance,
    is_served,
    licence_line,
    model_lines,
    shown_path,
    source_lines,
)
from icsd.views.measures import FunnelStep

HOUR_S = 3600.0

LOADING = {
    "huggingface": """\
```python
from datasets import load_dataset

pictures = load_dataset("path/to/this/folder", split="train")
print(pictures[0]["captions"])
```

A row is a picture with `image_id`, `image`, `captions`, `caption_ids`, the `sentence` that it was drawn from, `seed`
and `model`.
""",
    "webdataset": """\
```python
from pathlib import Path

import webdataset

shards = sorted(map(str, Path("path/to/this/folder").glob("train-*.tar")))
for picture in webdataset.WebDataset(shards, shardshuffle=False).decode("pil"):
    print(picture["__key__"], picture["json"]["captions"])
```

A sample is a picture's file and a JSON file with `image_id`, `captions`, `caption_ids`, the `sentence` that the picture
was drawn from, `seed` and `model`.
""",
    "coco": """\
```python
from pycocotools.coco import COCO

captions = COCO("path/to/this/folder/captions_train.json")
```

`images/` has a file for each picture. The `id` of an image is the number in its file name; `sentence` is the text that
it was drawn from. Annotations are numbered; `caption_id` is the caption's id in its corpus.
""",
}
WEIGHTS = {
    "huggingface": "`weights` has a number for each caption",
    "webdataset": "`weights` has a number for each caption",
    "coco": "An annotation has a `weight`",
}
CONFIGS = {"huggingface": "data/train-*.parquet", "webdataset": "train-*.tar"}
SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}
LIMITS = """\
- Nobody has looked through the pictures. One may lack what its captions name, or show more.
- Captions were grouped by the similarity of their text, so a caption may fit its picture badly.
- The pictures have the biases, gaps and errors of the corpus and of the models.
- The safety checker is a model: it misses some unsafe pictures and drops some harmless ones.
"""
PHOTOGRAPH_LIMITS = """\
- The photographs and their captions are as their corpus publishes them, with its errors.
"""


def dataset_card(arm: str, layout: str, facts: Facts, source: Provenance) -> str:
    """Return the README.md of a dataset: contents, sources, models, cost and limits."""
    sections = {
        "Loading": LOADING[layout] + _weights(layout, facts),
        "Contents": "\n".join(_contents(facts)),
        "Sources": "\n".join(source_lines(arm, source)),
        "Models": "\n".join(model_lines(arm, source)) or "None: nothing was drawn.",
        "Prompt": _prompt(arm, facts, source),
        "From captions to pairs": "\n".join(_funnel(facts.funnel)),
        "Cost": "\n".join(_cost(facts, served=not ARMS[arm].photographs and is_served(source))),
        "Examples": "\n".join(_examples(facts)),
        "Limits": PHOTOGRAPH_LIMITS if ARMS[arm].photographs else LIMITS,
        "Licence": licence_line(source),
        "Citation": PAPER,
    }
    body = "\n\n".join(f"## {title}\n\n{text.strip()}" for title, text in sections.items() if text)
    return (
        f"---\n{_header(arm, layout, facts, source)}\n---\n\n# {source['run']}: {arm}\n\n{ARMS[arm].about}\n\n{body}\n"
    )


def _header(arm: str, layout: str, facts: Facts, source: Provenance) -> str:
    configs = [{"config_name": "default", "data_files": [{"split": "train", "path": CONFIGS.get(layout)}]}]
    return DatasetCardData(
        pretty_name=f"{source['run']}: {arm}",
        license=source["licence"] or "unknown",
        task_categories=["image-to-text"],
        size_categories=[next((name for limit, name in SIZES.items() if facts.pictures < limit), "n>10M")],
        tags=["image-captioning", "icsd"] + ([] if ARMS[arm].photographs else ["synthetic"]),
        configs=configs if layout in CONFIGS else None,
    ).to_yaml()


def _weights(layout: str, facts: Facts) -> str:
    about = "by which its pair counts in the loss of the training. It follows from the pair's score; the mean is 1."
    return f"\n{WEIGHTS[layout]}, {about}\n" if facts.weighted else ""


def _contents(facts: Facts) -> Iterator[str]:
    rows = [
        ["pictures", f"{facts.pictures:,}"],
        ["pairs of a picture and a caption", f"{facts.pairs:,}"],
        ["different captions", f"{facts.captions:,}"],
        ["captions per picture", f"{facts.pairs / facts.pictures:.1f}"],
        ["words per caption", f"{facts.caption_words:.1f}"],
        ["words per sentence", f"{facts.sentence_words:.1f}"],
    ]
    yield from markdown_table(["what", "number"], rows)


def _prompt(arm: str, facts: Facts, source: Provenance) -> str:
    if not ARMS[arm].uses_summaries or source["provider"] == "merge":
        return ""
    hashes = ", ".join(map(as_code, facts.tokens.prompt_hashes))
    text = Path(source["prompt"]).read_text(encoding="utf-8")
    return f"{as_code(shown_path(source['prompt']))}, with the hash {hashes} of prompt and limits:\n\n{as_block(text)}"


def _funnel(funnel: Sequence[FunnelStep]) -> list[str]:
    rows = [[stage.name, _reasons(stage), f"{stage.entered:,}", f"{stage.kept:,}"] for stage in funnel]
    return markdown_table(["stage", "items dropped", "entered", "kept"], rows, left=2)


def _reasons(stage: FunnelStep) -> str:
    return "; ".join(f"{count:,} {as_text(reason)}" for reason, count in stage.dropped.items())


def _cost(facts: Facts, *, served: bool) -> Iterator[str]:
    tokens, spent = facts.tokens, facts.spent
    if tokens.prompt_tokens is not None:
        counts = f"{tokens.prompt_tokens:,} prompt tokens and {tokens.completion_tokens or 0:,} completion tokens"
        yield f"- Sentences of {tokens.groups:,} groups: {counts}."
    if spent.requests:
        yield f"- Endpoints: {spent.requests:,} requests for {spent.usd:,.2f} USD at the prices of the run's config."
    for name, seconds in facts.seconds.items():
        yield f"- {name.replace('_', ' ')}: {_duration(seconds)} in jobs."
    if served:
        yield "- Pictures: drawn by a server; its price is not counted here."
    elif not spent.requests:
        yield "- No request to a paid endpoint."


def _duration(seconds: float) -> str:
    return f"{seconds / HOUR_S:,.1f} hours" if seconds >= HOUR_S else f"{seconds:,.0f} seconds"


def _examples(facts: Facts) -> Iterator[str]:
    for example in facts.examples:
        yield f"- {as_code(example.image_id)}: {as_text(example.sentence)}"
        yield from (f"  - caption: {as_text(caption)}" for caption in example.captions)
