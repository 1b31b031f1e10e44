"""Summaries: of each group the captions that can describe one scene, condensed into one sentence to draw.

prompts    the prompt file: template, hash
answers    what a model may answer, and the check of it
providers  who answers: an OpenAI-compatible endpoint (endpoint.py) or the built-in merger (merge/)
stage      from tables to a table
"""

from icsd.summaries.stage import summarize_groups

__all__ = ["summarize_groups"]
