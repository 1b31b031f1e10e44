"""Summaries: one sentence to draw for each group, from those of its captions that can describe one scene.

`stage` reads and writes the tables. `prompts` renders a group's prompt, and `providers` sends it to a language model,
once more where the answer cannot be used, or calls the built-in merger. `answers` parses and checks responses,
`quality` measures summaries and drops poor ones, and `comparison` compares prompts.
"""

from icsd.stages.summaries.stage import summarize_groups

__all__ = ["summarize_groups"]
