"""The guard in a whole run: captions that are references of val or test reach no group, no sentence and no pair."""

import json
from pathlib import Path

from checkout import Checkout

from icsd.core import tables
from icsd.views.measures import funnel_steps

PLANTED = 10_000  # the first id of a planted caption


def test_report_computes_nothing_anew_but_the_report(done: Checkout) -> None:
    done.edit("guard", {"duplicates": "report", "references": "report"})
    assert done.planned() == {
        "embed_references": 2, "guard_captions": 1, "draw_report": 1, "all": 1
    }  # fmt: skip
    done.edit("guard.min_cosine", None)
    assert done.planned() == {"guard_captions": 1, "draw_report": 1, "all": 1}


def test_the_pairs_of_photographs_are_not_guarded(done: Checkout) -> None:
    done.edit("guard", {"duplicates": "drop", "references": "drop"})
    planned = done.planned()
    assert "build_real_dataset" not in planned
    assert planned["build_dataset"] == planned["train_captioner"] == 4  # those of the arms that draw


def test_dropped_captions_are_in_no_group_and_no_pair(fresh: Checkout) -> None:
    references = _plant(fresh)
    fresh.edit("arms", ["multi", "single"])
    fresh.edit("guard", {"duplicates": "drop", "references": "drop", "min_cosine": 0.9999})
    ledgers = [f"results/tiny/dataset/{arm}/ledger.parquet" for arm in ("multi", "single")]
    fresh.run("results/tiny/groups/group_times.parquet", *ledgers)

    guard = tables.read(fresh.results / "captions/guard.parquet", tables.LEDGER)
    dropped = {int(row["item_id"]) for row in guard.to_pylist() if not row["kept"]}
    assert dropped >= references
    assert (fresh.results / "embeddings/references/test.parquet").exists()
    assert not dropped & _ids(fresh.results / "groups/all.parquet", tables.GROUPS, "caption_ids")
    for arm in ("multi", "single"):
        assert not dropped & _ids(fresh.results / f"images/{arm}/sentences.parquet", tables.SENTENCES, "caption_ids")
        assert not dropped & _ids(fresh.results / f"dataset/{arm}/pairs.parquet", tables.PAIRS, "caption_id")

    first, second = funnel_steps(guard)
    captions = tables.count(fresh.results / "captions/all.parquet", tables.CAPTIONS)
    assert (first.name, first.entered, second.entered) == ("references", captions, first.kept)
    images, *_ = funnel_steps(tables.read(fresh.results / "dataset/single/ledger.parquet", tables.LEDGER))
    assert images.entered == second.kept == captions - len(dropped)


def _plant(checkout: Checkout) -> set[int]:
    """Add a caption of val and one of test to the corpus, the second in capitals; return their ids."""
    path = Path(checkout.config["captions"]["annotations"])
    corpus, planted = json.loads(path.read_text()), set[int]()
    for number, split in enumerate(("val", "test")):
        reference = json.loads(Path(checkout.config["pictures"][split]["annotations"]).read_text())["annotations"][0]
        text = reference["caption"].upper() if split == "test" else reference["caption"]
        annotation = {"id": PLANTED + number, "image_id": corpus["images"][0]["id"], "caption": text}
        corpus["annotations"].append(annotation)
        planted.add(annotation["id"])
    edited = checkout.folder / "captions.json"
    edited.write_text(json.dumps(corpus))
    checkout.edit("captions.annotations", str(edited))
    return planted


def _ids(path: Path, table: tables.Table, column: str) -> set[int]:
    values = tables.read(path, table)[column].combine_chunks()
    return set((values.flatten() if column == "caption_ids" else values).to_pylist())
