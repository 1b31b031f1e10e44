"""The built-in merger: selects captions that can describe one scene, merges them into one sentence; without a model."""

from icsd.merger.merging import Limits, Merged, merge

__all__ = ["Limits", "Merged", "merge"]
