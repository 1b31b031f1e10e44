"""A number for each stage, a param of its rules. Raise it in the commit that changes output for equal input."""

REVISIONS = {
    "picturebook": 1,
    "picturebook_models": 1,
    "picturebook_benchmark": 3,
    "captions": 1,
    "pictures": 2,
    "embeddings": 1,
    "guard": 1,
    "groups": 1,
    "summaries": 2,
    "images": 1,
    "alignment": 1,
    "safety": 1,
    "dataset": 1,
    "captioner": 2,
    "evaluation": 3,
    "export": 1,
    "gallery": 1,
    "report": 1,
}
