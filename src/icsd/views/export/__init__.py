"""Export: an arm's dataset and its captioner in the forms that other people's tools open.

pairs      the manifest: pictures with their captions, a shard at a time
layouts    the folders: Hugging Face's Parquet, WebDataset's tar files, COCO's JSON
facts      what a run's tables say of a dataset: counts, funnel, cost
models     which models took part, and at which commit
text       text of captions and of models in Markdown
provenance where pictures and captions come from
card       README.md of a dataset
dataset    the dataset's folder
captioner  the captioner's folder and its README.md
"""

from icsd.stages.captioner.folder import Manner
from icsd.views.export.captioner import Trained, export_captioner
from icsd.views.export.dataset import ExportedArm, export_dataset

__all__ = ["ExportedArm", "Manner", "Trained", "export_captioner", "export_dataset"]
