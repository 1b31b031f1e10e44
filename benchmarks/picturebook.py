"""Measure the paper's claim and the small models in the picture book, and put the tables into the documents.

Every arm is trained on three seeds (config/runs/claim.yaml). Snakemake keeps what is done: a second call only fills the
documents. It takes 25 to 80 minutes on two cores.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tools.fill_block import update_block  # noqa: E402

QUALITY = ROOT / "results/benchmark/picturebook/quality.md"
CLAIM = ROOT / "results/claim/benchmark/claim.md"


def measure() -> None:
    """Run the two targets with the overlay of the claim."""
    command = [str(Path(sys.executable).with_name("snakemake")), "measure_picturebook", "picturebook_claim"]
    subprocess.run([*command, "--configfile", "config/runs/claim.yaml"], cwd=ROOT, check=True)


def fill_documents(root: Path, quality: str, claim: str) -> None:
    """Put the two pages into the documents below `root`; the README gets the claim's first table alone."""
    update_block(root / "docs/background/picturebook.md", "quality", quality)
    update_block(root / "docs/background/claim.md", "claim", claim)
    update_block(root / "README.md", "claim", short(claim))


def short(claim: str) -> str:
    """Return the claim's page up to the end of its first table."""
    blocks = claim.split("\n\n")
    first_table = next(number for number, block in enumerate(blocks) if block.startswith("|"))
    return "\n\n".join(blocks[: first_table + 1])


def main() -> None:
    """Measure, then fill the documents."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    measure()
    fill_documents(ROOT, QUALITY.read_text(encoding="utf-8"), CLAIM.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
