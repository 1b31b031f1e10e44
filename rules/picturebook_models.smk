# picturebook_models: the small models of the picture book, trained from random weights
#
# in:  nothing; scenes and captions of the split "generator" are made as they are needed
# out: results/training/picturebook/models/clip/              open_clip: image and text tower
#      results/training/picturebook/models/stable-diffusion/  diffusers StableDiffusionPipeline, safety checker included
#      results/training/picturebook/models/vision/            transformers CLIPVisionModel: CLIP's image tower
#      results/training/picturebook/models/bert/              transformers BertTokenizer
#      results/training/picturebook/models/probe/             the probe that measures the others
# own: results/training/picturebook/parts/                    what the pipeline is assembled from
#
# Those that only convert and put together are local rules, of seconds. `make models` copies the models to resources/picturebook/, which the config names and git holds.

SEED = 0
UNET_CYCLES = [5000, 3700, 3300]  # steps; each begins where the one before it ended
STEPS = {
    "text_encoder": 1000,
    "autoencoder": 4500,
    "clip": 1800,
    "safety_checker": 1200,
    "probe": 2500,
}


rule train_picturebook:
    input:
        expand(
            "results/training/picturebook/models/{model}",
            model=["clip", "stable-diffusion", "vision", "bert", "probe"],
        ),


rule train_picturebook_tokenizers:
    output:
        clip=directory("results/training/picturebook/parts/tokenizer"),
        bert=directory("results/training/picturebook/models/bert"),
    params:
        revision=REVISIONS["picturebook_models"],
    log:
        "results/training/picturebook/logs/train_picturebook_tokenizers.log",
    benchmark:
        "results/training/picturebook/benchmarks/train_picturebook_tokenizers.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(2000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/train_picturebook_tokenizers.py"


rule train_picturebook_text_encoder:
    input:
        tokenizer="results/training/picturebook/parts/tokenizer",
    output:
        text_encoder=directory("results/training/picturebook/parts/text_encoder"),
    params:
        revision=REVISIONS["picturebook_models"],
        seed=SEED,
        steps=STEPS["text_encoder"],
    log:
        "results/training/picturebook/logs/train_picturebook_text_encoder.log",
    benchmark:
        "results/training/picturebook/benchmarks/train_picturebook_text_encoder.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(120),
        gpu=jobs.gpu,
    script:
        "../scripts/train_picturebook_text_encoder.py"


rule train_picturebook_autoencoder:
    output:
        autoencoder=directory("results/training/picturebook/parts/autoencoder"),
    params:
        revision=REVISIONS["picturebook_models"],
        seed=SEED,
        steps=STEPS["autoencoder"],
    log:
        "results/training/picturebook/logs/train_picturebook_autoencoder.log",
    benchmark:
        "results/training/picturebook/benchmarks/train_picturebook_autoencoder.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(6000),
        runtime=jobs.minutes(240),
        gpu=jobs.gpu,
    script:
        "../scripts/train_picturebook_autoencoder.py"


rule train_picturebook_unet:
    input:
        tokenizer="results/training/picturebook/parts/tokenizer",
        autoencoder="results/training/picturebook/parts/autoencoder",
        text_encoder="results/training/picturebook/parts/text_encoder",
    output:
        unet=directory("results/training/picturebook/parts/unet"),
    params:
        revision=REVISIONS["picturebook_models"],
        seed=SEED,
        cycles=UNET_CYCLES,
    log:
        "results/training/picturebook/logs/train_picturebook_unet.log",
    benchmark:
        "results/training/picturebook/benchmarks/train_picturebook_unet.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(8000),
        runtime=jobs.minutes(1440),
        gpu=jobs.gpu,
    script:
        "../scripts/train_picturebook_unet.py"


rule train_picturebook_clip:
    input:
        tokenizer="results/training/picturebook/parts/tokenizer",
    output:
        clip=directory("results/training/picturebook/models/clip"),
    params:
        revision=REVISIONS["picturebook_models"],
        seed=SEED,
        steps=STEPS["clip"],
    log:
        "results/training/picturebook/logs/train_picturebook_clip.log",
    benchmark:
        "results/training/picturebook/benchmarks/train_picturebook_clip.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(6000),
        runtime=jobs.minutes(480),
        gpu=jobs.gpu,
    script:
        "../scripts/train_picturebook_clip.py"


rule convert_picturebook_vision:
    input:
        clip="results/training/picturebook/models/clip",
    output:
        vision=directory("results/training/picturebook/models/vision"),
    params:
        revision=REVISIONS["picturebook_models"],
    log:
        "results/training/picturebook/logs/convert_picturebook_vision.log",
    conda:
        "../envs/icsd.yaml"
    localrule: True
    threads: 1
    resources:
        mem_mb=jobs.memory(2000),
        runtime=jobs.minutes(10),
    script:
        "../scripts/convert_picturebook_vision.py"


rule train_picturebook_safety_checker:
    input:
        clip="results/training/picturebook/models/clip",
    output:
        safety_checker=directory("results/training/picturebook/parts/safety_checker"),
    params:
        revision=REVISIONS["picturebook_models"],
        seed=SEED,
        steps=STEPS["safety_checker"],
    log:
        "results/training/picturebook/logs/train_picturebook_safety_checker.log",
    benchmark:
        "results/training/picturebook/benchmarks/train_picturebook_safety_checker.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(6000),
        runtime=jobs.minutes(120),
        gpu=jobs.gpu,
    script:
        "../scripts/train_picturebook_safety_checker.py"


rule train_picturebook_probe:
    output:
        probe=directory("results/training/picturebook/models/probe"),
    params:
        revision=REVISIONS["picturebook_models"],
        seed=SEED,
        steps=STEPS["probe"],
    log:
        "results/training/picturebook/logs/train_picturebook_probe.log",
    benchmark:
        "results/training/picturebook/benchmarks/train_picturebook_probe.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(60),
        gpu=jobs.gpu,
    script:
        "../scripts/train_picturebook_probe.py"


rule assemble_picturebook_pipeline:
    input:
        tokenizer="results/training/picturebook/parts/tokenizer",
        autoencoder="results/training/picturebook/parts/autoencoder",
        unet="results/training/picturebook/parts/unet",
        safety_checker="results/training/picturebook/parts/safety_checker",
    output:
        pipeline=directory("results/training/picturebook/models/stable-diffusion"),
    params:
        revision=REVISIONS["picturebook_models"],
    log:
        "results/training/picturebook/logs/assemble_picturebook_pipeline.log",
    conda:
        "../envs/icsd.yaml"
    localrule: True
    threads: 1
    resources:
        mem_mb=jobs.memory(2000),
        runtime=jobs.minutes(10),
    script:
        "../scripts/assemble_picturebook_pipeline.py"
