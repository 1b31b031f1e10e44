"""Preview: some random groups through prompt, model and checks, and pictures of their sentences, before a run is paid.

trying     the sample of groups, and their summaries by a prompt
reckoning  the whole run, reckoned from them
drawing    pictures of the sentences
content    what is shown; text and page show it in the terminal and in a browser
"""

import argparse
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from icsd.config import Config, shipped_path
from icsd.core import files
from icsd.core.errors import ConfigError
from icsd.stages.summaries.prompts import load_prompt
from icsd.stages.summaries.providers import model_name
from icsd.views.estimate.counts import count
from icsd.views.options import Commands, add_config, positive, read_config
from icsd.views.preview.content import LETTERS, PreviewContent
from icsd.views.preview.drawing import DrawnPictures, draw_sentences, reckoned_pictures
from icsd.views.preview.page import preview_page
from icsd.views.preview.reckoning import reckoned
from icsd.views.preview.text import as_lines
from icsd.views.preview.trying import TriedPrompt, sample_groups, try_prompts
from icsd.views.run import RESULTS, Run, configured_run

__all__ = ["add_preview", "preview"]

FOLDER = RESULTS / "previews"
GROUPS = 20


def add_preview(commands: Commands) -> None:
    """Add `icsd preview`."""
    command = commands.add_parser(
        "preview",
        help="try prompt and model on some groups before a run is paid",
        description="Send some random groups of a run through prompt, model and checks, show captions and sentences "
        "side by side, and reckon the whole run from them. The run is not changed; replies are kept for it. Type it "
        "where the Snakefile is, with the options of the run, once its groups are formed: snakemake --until "
        "form_groups.",
    )
    add_config(command)
    command.add_argument("--groups", type=positive, default=GROUPS, metavar="N", help="groups (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="another one takes other groups")
    command.add_argument("--prompts", nargs="+", metavar="NAME", help="prompts beside each other (default: the run's)")
    command.add_argument("--images", type=positive, default=0, metavar="N", help="draw so many of the sentences")
    command.add_argument("--output", type=Path, metavar="FILE", help=f"the page (default: {FOLDER}/<run>.html)")
    command.set_defaults(run=_command)


def _command(options: argparse.Namespace) -> Iterator[str]:
    logging.basicConfig(level=logging.WARNING, format="icsd: %(message)s")
    logging.getLogger("icsd").setLevel(logging.INFO)
    config = read_config(options.configfile, options.config)
    if key := config.left_small_models.get("summarize_groups"):
        problem = "is the picture book's: its tokenizer cuts other words to pieces, so image tokens are too many"
        logging.getLogger(__name__).warning("%s %s; give that of images.model, or null", key, problem)
    page = options.output or FOLDER / f"{config.run}.html"
    content = preview(
        config, configured_run(config), options.prompts or [config.summaries.prompt], options.groups, options.seed,
        options.images,
    )  # fmt: skip
    with files.atomic_path(page) as unfinished:
        unfinished.write_text(preview_page(content), encoding="utf-8")
    yield as_lines(content, max(60, shutil.get_terminal_size((100, 24)).columns))
    yield f"The same in a browser: {page}"


def preview(config: Config, run: Run, prompts: Sequence[str], groups: int, seed: int, images: int) -> PreviewContent:
    """Try the prompts on random groups of the run, and draw `images` of the first one's sentences.

    Nothing below the run's folder is written. Errors as those of the stages; ConfigError for a prompt twice or more
    prompts than letters.
    """
    if len(set(prompts)) < len(prompts) or len(prompts) > len(LETTERS):
        raise ConfigError(f"--prompts {' '.join(prompts)}: name each prompt once, and at most {len(LETTERS)}")
    loaded = [(name, load_prompt(Path(shipped_path(f"config/prompts/{name}.txt", Path())))) for name in prompts]
    sampled = sample_groups(run, groups, seed)
    tried = try_prompts(config, loaded, sampled, run)
    whole = run.groups.count()
    lines = [reckoned(config, each, whole) for each in tried]
    drawn = draw_sentences(config, tried[0], sampled, images, run) if images and tried[0].usable else None
    if drawn:
        pictures = count(config, loaded[0][1], run, rendered=False).pictures
        lines[0] += reckoned_pictures(config, drawn, round(pictures.total))
    notes = list(_notes(config, tried, whole, drawn, asked=images))
    return PreviewContent(config.run, model_name(config.summaries), sampled, tried, lines, notes, drawn)


def _notes(
    config: Config, tried: Sequence[TriedPrompt], whole: int, drawn: DrawnPictures | None, asked: int
) -> Iterator[str]:
    """Yield sentences on what was sampled and paid, and on what would stop the run."""
    sampled, settings = len(tried[0].summaries), config.summaries
    yield f"{sampled:,} random groups of {whole:,}, through prompt, model and checks. The run is not changed."
    if settings.provider != "merge":
        sent = sum(each.sent.requests for each in tried)
        usd = sum(each.sent.usd for each in tried)
        paid = f"{sent:,} requests sent, {usd:.6f} USD paid now" if sent else "All replies were in the store"
        yield f"{paid}. Replies are kept in {settings.store}: the run pays for no equal request again."
    if settings.provider == "openai-batch":
        yield "The preview does not wait for the Batch API: it paid the full price, and its costs are shown at half."
    for each in tried:
        lost = sum(usd is None for usd in each.usd)
        if lost:
            yield f"{each.name}: {lost:,} groups have no token counts, and are left out of tokens and USD."
        dropped = sampled - each.usable
        if dropped > settings.max_drop_share * sampled:
            limit = f"summaries.max_drop_share={settings.max_drop_share:g}"
            yield f"{each.name}: {dropped:,} of {sampled:,} groups were dropped. With so many a run stops: {limit}."
    if settings.provider == "merge" and len(tried) > 1:
        yield "summaries.provider is merge, which reads the length limit of a prompt and not its text."
    if asked and not drawn:
        yield "No picture was drawn, since no group has a sentence."
