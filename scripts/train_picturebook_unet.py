from pathlib import Path

from icsd.core.logs import job_log

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    from transformers import CLIPTokenizer

    from icsd.picturebook.generator import train_unet

    tokenizer, params = CLIPTokenizer.from_pretrained(snakemake.input.tokenizer), snakemake.params
    autoencoder, text_encoder = Path(snakemake.input.autoencoder), Path(snakemake.input.text_encoder)
    folder, threads = Path(snakemake.output.unet), snakemake.threads
    train_unet(folder, autoencoder, text_encoder, tokenizer, params.seed, threads, cycles=params.cycles)
