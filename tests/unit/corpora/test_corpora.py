"""Every layout as it is published, and the message for a file that does not have it."""

import json
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shared_data import SHARED, needs

from icsd.config import Columns
from icsd.core.errors import InputError
from icsd.corpora import Corpus
from icsd.corpora.columns import _list_lengths
from icsd.corpora.entries import RecordError

Captions = list[tuple[int, int | None, str, str | None]]
LARGEST = 2**63 - 1
DOG, CAFE, BALL = "A dog. ", "a café", "a ball"

COCO = {
    "info": {"year": 2014},
    "licenses": [],
    "images": [
        {
            "license": 5,
            "file_name": "COCO_val2014_000000391895.jpg",
            "coco_url": "http://…",
            "height": 360,
            "id": 391895,
        },
        {
            "license": 1,
            "file_name": "COCO_val2014_000000522418.jpg",
            "coco_url": "http://…",
            "height": 480,
            "id": 522418,
        },
    ],
    "annotations": [
        {"image_id": 522418, "id": 37, "caption": DOG},
        {"image_id": 391895, "id": 770337, "caption": CAFE},
        {"image_id": 522418, "id": 40, "caption": BALL},
    ],
}
NOCAPS = {
    "licenses": [],
    "info": {"description": "nocaps validation dataset"},
    "images": [
        {"id": number, "open_images_id": f"0013ea208702090{number}", "coco_url": "https://…", "domain": domain,
         "file_name": f"0013ea208702090{number}.jpg", "license": 0}
        for number, domain in enumerate(["in-domain", "near-domain", "out-domain"])
    ],
    "annotations": [{"image_id": n // 2, "id": n, "caption": f"caption {n}"} for n in range(6)],
}  # fmt: skip
BLIP_TRAIN = [
    {"caption": DOG, "image": "val2014/COCO_val2014_000000522418.jpg", "image_id": "coco_522418"},
    {"caption": CAFE, "image": "train2014/COCO_train2014_000000391895.jpg", "image_id": "coco_391895"},
    {"caption": BALL, "image": "val2014/COCO_val2014_000000522418.jpg", "image_id": "coco_522418"},
]
BLIP_TEST = [
    {"image": "val2014/COCO_val2014_000000391895.jpg", "caption": [CAFE]},
    {"image": "val2014/COCO_val2014_000000522418.jpg", "caption": [DOG, BALL]},
]


def _karpathy(**splits: Sequence[str]) -> dict[str, Any]:
    """dataset_coco.json with an image for each of the texts in the splits."""
    images = []
    for number, (split, text) in enumerate((split, text) for split, texts in splits.items() for text in texts):
        sentence = {"tokens": text.split(), "raw": text, "imgid": number, "sentid": 700_000 + number}
        image = {
            "filepath": "val2014",
            "sentids": [700_000 + number],
            "filename": f"COCO_{number}.jpg",
            "imgid": number,
        }
        images.append(image | {"split": split, "sentences": [sentence], "cocoid": 300_000 + number})
    return {"images": images, "dataset": "coco"}


KARPATHY = _karpathy(train=[DOG], restval=[CAFE], val=["of val"], test=["of test"])
FLICKR30K = {
    "images": [
        {
            "sentids": [0, 1],
            "imgid": 0,
            "sentences": [
                {"tokens": ["a", "dog"], "raw": DOG, "imgid": 0, "sentid": 0},
                {"tokens": ["a", "café"], "raw": CAFE, "imgid": 0, "sentid": 1},
            ],
            "split": "train",
            "filename": "1000092795.jpg",
        }
    ],
    "dataset": "flickr30k",
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, object], Path]:
    """Return a function that writes a file: bytes as they are, tables as Parquet, anything else as text or JSON."""

    def make(name: str, content: object) -> Path:
        path = tmp_path / name
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            path.write_bytes(text.encode())
        return path

    return make


def _captions(*paths: Path, layout: str = "auto", split: str | None = "train", **columns: str) -> Captions:
    corpus = Corpus(paths, layout, split, Columns(**columns))
    return [(row.caption_id, row.image_id, row.text, row.split) for row in corpus.captions()]


def _pictures(path: Path, layout: str = "auto", split: str | None = None, **columns: str) -> list[tuple]:
    return list(Corpus((path,), layout, split, Columns(**columns)).pictures())


# --- the layouts


@pytest.mark.parametrize("layout", ["auto", "coco"])
def test_coco_keeps_its_ids(write: Callable, layout: str) -> None:
    path = write("captions_val2014.json", COCO)
    assert sorted(_captions(path, layout=layout)) == [
        (37, 522418, DOG, None),
        (40, 522418, BALL, None),
        (770337, 391895, CAFE, None),
    ]
    assert _pictures(path, layout) == [
        (391895, "COCO_val2014_000000391895.jpg", None, ((770337, CAFE),), None),
        (522418, "COCO_val2014_000000522418.jpg", None, ((37, DOG), (40, BALL)), None),
    ]


@pytest.mark.parametrize("layout", ["auto", "nocaps"])
def test_nocaps_has_a_domain_for_each_picture(write: Callable, layout: str) -> None:
    path = write("nocaps_val_4500_captions.json", NOCAPS)
    pictures = list(Corpus((path,), layout).pictures())
    assert [picture.domain for picture in pictures] == ["in-domain", "near-domain", "out-domain"]
    assert pictures[2].captions == ((4, "caption 4"), (5, "caption 5"))
    assert len(_captions(path, layout=layout)) == 6


@pytest.mark.parametrize(
    ("split", "texts"),
    [
        ("train", {(700_000, DOG, "train"), (700_001, CAFE, "restval")}),
        ("restval", {(700_001, CAFE, "restval")}),
        ("val", {(700_002, "of val", "val")}),
        ("test", {(700_003, "of test", "test")}),
    ],
)
@pytest.mark.parametrize("layout", ["auto", "karpathy"])
def test_karpathys_train_is_train_and_restval(write: Callable, layout: str, split: str, texts: set) -> None:
    path = write("dataset_coco.json", KARPATHY)
    found = _captions(path, layout=layout, split=split)
    assert {(caption_id, text, own) for caption_id, _, text, own in found} == texts
    assert len(_captions(path, layout=layout, split="all")) == 4
    assert [picture.captions for picture in _pictures(path, layout, split)] == [
        ((caption_id, text),) for caption_id, text, _ in sorted(texts)
    ]


def test_karpathys_ids_and_files_are_those_of_coco_and_of_flickr30k(write: Callable) -> None:
    assert _pictures(write("dataset_coco.json", KARPATHY), split="val") == [
        (300_002, "val2014/COCO_2.jpg", None, ((700_002, "of val"),), None)
    ]
    assert _pictures(write("dataset_flickr30k.json", FLICKR30K), split="train") == [
        (0, "1000092795.jpg", None, ((0, DOG), (1, CAFE)), None)
    ]


@pytest.mark.parametrize("layout", ["auto", "blip"])
def test_blips_captions_are_numbered_and_its_pictures_have_cocos_ids(write: Callable, layout: str) -> None:
    train, test = write("coco_karpathy_train.json", BLIP_TRAIN), write("coco_karpathy_test.json", BLIP_TEST)
    assert _captions(train, layout=layout) == [
        (1, 522418, DOG, None),
        (2, 391895, CAFE, None),
        (3, 522418, BALL, None),
    ]
    assert _captions(train, test, layout=layout)[3:] == [
        (4, 391895, CAFE, None),
        (5, 522418, DOG, None),
        (6, 522418, BALL, None),
    ]
    name = "train2014/COCO_train2014_000000391895.jpg"
    assert _pictures(train, layout)[0] == (391895, name, None, ((2, CAFE),), None)
    assert _pictures(train, layout)[1].captions == ((1, DOG), (3, BALL))
    assert _pictures(test, layout)[1].captions == ((2, DOG), (3, BALL))


@pytest.mark.parametrize("content", [f"{DOG}\n{CAFE}\n", f"{DOG}\r\n{CAFE}", f"\ufeff{DOG}\n{CAFE}\n"])
def test_a_line_of_text_is_a_caption_whose_id_is_its_number(write: Callable, content: str) -> None:
    first, second = write("ss1m.txt", content), write("more.txt", f"{BALL}\n")
    assert _captions(first) == [(1, None, DOG, None), (2, None, CAFE, None)]
    assert _captions(first, second)[2] == (3, None, BALL, None)


def test_cc3m_is_a_caption_and_an_address_without_a_header(write: Callable) -> None:
    content = f'{DOG}\thttp://host/1.jpg\n"{CAFE}\thttp://host/2.jpg\n'
    for name, layout in [("Train_GCC-training.tsv", "auto"), ("cc3m.txt", "cc3m")]:
        assert _captions(write(name, content), layout=layout) == [(1, None, DOG, None), (2, None, f'"{CAFE}', None)]


@pytest.mark.parametrize(("name", "separator"), [("mine.csv", ","), ("mine.tsv", "\t")])
def test_csv_and_tsv_have_named_columns(write: Callable, name: str, separator: str) -> None:
    rows = [["image_id", "caption", "caption_id"], ["7", f'"{CAFE}, at\nnight"', "-12"], ["8", BALL, str(LARGEST)]]
    path = write(name, "".join(separator.join(row) + "\n" for row in rows))
    assert _captions(path) == [(-12, 7, f"{CAFE}, at\nnight", None), (LARGEST, 8, BALL, None)]
    assert [row[0] for row in _captions(path, caption_id="")] == [1, 2]


ROWS = [
    {"caption_id": 12, "image_id": 7, "caption": DOG, "split": "train"},
    {"caption_id": 10, "image_id": 7, "caption": CAFE, "split": "restval"},
    {"caption_id": 11, "image_id": 8, "caption": BALL, "split": "test"},
]


@pytest.mark.parametrize("name", ["mine.parquet", "mine.jsonl"])
def test_parquet_and_json_lines_have_named_columns_and_splits(write: Callable, name: str) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    path = write(name, lines if name.endswith("jsonl") else pa.Table.from_pylist(ROWS))
    assert _captions(path) == [(12, 7, DOG, "train"), (10, 7, CAFE, "restval")]
    assert len(_captions(path, split="all")) == 3


@pytest.mark.parametrize("name", ["mine.parquet", "mine.jsonl", "mine.csv"])
def test_columns_are_called_as_the_config_says(write: Callable, name: str) -> None:
    rows = [{"number": 5, "text": DOG, "url": "http://host"}]
    content = {
        "mine.parquet": pa.Table.from_pylist(rows),
        "mine.jsonl": json.dumps(rows[0]),
        "mine.csv": f"number,text,url\n5,{DOG},http://host\n",
    }[name]
    path = write(name, content)
    assert _captions(path, caption="text") == [(1, None, DOG, None)]
    assert _captions(path, caption="text", image_id="number") == [(1, 5, DOG, None)]


def test_a_parquet_row_may_hold_a_picture_and_all_its_captions(write: Callable) -> None:
    images = [{"bytes": b"one", "path": "a.jpg"}, {"bytes": b"two", "path": None}]
    captions = [[DOG, CAFE], [BALL]]
    as_datasets = pa.table({"image": images, "image_id": [9, 4], "captions": captions})
    assert _pictures(write("a.parquet", as_datasets)) == [
        (9, "a.jpg", b"one", ((1, DOG), (2, CAFE)), None),
        (4, "4", b"two", ((3, BALL),), None),
    ]
    bare = pa.table({"jpeg": [b"one", b"two"], "captions": captions, "caption_ids": [[7, 6], [5]]})
    assert _pictures(write("b.parquet", bare), image="jpeg", caption_id="caption_ids") == [
        (1, "1", b"one", ((7, DOG), (6, CAFE)), None),
        (2, "2", b"two", ((5, BALL),), None),
    ]
    assert [row[:2] for row in _captions(write("a.parquet", as_datasets))] == [(1, 9), (2, 9), (3, 4)]


def test_json_lines_may_name_picture_files(write: Callable) -> None:
    path = write("mine.jsonl", json.dumps({"file_name": "a.jpg", "caption": DOG, "image_id": 3}))
    assert _pictures(path) == [(3, "a.jpg", None, ((1, DOG),), None)]


def test_captions_of_text_are_read_one_at_a_time(write: Callable) -> None:
    """A corpus need not fit into memory: the first caption comes before the last line is read."""
    path = write("captions.txt", f"{DOG}\n".encode() * 100_000 + b"\xff\n")
    assert next(Corpus((path,)).captions()).text == DOG


# --- errors


def _message(read: Callable[[], object]) -> str:
    with pytest.raises(InputError) as error:
        read()
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


def test_a_folder_is_no_file_of_captions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder; name the file with the captions; .* pictures.real.images"):
        _captions(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "layout", "parts"),
    [
        ("x.json", {"data": []}, "auto", ["read as coco, images is missing", "read as karpathy, images is missing",
                                          "read as blip, it holds a dict", "coco, nocaps, karpathy, blip"]),
        ("x.json", {"images": [{"id": 1}]}, "auto", ["as coco, annotations is missing", "images[0] has no sentences"]),
        ("x.json", KARPATHY, "coco", ["not of the layout coco", "annotations is missing", "auto, coco, nocaps, karp"]),
        ("x.json", COCO, "karpathy", ["not of the layout karpathy", "images[0] has no sentences"]),
        ("x.json", COCO, "nocaps", ["not of the layout nocaps", "images[0] has no domain"]),
        ("x.json", COCO, "blip", ["not of the layout blip", "it holds a dict, not a list"]),
        ("x.json", "3", "auto", ["read as coco, it holds a int"]),
        ("x.json", '{"caption": "a"}\n{"caption": "b"}\n', "auto", ["line 2", "Extra data", "set its layout to jsonl"]),
        ("x.doc", "a dog", "auto", ["suffix '.doc' is not of a known layout", "set its layout to one of coco, nocaps"]),
        ("x.csv", "text,url\na,b\n", "auto", ["has no column caption", '["text", "url"]', "columns.caption"]),
        ("x.csv", "", "auto", ["has no column caption"]),
        ("x.tsv", "a dog\tby the sea\n", "auto", ["has no column caption", "the layout tsv is a header"]),
        ("x.tsv", "a dog\n", "cc3m", ["line 1: has 1 fields, not 2", "the layout cc3m is"]),
        ("x.jsonl", "[1]\n", "auto", ["line 1: is no object", "the layout jsonl is"]),
        ("x.jsonl", '{"caption": "a"}\n{"caption\n', "auto", ["line 2: is not JSON"]),
        ("x.jsonl", '{"caption": "a"}\n{"text": "a"}\n', "auto", ["line 2: has no caption"]),
        ("x.parquet", b"PAR1 no", "auto", ["is no whole Parquet file", "was it cut short?"]),
        ("x.parquet", pa.table({"text": ["a"]}), "auto", ["has no column caption", '["text"]']),
    ],
)  # fmt: skip
def test_another_layout_is_named_with_what_is_missing(
    write: Callable, name: str, content: object, layout: str, parts: list[str]
) -> None:
    path = write(name, content)
    message = _message(lambda: _captions(path, layout=layout))
    assert all(part in message for part in [str(path), *parts]), message


