"""The models that the stages use: with the captioner, the only imports of torch, open_clip, diffusers, transformers."""
