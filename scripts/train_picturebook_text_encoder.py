from pathlib import Path

from icsd.core.logs import job_log

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    from transformers import CLIPTokenizer

    from icsd.picturebook.generator import train_text_encoder

    tokenizer, params = CLIPTokenizer.from_pretrained(snakemake.input.tokenizer), snakemake.params
    train_text_encoder(
        Path(snakemake.output.text_encoder), tokenizer, params.seed, snakemake.threads, steps=params.steps
    )
