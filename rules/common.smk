# What rules need of Snakemake and each other; all else lives in the package.

jobs = Jobs.on_cluster(
    cfg.estimate.walltime_margin,
    workflow.resource_settings.default_resources,
    run=cfg.run,
    inside=workflow.remote_exec,
)


pathvars:
    results=cfg.results,


wildcard_constraints:
    shard=r"\d{4}-of-\d{4}",
    seed=r"\d+",
    arm="|".join(ARMS),
    test="|".join(cfg.pictures.tests),


def arm_images(wildcards):
    """The IMAGES of an arm: its own, those of the arm that draws them, or the photographs."""
    arm = ARMS[wildcards.arm].drawn_by
    if arm.photographs:
        return ["<results>/pictures/real/images.parquet"]
    return collect(f"<results>/images/{arm.name}/{{shard}}.parquet", shard=SHARDS)


def arms_where(holds):
    """A wildcard's pattern: the arms for which `holds`."""
    return "|".join(name for name, arm in ARMS.items() if holds(arm))


def dataset_tables(wildcards):
    """Return the inputs of the dataset of an arm with drawn pictures."""
    arm = ARMS[wildcards.arm]
    drawn_by = arm.drawn_by.name
    return {
        "captions": "<results>/captions/all.parquet",
        "summaries": collect("<results>/summaries/{shard}.parquet", shard=SHARDS),
        "sentences": f"<results>/images/{drawn_by}/sentences.parquet",
        "images": arm_images(wildcards),
        "safety": collect(f"<results>/safety/{drawn_by}/{{shard}}.parquet", shard=SHARDS),
        "balance": f"<results>/dataset/{METHOD}/pairs.parquet" if arm.balanced else [],
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
