# ICSD: captions in, a captioner out. README.md tells how to run it, config/config.yaml what it does.
from pathlib import Path

from snakemake.utils import min_version

from icsd.config import ARMS, METHOD, load_config, shipped_path
from icsd.config.embeddings import SEARCHED_BYTES
from icsd.config.revisions import REVISIONS
from icsd.core.errors import ConfigError
from icsd.core.ids import shards_of_part
from icsd.workflow.gpus import announce_gpus
from icsd.workflow.resources import Jobs

min_version("9.12")


configfile: "config/config.yaml"


# where another workflow takes this one as a module, config has its config alone, and the rest lies here
HOME = Path(workflow.snakefile).parent
cfg = load_config(config, HOME)
SHARDS = cfg.shard_names


include: "rules/common.smk"
include: "rules/cluster.smk"
include: "rules/downloads.smk"
include: "rules/captions.smk"
include: "rules/guard.smk"
include: "rules/embeddings.smk"
include: "rules/groups.smk"
include: "rules/summaries.smk"
include: "rules/images.smk"
include: "rules/alignment.smk"
include: "rules/safety.smk"
include: "rules/pictures.smk"
include: "rules/dataset.smk"
include: "rules/captioner.smk"
include: "rules/evaluation.smk"
include: "rules/report.smk"
include: "rules/gallery.smk"
include: "rules/export.smk"
include: "rules/estimate.smk"
include: "rules/picturebook.smk"


rule all:
    default_target: True
    input:
        "<results>/evaluation/scores.parquet",
        "<results>/evaluation/scores.md",
        "<results>/gallery",
        "<results>/groups/group_times.parquet",
        RECALL,
        "<results>/report/state.html",
