"""Corpora as they are published: readers of their layouts."""

from icsd.corpora.corpus import Corpus, Picture, Row

__all__ = ["Corpus", "Picture", "Row"]
