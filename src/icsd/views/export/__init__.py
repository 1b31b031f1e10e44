"""Export: an arm's dataset and its captioner in the forms that other people's tools open, and captions written with it.

manifest     an arm's pictures with their captions, a shard at a time
dataset      the dataset's folder: Hugging Face's Parquet, WebDataset's tar files, COCO's JSON
captioner    the captioner's folder and its README.md
card         README.md of a dataset
facts        what the card tells of a dataset: size, funnel, costs
provenance   the origin of pictures and captions, for both cards
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from icsd.views.options import Commands
from icsd.views.run import DEFAULT_RUN, Run


def add_caption(commands: Commands) -> None:
    """Add `icsd caption`."""
    command = commands.add_parser(
        "caption",
        help="write captions of pictures",
        description="Write a caption of each picture with an exported captioner: a line each, the file's path, a tab, "
        "the caption. Files that are no pictures are listed at the end, with status 1; the others have their captions.",
    )
    command.add_argument("pictures", nargs="+", type=Path, metavar="IMAGE", help="a picture's file")
    command.add_argument(
        "--model",
        type=Path,
        default=Run(DEFAULT_RUN).exported_captioner("multi", 0),
        metavar="FOLDER",
        help="a captioner that `snakemake export` wrote (default: %(default)s)",
    )
    command.set_defaults(run=_caption)


def _caption(options: argparse.Namespace) -> Iterator[str]:
    from icsd.stages.captioner.predicting import UncaptionedPictures, caption_files  # late: torch takes seconds

    errors = []
    for path, caption in caption_files(options.model, options.pictures):
        if isinstance(caption, str):
            yield f"{path}\t{caption}"
        else:
            errors.append(caption)
    if errors:
        raise UncaptionedPictures(errors, len(options.pictures))