def _karpathy_with(**changes: Any) -> dict[str, Any]:
    document = _karpathy(train=[DOG, CAFE])
    image = document["images"][1]
    for key, value in changes.items():
        (image["sentences"][0] if key in image["sentences"][0] and key != "imgid" else image)[key] = value
    return document


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("x.json", _karpathy_with(sentid=LARGEST + 1), ["images[1].sentences[0]", "sentid is 9223", "of 64 bits"]),
        ("x.json", _karpathy_with(sentid=700_000), ["images[1].sentences[0]", "repeats the id 700000"]),
        ("x.json", _karpathy_with(cocoid=300_000), ["images[1]", "repeats the id 300000"]),
        ("x.json", _karpathy_with(cocoid="twelve"), ["images[1]", 'its cocoid is "twelve"']),
        ("x.json", _karpathy_with(split=None), ["images[1]", "its split is null, not a text"]),
        ("x.json", _karpathy_with(sentences=None), ["images[1]", "its sentences is null, not a list"]),
        ("x.json", _karpathy_with(raw=" "), ["images[1].sentences[0]", "its raw is empty"]),
        ("x.json", [{"image": "1.jpg", "caption": ["a", ""]}], ["[0]", "its caption is empty"]),
        ("x.json", [{"image": "1.jpg", "caption": "a", "image_id": 2**64}], ["its image_id is 1844", "64 bits"]),
        ("x.json", NOCAPS | {"images": [NOCAPS["images"][0] | {"domain": "far"}]}, ["images[0]", '"far", not one']),
        ("x.json", NOCAPS | {"images": NOCAPS["images"][:1]}, ["annotations[2] (id 2): its image 1 is not among"]),
        ("x.json", {"images": [NOCAPS["images"][0] | {"domain": "far"}], "annotations": []}, ['"far", not one of in']),
        ("x.txt", "a\n\nb\n", ["line 2: holds no caption", "remove the line"]),
        ("x.txt", "", ["holds no caption"]),
        ("x.txt", b"a dog\na caf\xe9\n", ["line 2, byte 5", "is not UTF-8"]),
        ("x.txt", "a dog\n".encode("utf-16"), ["line 1, byte 0", "is not UTF-8"]),
        ("x.txt", b"x" * 5_000_000, ["line 1", "is longer than 4,194,304 bytes"]),
        ("x.csv", b"caption\na caf\xe9\n", ["line 2, byte 5", "is not UTF-8"]),
        ("x.csv", "caption,caption_id\na,9223372036854775808\n", ["line 2", 'caption_id is "9223372036854775808"']),
        ("x.csv", "caption,caption_id\na,1.5\n", ["line 2", 'its caption_id is "1.5", not a whole number']),
        ("x.csv", "caption,split\na,\n", ["line 2", "its split is empty"]),
        ("x.csv", "caption,url\n,x\n", ["line 2", "its caption is empty"]),
        ("x.csv", "caption,url\na, b,x\n", ["line 2: has 3 fields, where the header has 2", "needs quotes"]),
        ("x.csv", 'caption,url\n"a"b,x\n', ["line 2", "cannot be split into fields"]),
        ("x.csv", 'caption,url\n"a,x\nb,x\n', ["lines 2 to 3: cannot be split", "mend the quotes"]),
        ("x.csv", 'caption,url\n"a,x\nb,x\n"c,d,e\n', ["lines 2 to 4", "cannot be split into fields"]),
        ("x.token", "a dog\n", ["line 1: is no file name, #, number, tab and caption"]),
        ("x.jsonl", json.dumps({"caption": ["a"] * 20_000}), ["line 1: has 20,000 captions, more than 10,000"]),
        ("x.parquet", pa.table({"caption": [["a"] * 20_000]}), ["row 1: has 20,000 captions, more than 10,000"]),
        ("x.parquet", pa.table({"caption": [["a", None]]}), ["row 1, caption 2: its caption is null"]),
        ("x.jsonl", b'{"caption": "caf\xe9"}\n', ["line 1, byte 16", "is not UTF-8"]),
        ("x.jsonl", '{"caption": "\\ud800"}\n', ["line 1", "half of a surrogate pair"]),
        ("x.jsonl", '{"caption": ["a", "b"], "caption_id": [1]}\n', ["line 1: has 2 captions and 1 of caption_id"]),
        ("x.parquet", pa.table({"caption": ["a", None]}), ["row 2", "its caption is null, not a text"]),
        ("x.parquet", pa.table({"caption": ["a", " "]}), ["row 2", "its caption is empty"]),
        ("x.parquet", pa.table({"caption": ["a"], "caption_id": pa.array([2**63], pa.uint64())}), ["row 1", "64 bits"]),
        ("x.parquet", pa.table({"caption": ["a"], "caption_id": [1.5]}), ["row 1", "its caption_id is 1.5, not"]),
        ("x.parquet", pa.table({"caption": ["a"], "caption_id": [2.0**60]}), ["row 1", "caption_id is 1.15"]),
        ("x.parquet", pa.table({"caption": pa.array([b"caf\xe9"]).cast(pa.string(), safe=False)}), ["rows 1", "UTF-8"]),
    ],
)  # fmt: skip
def test_a_wrong_record_is_named(write: Callable, name: str, content: object, parts: list[str]) -> None:
    path = write(name, content)
    message = _message(lambda: _captions(path))
    assert all(part in message for part in [str(path), *parts]), message


