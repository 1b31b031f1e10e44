"""The picture book: a miniature world with captions, and the training of its small models.

The pipeline never imports this package. It reads the picture book as any other corpus and loads its models as any
others.

`scenes`, `drawing` and `phrases` sample a scene, draw it and caption it; `splits` collects scenes into splits and
writes them as a corpus. `tokenizers`, `clip`, `autoencoder`, `generator` and `safety_checker` train the small models,
with `training` as their common parts. `probe` detects the objects in a picture, `mentions` finds those in a caption;
`quality` measures the models with them, and `claim` compares the arms.
"""
