"""Summaries: of each group the captions that can describe one scene, condensed into one sentence to draw.

stage       from tables to a table
providers   who answers: the built-in merger (merge/) or a chat model
prompts     the prompt's text, and what its answers must be; answers reads and checks them
asking      groups to requests, replies to summaries: asks what the store lacks, and once more what cannot be used
requests    a request, its key, its reply; replies is the store of them, budget what a run may spend
online      OpenAI's chat completions, at the rate that the server bears; batch* the Batch API; local a model in the job
quality     what can be counted of a summary; judge drops for it
comparison  prompts side by side
"""

from icsd.stages.summaries.stage import summarize_groups

__all__ = ["summarize_groups"]
