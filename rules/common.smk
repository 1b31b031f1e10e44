# What rules need of Snakemake and each other; all else lives in the package.

# of this machine; its jobs lease them (docs/guide/gpus.md)
GPUS = announce_gpus(main=workflow.is_main_process)

jobs = Jobs.on_cluster(
    cfg.estimate.walltime_margin,
    workflow.resource_settings.default_resources,
    run=cfg.run,
    inside=workflow.remote_exec,
    gpu=min(1, GPUS),
)


LANGUAGE = cfg.captions.params("language")  # params of rules that count words; none for English


pathvars:
    results=cfg.results,


wildcard_constraints:
    shard=r"\d{4}-of-\d{4}",
    seed=r"\d+",
    arm="|".join(ARMS),
    drawing=rf"({'|'.join(ARMS)})(/candidate-\d+)?",
    number=r"\d+",
    test="|".join(cfg.pictures.tests),


def arm_images(wildcards):
    """The IMAGES of the arm that a wildcard names."""
    return images_of_arm(wildcards.arm)


def images_of_arm(name):
    """The IMAGES of an arm: its own, those of the arm that draws them, or the photographs."""
    arm = ARMS[name].drawn_by
    if arm.photographs:
        return ["<results>/pictures/real/images.parquet"]
    return drawn_shards("images", arm.name)


def images_of_dataset(folder):
    """The IMAGES of a finished run's dataset, the folder results/<run>/dataset/<arm>; ConfigError if it has none."""
    run, arm = folder.parents[1], ARMS[folder.name].drawn_by
    if arm.photographs:
        found = [run / "pictures/real/images.parquet"]
    else:
        found = [path for path in (run / "images" / arm.name).rglob("*.parquet") if path.name != "sentences.parquet"]
    if not found or not all(path.exists() for path in [*found, folder / "pairs.parquet"]):
        hint = f"finish the run {run.name} first, or name another folder results/<run>/dataset/<arm>"
        raise ConfigError(f"captioner.also={folder}: there are no pairs with images; {hint}")
    return sorted(map(str, found))


def arms_also(wildcards):
    """The arms of this run in captioner.also, without that of the training."""
    return [name for name in cfg.captioner.also if name in ARMS and name != wildcards.arm]


def pairs_also(wildcards):
    """The PAIRS of the datasets in captioner.also."""
    own = [f"<results>/dataset/{arm}/pairs.parquet" for arm in arms_also(wildcards)]
    return [*own, *(str(folder / "pairs.parquet") for folder in cfg.captioner.folders_also)]


def training_images(wildcards):
    """The IMAGES of all pairs of a training."""
    own = [path for arm in [wildcards.arm, *arms_also(wildcards)] for path in images_of_arm(arm)]
    return list(
        dict.fromkeys([*own, *(path for folder in cfg.captioner.folders_also for path in images_of_dataset(folder))])
    )


def drawn_shards(stage, *arms):
    """The tables of a stage for all pictures that are drawn for these arms, further candidates included."""
    drawings = [drawing for arm in arms for drawing in cfg.drawings(arm)]
    return collect(f"<results>/{stage}/{{drawing}}/{{shard}}.parquet", drawing=drawings, shard=SHARDS)


def drawn_sentences(*arms):
    """The SENTENCES of these arms, further candidates included."""
    return collect(
        "<results>/images/{drawing}/sentences.parquet", drawing=[d for arm in arms for d in cfg.drawings(arm)]
    )


def earlier_drawings(wildcards):
    """The drawings of the candidates before this one."""
    return cfg.drawings(wildcards.arm)[: int(wildcards.number)]


def earlier(stage):
    """An input: the tables of a stage for all earlier candidates, where these decide what is drawn again."""
    if cfg.images.redraw_below is None and cfg.images.max_images is None:
        return []
    return lambda wildcards: collect(
        f"<results>/{stage}/{{drawing}}/{{shard}}.parquet", drawing=earlier_drawings(wildcards), shard=SHARDS
    )


def arms_where(holds):
    """A wildcard's pattern: the arms for which `holds`."""
    return "|".join(name for name, arm in ARMS.items() if holds(arm))


# the wildcard `drawing` where pictures are drawn
DRAWN = rf"({arms_where(lambda arm: arm.sentences)})(/candidate-\d+)?"

# the table that tells how many pictures an arm is to have: the pairs, or, where scores drop some of these, the ledger
BALANCE = "ledger" if cfg.alignment.selects else "pairs"


def group_tables(arm):
    """Return the inputs that tell which images of an arm were possible."""
    if arm.drawn_by.sentences == "groups":
        return {"groups": "<results>/groups/all.parquet"}
    return {"summaries": collect("<results>/summaries/{shard}.parquet", shard=SHARDS)}


def dataset_tables(wildcards):
    """Return the inputs of the dataset of an arm with drawn pictures."""
    arm = ARMS[wildcards.arm]
    drawn_by = arm.drawn_by.name
    return {
        "captions": KEPT,
        **group_tables(arm),
        "sentences": drawn_sentences(drawn_by),
        "images": arm_images(wildcards),
        "safety": drawn_shards("safety", drawn_by),
        "alignment": drawn_shards("alignment", drawn_by) if cfg.scores_decide else [],
        "matches": collect(f"<results>/alignment/{drawn_by}/matches/{{shard}}.parquet", shard=MATCHED),
        "balance": f"<results>/dataset/{METHOD}/{BALANCE}.parquet" if arm.balanced else [],
    }


def model_input(*models):
    """Return the manifests of the downloaded models, as inputs of jobs that load them; none for shipped models."""
    return cfg.downloads.markers(*models)


def shipped(path):
    """A prompt, or what belongs to the picture book: beside the Snakefile where the working directory has none."""
    return shipped_path(path, HOME)


def report_parts(folder, parts):
    """Files of the report, marked for Snakemake's page."""
    return {
        name: report(f"{folder}/{file}", f"../report/{caption}.rst", category, labels={"result": result})
        for name, (file, caption, category, result) in parts.items()
    }
