"""Pictures: real photographs with their captions, as a corpus publishes them."""

import io
from pathlib import Path

from PIL import Image

from icsd import tables
from icsd.coco import read_annotations
from icsd.errors import InputError
from icsd.logs import progress
from icsd.references import real_image_id

MODEL = "photograph"  # what IMAGES has for a model where nothing was drawn


def read_pictures(annotations: Path, folder: Path, split: str, images: Path, captions: Path) -> None:
    """Write the IMAGES of a COCO annotation file, the bytes as they lie in `folder`, and their CAPTIONS.

    A picture without a caption is kept. InputError, naming file and record, for an annotation without its
    picture, and for a picture file that is missing or cannot be decoded.
    """
    found = read_annotations(annotations)
    names = sorted(found.file_names.items())
    pictures = [
        _picture(annotations, folder, image_id, name) for image_id, name in progress(names, len(names), "pictures")
    ]
    tables.write(images, tables.IMAGES, pictures)
    rows = [
        {"caption_id": caption_id, "image_id": image_id, "caption": caption, "split": split}
        for caption_id, image_id, caption in found.captions
    ]
    tables.write(captions, tables.CAPTIONS, rows)


def _picture(annotations: Path, folder: Path, image_id: int, name: str) -> dict[str, object]:
    """A row of IMAGES."""
    path = folder / name
    try:
        data = path.read_bytes()
    except OSError as error:
        problem = f"its picture {path} cannot be read ({error.strerror})"
        hint = "put the file there, or mend pictures in config/config.yaml"
        raise InputError(annotations, f"image {image_id}", problem, hint) from error
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()  # the header alone does not show that a file was cut short
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        problem = f"is no picture that can be decoded ({error}); image {image_id} of {annotations}"
        raise InputError(path, name, problem, "replace the file or remove its record") from error
    image = {"bytes": data, "path": name}
    return {"image_id": real_image_id(image_id), "image": image, "sentence": "", "seed": 0, "model": MODEL}
