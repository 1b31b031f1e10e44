from pathlib import Path

from icsd.core.logs import job_log
from icsd.picturebook.tokenizers import new_bert_tokenizer, new_clip_tokenizer, save_tokenizer

with job_log(snakemake.log[0]):
    save_tokenizer(new_clip_tokenizer(), Path(snakemake.output.clip))
    save_tokenizer(new_bert_tokenizer(), Path(snakemake.output.bert))