def _used(path: Path, **settings: Any) -> tuple[list[tuple[int, str]], list[str]]:
    """Return id and text of the captions that can be used, and place and problem of the others."""
    errors = list[RecordError]()
    rows = [(row.caption_id, row.text) for row in Corpus((path,), **settings).captions(errors.append)]
    return rows, [f"{error.place}: {error.problem}" for error in errors]


@pytest.mark.parametrize(
    ("name", "content", "used", "wrong"),
    [
        ("x.txt", "a\n\nb\n", [(1, "a"), (3, "b")], ["line 2: holds no caption"]),
        ("x.csv", "caption\na\n\n\nb\n", [(1, "a"), (2, "b")], []),
        ("x.csv", "caption,x\na,1\nb\nc,3\n", [(1, "a"), (3, "c")], ["line 3: has 1 fields, where the header has 2"]),
        ("x.csv", "caption\nNA\nb\n", [(1, "NA"), (2, "b")], []),
        ("x.tsv", f"caption\ta\nx\t{'y' * 200_000}\n", [(1, "x")], []),
        ("x.jsonl", '{"caption": "a"}\n\n{"caption\n[1]\n{"caption": "b"}\n', [(1, "a"), (4, "b")],
         ["line 3: is not JSON (Invalid control character at: line 1 column 10 (char 9))", "line 4: is no object"]),
        ("x.parquet", pa.table({"caption": ["a", None, "b"], "image_id": [1.0, 2.0, None]}), [(1, "a"), (3, "b")],
         ["row 2: its caption is null, not a text"]),
        ("x.json", COCO | {"annotations": [{"image_id": "391895", "caption": "a"}, {"image_id": 7, "caption": "b"},
                                           {"image_id": 522418.0, "caption": "c"}, 5]}, [(1, "a"), (2, "c")],
         ["annotations[1]: its image 7 is not among the images", "annotations[3]: is no object"]),
        ("x.json", [{"image": "1.jpg", "caption": ["a", "", "b"]}], [(1, "a"), (3, "b")],
         ["[0]: its caption is empty"]),
    ],
)  # fmt: skip
def test_records_that_cannot_be_used_leave_the_others(
    write: Callable, name: str, content: object, used: list, wrong: list[str]
) -> None:
    assert _used(write(name, content)) == (used, wrong)


