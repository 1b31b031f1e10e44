"""Follow "All the way with models of the world" of docs/guide/your-captions.md, with captions and models of the world.

Each command of the section is typed word for word in a checkout of its own, with 2,000 captions in captions.txt. Only
the overlay differs: the sentence encoder is the folder that `--encoder` names, since nothing is downloaded, and the
chat model is that of the server at `--server`. It prints the seconds of each command and ten sentences at random.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from icsd.core import tables
from icsd.core.text import markdown_table, truncated

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/guide/your-captions.md"
SECTION = "## All the way with models of the world\n"
OVERLAY = Path("config/runs/real-captions.yaml")
CAPTIONS = ROOT.parent / "shared" / "data" / "coco_val2017_captions.parquet"
CHECKED_OUT = ("rules", "scripts", "envs", "config", "profiles", "report", "resources", "src", "Makefile", "Snakefile")
SHOWN = 10


def commands() -> list[str]:
    """Return the lines of the section's commands, without those that download or start a server."""
    section = PAGE.read_text(encoding="utf-8").split(SECTION)[1].split("\n## ")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if " downloads " not in line and not line.startswith("llama-server")]


def prepare(checkout: Path, captions: Path, count: int, encoder: Path, server: str) -> None:
    """Make a checkout with captions.txt and the overlay of this machine's models."""
    for name in CHECKED_OUT:
        if (ROOT / name).exists():
            (checkout / name).symlink_to(ROOT / name)
    (checkout / "config").unlink()
    shutil.copytree(ROOT / "config", checkout / "config")
    texts = list(dict.fromkeys(pq.read_table(captions, columns=["caption"])["caption"].to_pylist()))
    chosen = random.Random(0).sample(texts, count)
    (checkout / "captions.txt").write_text("".join(f"{' '.join(text.split())}\n" for text in chosen), encoding="utf-8")
    overlay = yaml.safe_load((ROOT / OVERLAY).read_text(encoding="utf-8"))
    del overlay["downloads"]
    overlay["embeddings"]["model"] = str(encoder.resolve())
    overlay["summaries"]["openai"]["base_url"] = server
    (checkout / OVERLAY).write_text(yaml.safe_dump(overlay), encoding="utf-8")


def typed(command: str, checkout: Path) -> list[str]:
    """Type a command; return it with its seconds. What it prints goes to stderr."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    begin = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", command], cwd=checkout, env=os.environ | {"PATH": path}, stdout=sys.stderr, check=False
    )
    if done.returncode:
        raise SystemExit(f"{command}: exit status {done.returncode}; its message is above")
    return [f"`{truncated(command, 90)}`", f"{time.monotonic() - begin:,.0f}"]


def outcomes(results: Path) -> Iterator[str]:
    """Yield how many groups have a sentence, why the others have none, and some sentences at random."""
    summaries = tables.concat(sorted((results / "summaries").glob("*.parquet")), tables.SUMMARIES)
    rows = summaries.select(["summary", "reason"]).to_pylist()
    reasons = Counter((row["reason"] or "a sentence").partition(":")[0] for row in rows)
    yield f"{len(rows):,} groups: " + ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
    sentences = [row["summary"] for row in rows if not row["reason"]]
    yield from (f"- {each}" for each in random.Random(0).sample(sentences, min(SHOWN, len(sentences))))


def report(seconds: Sequence[Sequence[str]], results: Path) -> str:
    """Return the table of the commands and the outcomes."""
    return "\n".join([*markdown_table(("command", "seconds"), seconds), "", *outcomes(results)])


def main() -> None:
    """Follow the section, print its times and what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=Path, default=CAPTIONS, help="a Parquet file with a column caption")
    parser.add_argument("--count", type=int, default=2000, help="captions in captions.txt (default: 2000)")
    parser.add_argument("--encoder", type=Path, required=True, help="a transformers folder of a sentence encoder")
    parser.add_argument(
        "--server", default="http://localhost:8000/v1", help="the base_url of a server with a chat model"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder)
        prepare(checkout, options.captions, options.count, options.encoder, options.server)
        seconds = [typed(command, checkout) for command in commands()]
        print(report(seconds, checkout / "results/real-captions"))


if __name__ == "__main__":
    main()
