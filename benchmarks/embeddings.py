"""Compare the stage's text encoder with a plain loop over open_clip's `encode_text`, in one run.

The model is the text tower of CLIP ViT-B/16 at full size with random weights, unless --model names another. The
captions are COCO's. The methods take turns on the same captions, so that other work on the machine affects all of
them. The table has ratios of speed, and the distance of the vectors from those of the plain loop.
"""

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from icsd.config import EmbeddingsConfig
from icsd.core.text import markdown_table
from icsd.models.devices import has_bfloat16
from icsd.models.open_clip_model import CONFIG, WEIGHTS
from icsd.models.text_encoder import TextEncoder, load_text_encoder

COCO = Path(__file__).parents[2] / "shared" / "data" / "coco_val2014_captions.parquet"
PLAIN_BATCH = 256
WARM_UP = 32  # captions before the clock starts
TOLERANCE = 1e-5
PLAIN = f"open_clip's encode_text, batches of {PLAIN_BATCH}"
Method = Callable[[list[str]], np.ndarray]


def plain_method(folder: Path, device: torch.device) -> Method:
    """Return the loop that open_clip's page shows: tokenize, `encode_text`, a batch at a time, in float32."""
    model = open_clip.create_model(f"local-dir:{folder}").eval().to(device)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")

    @torch.inference_mode()
    def method(captions: list[str]) -> np.ndarray:
        parts = [captions[start : start + PLAIN_BATCH] for start in range(0, len(captions), PLAIN_BATCH)]
        found = [model.encode_text(tokenizer(part).to(device), normalize=True).cpu() for part in parts]
        return torch.cat(found).numpy()

    return method


def write_model(folder: Path, architecture: str) -> None:
    """Write an open_clip folder: the architecture's text tower with random weights, a vision tower of one layer."""
    config = deepcopy(open_clip.get_model_config(architecture))
    config |= {"quick_gelu": True}  # as OpenAI's weights want
    config["vision_cfg"] |= {"layers": 1, "width": 64, "head_width": 64}
    (folder / CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file({name: each.contiguous() for name, each in model.state_dict().items()}, folder / WEIGHTS[0])


def in_turns(methods: dict[str, Method], rounds: list[list[str]]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the seconds and vectors of each method. They take turns in every round, each time in another order."""
    seconds, vectors = dict.fromkeys(methods, 0.0), {name: [] for name in methods}
    for method in methods.values():
        method(rounds[0][:WARM_UP])
    for number, captions in enumerate(rounds):
        names = list(methods)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.perf_counter()
            vectors[name].append(methods[name](captions))
            seconds[name] += time.perf_counter() - start
    return seconds, {name: np.concatenate(found) for name, found in vectors.items()}


def table(seconds: dict[str, float], vectors: dict[str, np.ndarray]) -> list[str]:
    """Return a row for each method: its speed relative to the plain loop, and the distance of its vectors."""
    count, rows = len(vectors[PLAIN]), []
    for name, found in vectors.items():
        cosines = (found.astype(np.float64) * vectors[PLAIN]).sum(1) / np.linalg.norm(vectors[PLAIN], axis=1)
        rows.append([
            name, f"{1000 * seconds[name] / count:.2f}", f"{seconds[PLAIN] / seconds[name]:.2f}",
            f"{np.abs(found - vectors[PLAIN]).max():.1e}", f"{cosines.min():.6f}", f"{cosines.mean():.6f}",
        ])  # fmt: skip
    header = ["method", "ms a caption", "times as fast", "largest difference", "lowest cosine", "mean cosine"]
    return markdown_table(header, rows)


def other_bits(encoder: TextEncoder, captions: list[str], expected: np.ndarray, batch_tokens: int) -> int:
    """Count the captions whose vector differs in any bit when half of them are encoded in another order."""
    rows = random.Random(1).sample(range(len(captions)), len(captions) // 2)
    found = encoder.encode([captions[row] for row in rows], batch_tokens)
    return int((found != expected[rows]).any(1).sum())


def main(words: Sequence[str] | None = None) -> None:
    """Encode by all methods; print the table, and fail if the float32 vectors differ."""
    args = _arguments(words)
    captions = pq.read_table(args.captions, columns=["caption"])["caption"].to_pylist()
    captions = random.Random(0).sample(captions, args.count)
    rounds = [captions[start : start + args.shard] for start in range(0, args.count, args.shard)]
    with tempfile.TemporaryDirectory() as made:
        folder = args.model or Path(made)
        if args.model is None:
            write_model(folder, args.architecture)
        kinds = [each for each in args.precisions if each != "bfloat16" or has_bfloat16(args.device)]
        encoders = {each: load_text_encoder(str(folder), precision=each, device=args.device) for each in kinds}
        methods = {PLAIN: plain_method(folder, torch.device(args.device))}
        for name, encoder in encoders.items():
            methods[f"icsd, {name}"] = lambda texts, own=encoder: own.encode(texts, args.batch_tokens)
        seconds, vectors = in_turns(methods, rounds)
    tokens = encoders["float32"].tower.tokens(captions).lengths
    print(f"{len(captions):,} captions of {tokens.mean():.1f} tokens, {tokens.max()} at most; batches of", end=" ")
    print(f"{args.batch_tokens} tokens; {torch.get_num_threads()} threads; load {os.getloadavg()[0]:.1f}.\n")
    print("\n".join([*table(seconds, vectors), ""]))
    for name, encoder in encoders.items():
        others = other_bits(encoder, rounds[0], vectors[f"icsd, {name}"][: len(rounds[0])], args.batch_tokens)
        print(f"{name}: {others} captions have other bits beside other captions.")
    worst = np.abs(vectors["icsd, float32"] - vectors[PLAIN]).max()
    if worst > TOLERANCE:
        raise SystemExit(f"The vectors of float32 differ from open_clip's by {worst:.1e}.")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=Path, default=COCO, help="Parquet with a column `caption`")
    parser.add_argument("--count", type=int, default=2048, help="captions")
    parser.add_argument("--shard", type=int, default=1024, help="captions encoded together")
    parser.add_argument("--model", type=Path, help="an open_clip folder (default: one with random weights)")
    parser.add_argument("--architecture", default="ViT-B-16")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16", "float64"])
    parser.add_argument("--device", default="cpu")
    default = EmbeddingsConfig.model_fields["batch_tokens"].default
    parser.add_argument("--batch-tokens", type=int, default=default)
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
