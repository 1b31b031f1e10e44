from pathlib import Path

from transformers import CLIPTokenizer

from icsd.core.logs import job_log
from icsd.picturebook.clip import train_clip

with job_log(snakemake.log[0]):
    tokenizer, params = CLIPTokenizer.from_pretrained(snakemake.input.tokenizer), snakemake.params
    train_clip(Path(snakemake.output.clip), tokenizer, params.seed, snakemake.threads, steps=params.steps)
