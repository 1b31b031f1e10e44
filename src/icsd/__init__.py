"""ICSD: from a corpus of captions to a trained image captioner, without a human-made image-caption pair."""
