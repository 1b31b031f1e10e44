"""Readers of corpora in the layouts that they are published in.

corpus        a corpus: the captions or the pictures of one split of its files
layouts       the layouts by name, and detection of a file's layout
documents     COCO, NoCaps, Karpathy, BLIP: one JSON document
lines         plain text, Flickr, CC3M, CSV, TSV, JSON Lines
columns       tables with named columns, and Parquet
entries       the records that every reader yields, and their checks
dropped       the ledger of records that cannot be used
coco_results  predicted captions, as COCO's evaluation takes them
"""

from icsd.corpora.corpus import Corpus, Picture, Row

__all__ = ["Corpus", "Picture", "Row"]
