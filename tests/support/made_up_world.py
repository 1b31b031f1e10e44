"""A made-up run of COCO's config in a folder, with the tables that stages with a model or a network would leave."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

CONFIGS = ("config/runs/coco.yaml", "config/runs/ablations/single.yaml")
WIDTH = 512  # of CLIP's vectors


@dataclass(frozen=True)
class World:
    """A folder, and the numbers of captions and shards of the made-up run in it.

    Imports are late in this module: a process has the memory of its own stage alone.
    """

    folder: Path
    captions: int
    shards: int

    @cached_property
    def config(self):
        """The config of COCO's run with two arms, without the guard, its stores in the folder."""
        from icsd.views.options import read_config

        stores = [f"summaries={{store: {self.folder}/replies}}", f"images={{store: {self.folder}/drawn}}"]
        guard = "guard={duplicates: 'off', references: 'off'}"
        return read_config(list(map(Path, CONFIGS)), ["run=scale", f"shards={self.shards}", guard, *stores])

    @cached_property
    def run(self):
        """The run, in the folder."""
        from icsd.views.run import configured_run

        return configured_run(self.config, self.folder / "results/scale")

    @property
    def prompt(self) -> Path:
        """The file of the run's prompt."""
        return Path(f"config/prompts/{self.config.summaries.prompt}.txt")


def make_captions(world: World) -> None:
    """Make what find_neighbors and form_groups read."""
    from made_up_run import write_captions, write_neighbors

    write_captions(world.run, world.captions, WIDTH)
    write_neighbors(world.run, world.captions, world.config.groups.k)


def make_summaries(world: World) -> None:
    """Make what select_sentences reads, and the store of replies."""
    from made_up_run import write_replies, write_summaries

    from icsd.stages.summaries.prompts import load_prompt
    from icsd.stages.summaries.providers import model_name

    write_summaries(world.run, model_name(world.config.summaries), load_prompt(world.prompt).hash)
    write_replies(world.run, Path(world.config.summaries.store))


def make_pictures(world: World) -> None:
    """Make what build_dataset reads, the store of pictures, and scores."""
    from made_up_run import write_picture_store, write_pictures, write_scores

    from icsd.stages.images import image_store

    for arm in world.config.drawn_arms:
        write_pictures(world.run, arm)
        write_picture_store(world.run, arm, image_store(Path(world.config.images.store), world.config.run))
    write_scores(world.run)
