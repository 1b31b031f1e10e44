"""Groups: each caption with its k nearest.

After "Image Captioning with Multi-Context Synthetic Data" (ICSD, AAAI 2024) and its code, FeipengMa6/ICSD:
inner products of unit vectors, every caption is the anchor of a group.

`corpus` reads the vectors, `searching` finds the nearest captions, `forming` makes groups of them, and `selection`
says which of these are kept.
"""

from icsd.stages.groups.forming import form_groups
from icsd.stages.groups.searching import find_neighbors, index_captions, measure_recall
from icsd.stages.groups.selection import Selection

__all__ = ["Selection", "find_neighbors", "form_groups", "index_captions", "measure_recall"]
