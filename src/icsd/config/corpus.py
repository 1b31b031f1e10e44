"""The corpora of captions and photographs, and the guard on captions."""

from collections.abc import Set
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from icsd.config.section import Count, Section, Share, added, tracked
from icsd.core.languages import CODES, ENGLISH

LayoutName = Literal[
    "auto", "coco", "nocaps", "karpathy", "blip", "text", "flickr", "cc3m", "csv", "tsv", "parquet", "jsonl"
]


def _checked(value: Any) -> Any:
    """Check a path or a list of paths with one message; pydantic would give one for each type of the union."""
    if isinstance(value, str) or (isinstance(value, list) and value and all(isinstance(path, str) for path in value)):
        for path in [value] if isinstance(value, str) else value:
            _no_braces(path)
        return value
    raise ValueError("must be a path or a list of paths")


def _no_braces(path: Any) -> Any:
    if isinstance(path, str) and {"{", "}"} & {*path}:
        raise ValueError("braces in a path would be Snakemake's wildcards: rename it, or give a link without them")
    return path


Paths = Annotated[str | list[str], BeforeValidator(_checked)]
_LAYOUT = "Layout of the file (docs/guide/your-captions.md has them); auto tells it by suffix and content."


class Columns(Section):
    """Names of the columns of CSV, TSV, Parquet and JSON Lines; "" for one that is not to be read."""

    caption: str | None = tracked(None, "A caption, or a list of them; null: caption or captions.")
    caption_id: str | None = tracked(None, "Its id; null: caption_id, and the caption's number without one.")
    image_id: str | None = tracked(None, "Its picture's id; null: image_id where there is one.")
    image: str | None = tracked(None, "The picture's bytes or file name; null: image, image_bytes or file_name.")
    split: str | None = tracked(None, "Its split; null: split where there is one.")


TestName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


def _no(value: Any) -> Any:
    return "no" if value is False else value  # YAML reads no, Norwegian, as false


def _known(value: str) -> str:
    if value in CODES:
        return value
    raise ValueError("must be a language's two letters in ISO 639-1, such as en, zh, ja, ar or de")


Language = Annotated[str, BeforeValidator(_no), AfterValidator(_known)]


class CaptionsConfig(Section):
    """The corpus of captions."""

    annotations: Paths = tracked(..., "The corpus: a file, or several that are joined; its pictures are not read.")
    layout: LayoutName = tracked("auto", _LAYOUT)
    split: str = tracked(
        "train",
        "Split of the corpus; train includes restval, all is every split. For a corpus without splits, the value "
        "of the captions' split column.",
    )
    columns: Columns = Columns()
    language: Language = added(
        ENGLISH, "Language of the captions, in two letters (ISO 639-1): how words are counted and compared."
    )
    max_characters: Count = tracked(1000, "A longer caption is dropped: no sentence that people say of a picture.")
    max_drop_share: Share = added(
        0.01, "A larger share of records that cannot be used, also of pictures, is an error; with 0, the first one is."
    )
    missing: list[str] = added([], "Texts that stand for no caption, such as NA.")

    @property
    def paths(self) -> list[str]:
        """The files."""
        return _listed(self.annotations)

    def reading(self) -> dict[str, Any]:
        """Return the keys that determine how the files are read, for a rule's params."""
        return self.params("layout", "split", "columns", "max_drop_share", "missing")


class PicturesSplit(Section):
    """Real pictures with their captions."""

    annotations: Paths = tracked(..., "Their captions: a file, or several that are joined.")
    images: Annotated[str, BeforeValidator(_no_braces)] | None = tracked(
        None, "The folder with the files that it names; null where it holds the pictures."
    )
    layout: LayoutName = tracked("auto", _LAYOUT)
    split: str | None = tracked(None, "Split of the corpus, as captions.split; null for a corpus without splits.")
    columns: Columns = Columns()

    @property
    def paths(self) -> list[str]:
        """The annotation files."""
        return _listed(self.annotations)

    @property
    def folders(self) -> list[str]:
        """The folder, where there is one."""
        return _listed(self.images or [])

    def reading(self) -> dict[str, Any]:
        """Return the keys that determine how the files are read, for a rule's params."""
        return self.params("layout", "split", "columns")


class NamedSplit(PicturesSplit):
    """The test pictures of the run's own corpus."""

    name: TestName = tracked("test", "Name of this test set in the tables of scores.")


class PicturesConfig(Section):
    """The real pictures: for the arm `real`, to choose checkpoints (val) and for the scores (test)."""

    real: PicturesSplit | None = tracked(None, "Pairs for the arm real; null where a corpus has none.")
    val: PicturesSplit = tracked(..., "Pictures that choose each training's checkpoint.")
    test: NamedSplit = tracked(..., "Pictures that the trained captioners are scored on, once.")
    more_tests: dict[TestName, PicturesSplit] = tracked(
        {}, "Further test sets by name, such as those of other corpora; every captioner is scored on each."
    )
    max_drop_share: Share = tracked(
        0.1, "A larger share of pictures that are missing or cannot be decoded is an error."
    )

    @property
    def tests(self) -> dict[str, PicturesSplit]:
        """The test sets by name, the run's own first."""
        return {self.test.name: self.test, **self.more_tests}

    @property
    def splits(self) -> dict[str, PicturesSplit]:
        """All pictures that are read, by the name of their folder in <results>/pictures/."""
        real = {} if self.real is None else {"real": self.real}
        return real | {"val": self.val} | self.tests

    @property
    def references(self) -> list[str]:
        """The splits whose captions are references: val, which chooses checkpoints, and the test sets."""
        return ["val", *self.tests]

    @model_validator(mode="after")
    def _names_differ(self) -> "PicturesConfig":
        taken = {"real", "val", self.test.name} & self.more_tests.keys() | {"real", "val"} & {self.test.name}
        if taken:
            raise ValueError(
                f"the test set {min(taken)} needs another name: real, val and pictures.test.name are taken"
            )
        return self


def _off(value: Any) -> Any:
    return "off" if value is False else value  # YAML reads off as false


Action = Annotated[Literal["off", "report", "drop"], BeforeValidator(_off)]


class GuardConfig(Section):
    """Captions that repeat another caption, or a reference of val or of a test set; not those of `pictures.real`."""

    duplicates: Action = tracked(
        "off",
        "Captions with the words of another one, or nearly: off looks for none, report counts them in the report, drop "
        "keeps the one with the lowest id.",
    )
    references: Action = tracked(
        "off", "Captions that are a reference of val or of a test set, or nearly: off, report or drop."
    )
    ngram: Count = tracked(2, "Words of an n-gram; case and punctuation do not count.")
    min_jaccard: Annotated[float, Field(ge=0.5, le=1)] = tracked(
        0.8, "Texts are nearly the same if their sets of n-grams have this Jaccard index or more."
    )
    min_cosine: Annotated[float, Field(gt=0, le=1)] | None = tracked(
        0.97, "A caption is nearly a reference, too, if their vectors have this cosine or more; null for n-grams alone."
    )

    @property
    def is_on(self) -> bool:
        """True if captions are looked for."""
        return {self.duplicates, self.references} != {"off"}

    @property
    def drops(self) -> bool:
        """True if captions are dropped."""
        return "drop" in (self.duplicates, self.references)

    @property
    def uses_vectors(self) -> bool:
        """True if vectors of captions and references are compared."""
        return self.references != "off" and self.min_cosine is not None

    @property
    def unused(self) -> Set[str]:
        """The keys that other values of the section turn off: cosines are those with references."""
        return {"min_cosine"} if self.references == "off" else set()


def _listed(paths: Paths) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)
