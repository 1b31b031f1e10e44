"""Score predicted captions on the real test pictures.

`scoring` scores one captioner's captions: a run's predictions or a COCO results file. `bootstrap` computes the metrics
with their 95% intervals, with `java` for METEOR and the PTB tokeniser, `spice` for SPICE and `clip_score` for
CLIPScore. `comparison` shows the scores of several arms, seeds, test sets and runs side by side.
"""
