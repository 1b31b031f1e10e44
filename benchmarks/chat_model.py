"""Ask a chat model on this machine for summaries of real groups, with and without constrained decoding, by each prompt.

The groups are of real captions: each of `--groups` captions, drawn at random, with its nearest by `--encoder`. The
table has the share of answers that can be used, why the others cannot, and the tokens and seconds of an answer.
"""

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import torch

from icsd.config import SummariesConfig
from icsd.core.text import markdown_table
from icsd.models.text_encoder import load_text_encoder
from icsd.stages.summaries.prompts import load_prompt
from icsd.stages.summaries.providers import summarize
from icsd.stages.summaries.quality import Group, Summary

ROOT = Path(__file__).parents[1]
CAPTIONS = ROOT.parent / "shared" / "data" / "coco_val2017_captions.parquet"
HEADER = ("prompt", "constrained", "groups", "usable", "not usable", "tokens in", "tokens out", "seconds a group")


def read_groups(captions: Path, encoder: str, corpus: int, count: int, members: int) -> list[Group]:
    """Return `count` groups, each of a caption at random and its nearest, of the first `corpus` in the file."""
    texts = list(dict.fromkeys(pq.read_table(captions, columns=["caption"])["caption"].to_pylist()[:corpus]))
    tower = load_text_encoder(encoder, "transformers", "mean", "float32")
    vectors = torch.from_numpy(tower.encode(texts, 4096))
    heads = random.Random(0).sample(range(len(texts)), count)
    nearest = (vectors[heads] @ vectors.T).topk(members).indices.tolist()
    return [
        Group(head, tuple(row), tuple(texts[place] for place in row)) for head, row in zip(heads, nearest, strict=True)
    ]


def ask(groups: Sequence[Group], model: str, prompt: str, *, constrained: bool) -> tuple[list[Summary], float]:
    """Return the summaries of the groups, without repairs and out of an empty store, and the seconds that they took."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"model": model, "max_tokens": 300, "batch_size": 4, "constrained": constrained}
        config = SummariesConfig(
            provider="transformers",
            repair=False,
            store=f"{folder}/replies",
            answers={"form": "python"},
            quality={"max_unsupported_share": 1.0},
            transformers=settings,
        )
        started = time.perf_counter()
        found = list(summarize(groups, load_prompt(ROOT / f"config/prompts/{prompt}.txt"), config, Path(folder, "run")))
        return found, time.perf_counter() - started


def row(found: Sequence[Summary], seconds: float, prompt: str, *, constrained: bool) -> list[str]:
    """Return the row of the table for one prompt and one way to decode."""
    usable = sum(summary.reason is None for summary in found)
    reasons = Counter(summary.reason.split(":")[0] for summary in found if summary.reason)
    named = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "–"
    sent, said = (
        sum(getattr(each, f"{kind}_tokens") or 0 for each in found) / len(found) for kind in ("prompt", "completion")
    )
    shares = (f"{len(found)}", f"{usable / len(found):.0%}", named)
    return [
        prompt,
        "yes" if constrained else "no",
        *shares,
        f"{sent:.0f}",
        f"{said:.0f}",
        f"{seconds / len(found):.1f}",
    ]


def main() -> None:
    """Print the table, and the first sentences of each way."""
    parser = argparse.ArgumentParser(prog="make benchmark NAME=chat_model", description=__doc__)
    parser.add_argument("--model", required=True, help="folder of a chat model")
    parser.add_argument("--encoder", required=True, help="folder of a sentence encoder of transformers")
    parser.add_argument("--captions", type=Path, default=CAPTIONS, help="Parquet file with the column `caption`")
    parser.add_argument("--corpus", type=int, default=2_000, help="captions of the file that are used")
    parser.add_argument("--groups", type=int, default=24)
    parser.add_argument("--members", type=int, default=10, help="captions of a group")
    parser.add_argument("--prompts", nargs="+", default=["paper", "published"])
    options = parser.parse_args()
    groups = read_groups(options.captions, options.encoder, options.corpus, options.groups, options.members)
    rows, shown = [], []
    for prompt in options.prompts:
        for constrained in (False, True):
            found, seconds = ask(groups, options.model, prompt, constrained=constrained)
            rows.append(row(found, seconds, prompt, constrained=constrained))
            shown += [f"{prompt}, constrained {constrained}: {each.text or each.reason}" for each in found[:3]]
    print("\n".join(markdown_table(HEADER, rows, left=2)), *shown, sep="\n")


if __name__ == "__main__":
    main()
