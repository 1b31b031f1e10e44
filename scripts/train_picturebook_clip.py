from pathlib import Path

from icsd.core.logs import job_log

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    from transformers import CLIPTokenizer

    from icsd.picturebook.clip import train_clip

    tokenizer, params = CLIPTokenizer.from_pretrained(snakemake.input.tokenizer), snakemake.params
    train_clip(Path(snakemake.output.clip), tokenizer, params.seed, snakemake.threads, steps=params.steps)