def test_a_text_may_stand_for_no_caption(write: Callable) -> None:
    path = write("x.csv", "caption,image_id\nNA,1\na dog,x.jpg\n")
    assert _used(path, missing=("NA",)) == ([(2, "a dog")], ["line 2: stands for no caption"])


def test_entities_of_html_become_characters_of_captions(write: Callable) -> None:
    path = write("x.txt", "a &quot;dog&quot; &amp; a caf&eacute;\nR&notes AT&T &#39;x&#39; &unknown;\n&nbsp;\n")
    used, wrong = _used(path)
    assert used == [(1, 'a "dog" & a café'), (2, "R&notes AT&T 'x' &unknown;")]
    assert wrong == ["line 3: stands for no caption"]


FLICKR = "1.jpg#0\ta dog\n1.jpg#1\ta ball\n2.jpg#0\ta café\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captions.txt", FLICKR),
        ("results.token", FLICKR),
        ("captions.txt", 'image,caption\n1.jpg,a dog\n1.jpg,"a ball"\n2.jpg,a café\n'),
        ("captions.txt", "caption\tfile_name\na dog\t1.jpg\na ball\t1.jpg\na café\t2.jpg\n"),
    ],
)
def test_a_text_file_that_is_a_table_is_read_as_one(write: Callable, name: str, content: str) -> None:
    path = write(name, content)
    assert _used(path) == ([(1, "a dog"), (2, "a ball"), (3, "a café")], [])
    pictures = [(each.image_id, each.name, [text for _, text in each.captions]) for each in _pictures(path)]
    assert pictures == [(1, "1.jpg", ["a dog", "a ball"]), (3, "2.jpg", ["a café"])]


