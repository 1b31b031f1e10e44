"""Measure what the small models of the picture book can do, and put the table into docs/background/picturebook.md."""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tools.fill_block import update_block  # noqa: E402

QUALITY = ROOT / "results/benchmark/picturebook/quality.md"


def main() -> None:
    """Measure, then fill the document."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    snakemake = str(Path(sys.executable).with_name("snakemake"))
    subprocess.run([snakemake, "measure_picturebook"], cwd=ROOT, check=True)
    update_block(ROOT / "docs/background/picturebook.md", "quality", QUALITY.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
