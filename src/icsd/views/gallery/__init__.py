"""Gallery: a run's pictures as a page that opens from disk, with all that the tables say of them."""

from icsd.views.gallery.run import Run, found_run
from icsd.views.gallery.writing import summary_of, write_gallery

__all__ = ["Run", "found_run", "summary_of", "write_gallery"]
