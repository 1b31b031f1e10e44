"""Run COCO's captions through the workflow's rules up to summaries by the merger: time and memory of each stage.

The captions are all 202,654 of COCO val2014. The sentence encoder has MiniLM's size (6 layers, 384 wide), random
weights and a vocabulary of these captions. The means of its states are near for captions that share words. Everything
is written to results/, which git ignores; a second call continues where the first one stopped.
"""

import argparse
import csv
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import torch
import yaml
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertModel, BertTokenizer

from icsd.core import tables
from icsd.core.text import markdown_table

ROOT = Path(__file__).parents[1]
COCO = ROOT.parent / "shared" / "data" / "coco_val2014_captions.parquet"
RUN = "real_captions"
WORDS = 8_000
STAGES = ("read_captions", "embed_captions", "find_neighbors", "form_groups", "summarize_groups")
SHOWN_MEMBERS = 6  # of each group that is printed


def write_encoder(captions: Sequence[str], folder: Path) -> None:
    """Write a transformers folder: a BertModel with random weights, a WordPiece tokenizer of these captions."""
    pieces = BertWordPieceTokenizer(lowercase=True)
    pieces.train_from_iterator(captions, vocab_size=WORDS, min_frequency=2, show_progress=False)
    vocabulary = dict(sorted(pieces.get_vocab().items(), key=lambda item: item[1]))
    BertTokenizer(vocab=vocabulary, model_max_length=128).save_pretrained(folder)
    size = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=128, **size)).save_pretrained(folder)


def overlay(captions: Path, encoder: Path, shards: int) -> dict[str, object]:
    """Return the overlay on the default run."""
    return {
        "run": RUN,
        "shards": shards,
        "captions": {"annotations": str(captions), "layout": "parquet", "split": "all"},
        "embeddings": {"kind": "transformers", "model": str(encoder), "pooling": "mean", "precision": "float32"},
        "groups": {"k": 30},
        "summaries": {"provider": "merge", "quality": {"image_model": None}},
    }


def stages(results: Path) -> Iterator[list[str]]:
    """Yield a row for each rule: jobs, seconds of all jobs, and peak memory of one job, as Snakemake measured them."""
    for stage in STAGES:
        files = sorted((results / "benchmarks").glob(f"{stage}*/**/*.tsv")) or [results / f"benchmarks/{stage}.tsv"]
        rows = [row for file in files for row in csv.DictReader(file.open(encoding="utf-8"), delimiter="\t")]
        seconds = sum(float(row["s"]) for row in rows)
        yield [stage, f"{len(rows)}", f"{seconds:,.0f}", f"{max(float(row['max_rss']) for row in rows):,.0f}"]


def groups(results: Path, count: int, seed: int) -> Iterator[str]:
    """Yield lines on `count` random groups: the nearest members with their similarities, and the summary."""
    rows = tables.read(results / "captions" / "all.parquet", tables.CAPTIONS).to_pylist()
    captions = {row["caption_id"]: row["caption"] for row in rows}
    found = tables.read(results / "groups" / "all.parquet", tables.GROUPS).to_pylist()
    wanted = {row["group_id"]: row for row in random.Random(seed).sample(found, count)}
    for path in sorted((results / "summaries").glob("*.parquet")):
        for row in tables.read(path, tables.SUMMARIES).to_pylist():
            if group := wanted.get(row["group_id"]):
                yield f"\ngroup {row['group_id']}"
                members = zip(group["similarities"], group["caption_ids"], strict=True)
                yield from (f"  {near:.3f}  {captions[each]}" for near, each in list(members)[:SHOWN_MEMBERS])
                yield f"  summary of {len(row['selected'])}: {row['summary'] or row['reason']}"


def main() -> None:
    """Run the workflow; print the table and the groups."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, default=COCO, help="Parquet with a column caption")
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--groups", type=int, default=10, help="groups to print")
    arguments = parser.parse_args()
    if not arguments.captions.exists():
        parser.error(f"{arguments.captions} does not exist: name a Parquet file with --captions")
    folder, results = ROOT / "results" / "corpora" / RUN, ROOT / "results" / RUN
    if not (folder / "encoder" / "config.json").exists():
        write_encoder(pq.read_table(arguments.captions, columns=["caption"])["caption"].to_pylist(), folder / "encoder")
    config = folder / "overlay.yaml"
    config.write_text(yaml.safe_dump(overlay(arguments.captions, folder / "encoder", arguments.shards)))
    snakemake = str(Path(sys.executable).with_name("snakemake"))
    command = [snakemake, "--cores", str(arguments.cores), "--until", "summarize_groups", "--configfile", str(config)]
    subprocess.run(command, cwd=ROOT, check=True)
    print(*markdown_table(["rule", "jobs", "seconds, all jobs", "peak MiB of a job"], list(stages(results))), sep="\n")
    print(*groups(results, arguments.groups, seed=0), sep="\n")


if __name__ == "__main__":
    main()
