"""A run's folder: where its tables and other files lie, and how they are read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pyarrow.compute as pc

from icsd.config import ARMS, Config
from icsd.config.arms import drawing_names
from icsd.core import tables
from icsd.core.ids import candidate_number, shard_of
from icsd.core.languages import ENGLISH
from icsd.core.table import Table
from icsd.views.run_table import RunTable

RESULTS = Path("results")
DEFAULT_RUN = RESULTS / "picturebook"
NO_TEST = {"real", "val"}  # photographs that no captioner is tested on


@dataclass(frozen=True)
class Run:
    """A run's folder, and the arms, shards, seeds and test sets that its tables are of.

    `drawn` are the arms that have pictures of their own: multi_head has those of multi. `candidates` is how many are
    drawn of a sentence at most. `guarded` is true if captions were compared with each other or with references,
    `aligned` if pictures are scored with their captions. `search_parts` are those of the search for neighbours, by
    default the shards. `skip_damaged`: see RunTable. `language` is the captions'.
    """

    folder: Path
    arms: Sequence[str] = ()
    drawn: Sequence[str] = ()
    shards: Sequence[str] = ()
    seeds: Sequence[int] = ()
    tests: Sequence[str] = ()
    candidates: int = 1
    guarded: bool = False
    aligned: bool = False
    search_parts: Sequence[str] = ()
    skip_damaged: bool = False
    language: str = ENGLISH

    @property
    def name(self) -> str:
        """The name of the run, which is that of its folder."""
        return self.folder.name

    @property
    def captioners(self) -> list[tuple[str, int]]:
        """The arm and the seed of each training."""
        return list(product(self.arms, self.seeds))

    @property
    def summarized(self) -> bool:
        """True if pictures of the run depend on summaries of groups."""
        return any(ARMS[arm].uses_summaries for arm in self.drawn)

    @property
    def splits(self) -> list[str]:
        """All sets of photographs: those for training, for validation and for tests."""
        return sorted({*NO_TEST, *self.tests})

    # --- Tables, in the order of the stages ---------------------------------------------------------------------------

    @property
    def captions(self) -> RunTable:
        """The captions of the corpus."""
        return self._file("captions/all", "captions", tables.CAPTIONS)

    def caption_texts(self, caption_ids: Iterable[int]) -> dict[int, str]:
        """The texts of these captions by id; of those that the corpus does not have, none."""
        rows = self.captions.select(set(caption_ids), ["caption_id", "caption"])
        return dict(zip(rows["caption_id"].to_pylist(), rows["caption"].to_pylist(), strict=True))

    @property
    def dropped_captions(self) -> RunTable:
        """The records of the corpus that could not be used, with reasons; no file in a run without such records."""
        found = self._file("captions/dropped", "ledger of records", tables.LEDGER)
        return replace(found, paths=()) if found.missing else found

    @property
    def embeddings(self) -> RunTable:
        """The vectors of the captions."""
        return self._sharded("embeddings", "embeddings", tables.EMBEDDINGS)

    def reference_embeddings(self, split: str) -> RunTable:
        """The vectors of the captions of val or of a test set, where the guard compares vectors."""
        return self._file(f"embeddings/references/{split}", f"embeddings of {split}", tables.EMBEDDINGS)

    @property
    def guard(self) -> RunTable:
        """The captions that repeat another one or a reference, with reasons; no file in a run without the guard."""
        found = self._file("captions/guard", "ledger of captions", tables.LEDGER)
        return found if self.guarded else replace(found, paths=())

    @property
    def neighbors(self) -> RunTable:
        """The nearest captions of each caption, before identical groups are merged."""
        names = [f"groups/neighbors/{part}" for part in self.search_parts or self.shards]
        return replace(self._files(names, "neighbors", tables.NEIGHBORS), name="groups/neighbors")

    @property
    def groups(self) -> RunTable:
        """The groups: an anchor caption with its nearest captions."""
        return self._file("groups/all", "groups", tables.GROUPS)

    @property
    def group_times(self) -> RunTable:
        """The number of groups that each caption is in."""
        return self._file("groups/group_times", "groups of each caption", tables.GROUP_TIMES)

    @property
    def group_ledger(self) -> RunTable:
        """The groups, kept or dropped with a reason, where keys of `groups` drop any."""
        return self._file("groups/ledger", "ledger of groups", tables.LEDGER)

    @property
    def summaries(self) -> RunTable:
        """The answer for each group; no file in a run whose arms need none."""
        found = self._sharded("summaries", "summaries", tables.SUMMARIES)
        return found if self.summarized or not self.drawn else replace(found, paths=())

    def sentences(self, arm: str) -> RunTable:
        """The sentences that an arm draws, once for each candidate."""
        names = [f"images/{drawing}/sentences" for drawing in self.drawings(arm)]
        return self._files(names, f"sentences of {arm}", tables.SENTENCES)

    def images(self, arm: str) -> RunTable:
        """The pictures that an arm has drawn, all candidates."""
        return self._drawn("images", arm, f"pictures of {arm}", tables.IMAGES)

    def safety(self, arm: str) -> RunTable:
        """The safety verdicts on an arm's pictures."""
        return self._drawn("safety", arm, f"verdicts on those of {arm}", tables.SAFETY)

    def alignment(self, arm: str) -> RunTable:
        """The scores of an arm's pictures with their captions; no file in a run without scores."""
        found = self._drawn("alignment", arm, f"scores of those of {arm}", tables.ALIGNMENT)
        return found if self.aligned else replace(found, paths=())

    def matches(self, arm: str) -> RunTable:
        """The nearest of an arm's pictures for each of its captions, with alignment.rematch."""
        return self._sharded(f"alignment/{arm}/matches", f"matches of {arm}", tables.ALIGNMENT)

    def drawings(self, arm: str) -> list[str]:
        """The folders of an arm's pictures below images/: the first candidates, and further ones."""
        return drawing_names(arm, self.candidates)

    def photographs(self, split: str) -> RunTable:
        """The real pictures of a split, such as "real", "val" or a test set."""
        return self._file(f"pictures/{split}/images", f"photographs of {split}", tables.IMAGES)

    def photograph_captions(self, split: str) -> RunTable:
        """The captions that people gave to the real pictures of a split."""
        return self._file(f"pictures/{split}/captions", f"captions of {split}", tables.CAPTIONS)

    def ledger(self, arm: str) -> RunTable:
        """The items of an arm, kept or dropped with a reason, at each step."""
        return self._file(f"dataset/{arm}/ledger", f"ledger of {arm}", tables.LEDGER)

    def unused_candidates(self, arm: str) -> set[str]:
        """The images of an arm in whose place another candidate of their sentence is used, by its ledger."""
        if self.candidates == 1:
            return set()
        rows = self.ledger(arm).rows(["stage", "item_id", "kept"])
        rows = rows.filter(pc.and_(pc.equal(rows["stage"], "candidates"), pc.invert(rows["kept"])))
        return set(rows["item_id"].to_pylist())

    def pairs(self, arm: str) -> RunTable:
        """The training pairs of an arm."""
        return self._file(f"dataset/{arm}/pairs", f"pairs of {arm}", tables.PAIRS)

    def history(self, arm: str, seed: int) -> RunTable:
        """The losses and validation scores of a training."""
        name = f"captioner/{arm}/seed-{seed}/history"
        return self._file(name, f"training of {arm}, seed {seed}", tables.HISTORY)

    def predictions(self, arm: str, seed: int, test: str) -> RunTable:
        """The captions that a captioner writes for the pictures of a test set."""
        name = f"evaluation/{arm}/seed-{seed}/{test}/predictions"
        return self._file(name, f"captions of {test} by {arm}, seed {seed}", tables.PREDICTIONS)

    def clip_vectors(self, test: str) -> RunTable:
        """The vectors of a test set's pictures and references, with evaluation.clip_model."""
        return self._file(f"evaluation/clip_vectors/{test}", f"vectors of {test}", tables.CLIP_VECTORS)

    def test_scores(self, arm: str, seed: int, test: str) -> RunTable:
        """The scores of a captioner on a test set."""
        name = f"evaluation/{arm}/seed-{seed}/{test}/scores"
        return self._file(name, f"scores on {test} of {arm}, seed {seed}", tables.SCORES)

    @property
    def scores(self) -> RunTable:
        """The scores of every captioner on every test set, a file each: they are there before they are collected."""
        each = product(self.arms, self.seeds, self.tests)
        paths = [path for arm, seed, test in each for path in self.test_scores(arm, seed, test).paths]
        return RunTable("evaluation", "scores", tables.SCORES, tuple(paths), self.skip_damaged)

    @property
    def collected_scores(self) -> RunTable:
        """The scores of a finished run in one file."""
        return self._file("evaluation/scores", "scores", tables.SCORES)

    def _file(self, name: str, title: str, table: Table) -> RunTable:
        return self._files([name], title, table)

    def _files(self, names: Sequence[str], title: str, table: Table) -> RunTable:
        paths = tuple(self.folder / f"{name}.parquet" for name in names)
        return RunTable(names[0], title, table, paths, self.skip_damaged)

    def _sharded(self, name: str, title: str, table: Table) -> RunTable:
        return RunTable(name, title, table, tuple(self._shards_of(name)), self.skip_damaged)

    def _drawn(self, stage: str, arm: str, title: str, table: Table) -> RunTable:
        paths = [path for drawing in self.drawings(arm) for path in self._shards_of(f"{stage}/{drawing}")]
        return RunTable(f"{stage}/{arm}", title, table, tuple(paths), self.skip_damaged)

    def _shards_of(self, name: str) -> list[Path]:
        return [self.folder / name / f"{shard}.parquet" for shard in self.shards]

    def image_file(self, arm: str, image_id: str) -> Path:
        """The file of IMAGES that a picture drawn for an arm is in, or will be."""
        drawing = drawing_names(arm, candidate_number(image_id) + 1)[-1]
        shard = self.shards[shard_of(image_id, len(self.shards))]
        return self.folder / "images" / drawing / f"{shard}.parquet"

    # --- Other files --------------------------------------------------------------------------------------------------

    def contact_sheet(self, arm: str, shard: str) -> Path:
        """The contact sheet of a shard of an arm's pictures."""
        return self.folder / "images" / arm / f"{shard}.png"

    def log(self, job: str) -> Path:
        """The log of a job, such as "train_captioner/multi-seed-0"."""
        return self.folder / "logs" / f"{job}.log"

    def benchmark(self, job: str) -> Path:
        """The benchmark file of a job."""
        return self.folder / "benchmarks" / f"{job}.tsv"

    def benchmarks(self, jobs: str) -> list[Path]:
        """The benchmark files that exist of a rule's jobs, or of those below a name such as "generate_images/multi"."""
        folder = self.folder / "benchmarks"
        return [*folder.glob(f"{jobs}.tsv"), *sorted(folder.glob(f"{jobs}/**/*.tsv"))]

    @property
    def estimate_page(self) -> Path:
        """The page that `snakemake estimate` writes."""
        return self.folder / "estimate.md"

    @property
    def summaries_budget(self) -> Path:
        """The folder with what jobs have reserved of summaries.budget_usd."""
        return self.folder / "budget"

    @property
    def images_budget(self) -> Path:
        """The folder with what jobs have reserved of images.budget_usd."""
        return self.folder / "image-budget"

    @property
    def gallery(self) -> Path:
        """The folder of the gallery."""
        return self.folder / "gallery"

    def exported_captioner(self, arm: str, seed: int) -> Path:
        """The folder of a captioner that `snakemake export` writes."""
        return self.folder / "export" / arm / f"captioner-seed-{seed}"


def run_folder(name: str) -> Path:
    """The folder of the run of this name."""
    return RESULTS / name


def configured_run(config: Config, folder: Path | None = None) -> Run:
    """The run that a config describes, in its folder or another one; damaged tables count as not there."""
    return Run(
        run_folder(config.run) if folder is None else folder, list(config.arms), config.drawn_arms, config.shard_names,
        config.captioner.seeds, list(config.pictures.tests), config.images.candidates, config.guard.is_on,
        config.alignment.scores, config.search_parts, skip_damaged=True, language=config.captions.language,
    )  # fmt: skip
