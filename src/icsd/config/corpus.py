"""Where captions and real pictures come from."""

from pydantic import Field

from icsd.config.section import Count, Section


class CaptionsConfig(Section):
    """The corpus of captions."""

    annotations: str = Field(
        description="COCO annotation JSON whose captions are the corpus; its pictures are not read."
    )
    split: str = Field("train", description="What the captions' split column says.")
    max_characters: Count = Field(
        1000, description="A longer caption is an error: no sentence that people say of a picture."
    )


class PicturesSplit(Section):
    """Real pictures with their captions."""

    annotations: str = Field(description="COCO annotation JSON.")
    images: str = Field(description="The folder with the files that it names.")


class PicturesConfig(Section):
    """The real pictures: for the arm `real`, to choose checkpoints (val) and for the scores (test)."""

    real: PicturesSplit | None = Field(None, description="Pairs for the arm real; null where a corpus has none.")
    val: PicturesSplit = Field(description="Pictures that choose each training's checkpoint.")
    test: PicturesSplit = Field(description="Pictures that the trained captioners are scored on, once.")