def test_a_table_of_another_form_is_named(write: Callable) -> None:
    path = write("captions.txt", "image_name,comment_number,comment\n1.jpg,0,a dog\n")
    assert "has no column caption, only" in _message(lambda: _captions(path))
    assert [row[2] for row in _captions(path, caption="comment")] == ["a dog"]
    path = write("bars.txt", "image_name| comment_number| comment\n1.jpg| 0| a dog\n")
    assert "bars.txt, line 1: is the header of a table with |" in _message(lambda: _captions(path))


def test_captions_with_commas_and_tabs_are_no_table(write: Callable) -> None:
    for text in ("image,of a caption\n", "a caption, a dog\n", "caption\n", "a comment | a dog\n"):
        assert _used(write("x.txt", text)) == ([(1, text.strip())], [])


@pytest.mark.parametrize("names", [("9f3a1.jpg", "77c1.jpg"), ("one.jpg", "two.jpg"), ("1.jpg", "b.jpg")])
def test_blips_pictures_with_hashes_as_names_have_ids_of_their_own(write: Callable, names: tuple[str, str]) -> None:
    first, second = names
    records = [{"image": name, "caption": text} for name, text in ((first, "a"), (second, "b"), (first, "c"))]
    pictures = {each.name: each for each in _pictures(write("x.json", records))}
    assert [text for _, text in pictures[first].captions] == ["a", "c"]
    assert 0 <= pictures[first].image_id != pictures[second].image_id
    assert [each.image_id for each in _pictures(write("y.json", records[::-1]))] == sorted(
        each.image_id for each in pictures.values()
    )


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_(pa.string(), 2)])
def test_lists_of_every_type_are_counted_before_python_has_them(kind: pa.DataType) -> None:
    assert _list_lengths(pa.array([["a", "b"], None, ["c", "d"]], kind)) == [2, 0, 2]


