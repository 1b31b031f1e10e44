"""The captioner: CLIP vision encoder and BERT decoder with cross-attention, trained on one arm's pairs."""