def test_a_list_of_millions_of_captions_is_refused_before_python_has_it(write: Callable) -> None:
    values = pa.array(np.zeros(2_000_000, dtype=np.int8)).cast(pa.string())
    lists = pa.LargeListArray.from_arrays([0, 2, 2_000_000], values)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    used, wrong = _used(write("x.parquet", pa.table({"caption": lists})))
    assert (len(used), wrong) == (2, ["row 2: has 1,999,998 captions, more than 10,000"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 120_000  # kB; Python's list takes more


def test_a_column_that_the_config_names_must_be_there(write: Callable) -> None:
    path = write("x.csv", "caption\na\n")
    message = _message(lambda: _captions(path, caption_id="number"))
    assert "has no column number" in message and "columns.caption_id" in message


def test_an_empty_split_is_named_with_those_that_are_there(write: Callable) -> None:
    path = write("dataset_coco.json", KARPATHY)
    expected = "its split vall holds no caption, where it has restval (1 records), test (1 records), train (1 records)"
    assert expected in _message(lambda: _captions(path, split="vall"))
    assert "holds no picture" in _message(lambda: _pictures(path, split="vall"))


def test_pictures_of_a_corpus_with_splits_need_a_named_split(write: Callable) -> None:
    path = write("dataset_coco.json", KARPATHY)
    message = _message(lambda: _pictures(path))
    assert "has splits of its own, such as train" in message and "name one, or all" in message


def test_duplicate_pictures_in_joined_files_are_named(write: Callable) -> None:
    one, other = write("one.json", COCO), write("other.json", COCO)
    message = _message(lambda: list(Corpus((one, other)).pictures()))
    assert "other.json, annotations[1] (id 770337): repeats the caption id 770337" in message
    table = pa.table({"image": [b"1", b"2"], "image_id": [7, 7], "caption": ["a", "b"]})
    path = write("x.parquet", table)
    assert f"row 2: repeats the image 7 of {path}, row 1" in _message(lambda: _pictures(path))


def test_captions_without_pictures_are_no_pictures(write: Callable) -> None:
    assert "line 1: names no picture" in _message(lambda: _pictures(write("x.txt", "a dog\n")))
    path = write("x.jsonl", '{"caption": "a", "image": 3}\n')
    assert "its image holds neither bytes nor a file name" in _message(lambda: _pictures(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for suffix in ("json", "txt", "csv", "tsv", "jsonl", "parquet"):
        path = tmp_path / f"none.{suffix}"
        assert f"{path}: there is no such file" in _message(lambda path=path: _captions(path))


# --- real captions

REAL = "coco_val2014_captions.parquet"


@needs(REAL)
def test_cocos_captions_come_back_from_karpathys_layout(write: Callable) -> None:
    rows = pq.read_table(SHARED / REAL).to_pylist()
    images: dict[int, dict[str, Any]] = {}
    for row in rows:
        new = {"filepath": "val2014", "filename": f"COCO_val2014_{row['image_id']:012d}.jpg", "sentences": []}
        new |= {"cocoid": row["image_id"], "imgid": len(images), "split": row["split"]}
        sentence = {"tokens": row["caption"].split(), "raw": row["caption"], "sentid": row["caption_id"]}
        images.setdefault(row["image_id"], new)["sentences"].append(sentence)
    path = write("dataset_coco.json", {"images": list(images.values()), "dataset": "coco"})
    expected = {(row["caption_id"], row["image_id"], row["caption"], row["split"]) for row in rows}
    assert set(_captions(path, split="all")) == expected
    assert set(_captions(path)) == {row for row in expected if row[3] == "restval"}
    assert len(expected) == 202_654
