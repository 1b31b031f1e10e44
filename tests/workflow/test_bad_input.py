"""Messages for bad input, each from a real run of the rule.

Always: a status that is not 0, one message on the terminal and in the job's log, no traceback, no half-written output.
The messages' wording is tested stage by stage in tests/unit.
"""

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkout import Checkout

from icsd.core.ids import shard_names

(SHARD,) = shard_names(1)
SAID = re.compile(r"^\[(\S+)\] ERROR: (.*)$", re.MULTILINE)


def _assert_one_message(checkout: Checkout, target: str, log: str, *parts: str) -> None:
    """Run `target` (below the results): it must fail with one message that has `parts`, and leave nothing."""
    failed = checkout.snakemake(str(checkout.results.relative_to(checkout.folder) / target))
    print(failed.stderr)
    assert failed.returncode != 0
    assert failed.stdout == ""
    assert "Traceback" not in failed.stderr
    ((job, message),) = SAID.findall(failed.stderr)
    assert job == log
    assert all(part in message for part in parts), message
    assert (checkout.results / "logs" / f"{log}.log").read_text().splitlines()[-1].endswith(f" ERROR {message}")
    assert not (checkout.results / target).exists()
    assert list(checkout.results.rglob("*.unfinished")) == []


# Of the corpus: what is wrong with its file.


@pytest.fixture(scope="module")
def empty_checkout(check_out: Callable[[Path], Checkout], tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout for the corpora below, each in a run of its own."""
    return check_out(tmp_path_factory.mktemp("bad") / "icsd")


def _dumped(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[bytes], bytes]:
    """The file with its annotations changed."""

    def changed(content: bytes) -> bytes:
        document = json.loads(content)
        change(document["annotations"])
        return json.dumps(document).encode()

    return changed


CORPORA: dict[str, tuple[Callable[[bytes], bytes], list[str]]] = {
    "cut-short": (lambda content: content[:3_000], ["line 1, column 3", "is not JSON", "was it cut short?"]),
    "wrong-shape": (
        lambda content: b'{"annotations": {}}',
        ["read as coco, images is missing", "give a file of a layout of JSON"],
    ),
    "doubled-id": (
        _dumped(lambda records: records.append(records[0])),
        ["annotations[60]", "repeats the id 0"],
    ),
    "empty-caption": (_dumped(lambda records: records[7].update(caption=" ")), ["annotations[7] (id 12)", "is empty"]),
    "long-caption": (
        _dumped(lambda records: records[7].update(caption="word " * 1_000)),
        ["annotations[7] (id 12), caption 12", "5,000 characters", "captions.max_characters=1,000", "raise the share"],
    ),
    "not-utf-8": (lambda content: content.replace(b"boat", b"bo\xe4t", 1), ["byte ", "is not UTF-8", "convert"]),
    "no-captions": (_dumped(lambda records: records.clear()), ["holds no caption"]),
}


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_with_a_fault_stops_at_it(empty_checkout: Checkout, corpus: Path, name: str) -> None:
    spoil, parts = CORPORA[name]
    path = empty_checkout.folder / f"{name}.json"
    path.write_bytes(spoil((corpus / "annotations" / "captions_text.json").read_bytes()))
    empty_checkout.edit("run", name)
    empty_checkout.edit("captions.annotations", path.name)
    _assert_one_message(empty_checkout, "captions/all.parquet", "read_captions", path.name, *parts)


def test_a_missing_corpus_is_named_with_its_rule(fresh: Checkout) -> None:
    fresh.edit("captions.annotations", "nowhere/captions.json")
    failed = fresh.snakemake()
    assert failed.returncode != 0
    assert "Missing input files for rule read_captions" in failed.stderr
    assert "nowhere/captions.json" in failed.stderr
    assert "Traceback" not in failed.stderr


# Of the config: nothing starts.


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("groups.kk", 6, "groups.kk is no key (did you mean groups.k?)"),
        ("images.steps", "20", "images.steps='20': input should be a valid integer"),
    ],
)
def test_a_mistake_in_the_config_stops_before_any_job(fresh: Checkout, key: str, value: Any, message: str) -> None:
    fresh.edit(key, value)
    failed = fresh.snakemake()
    assert failed.returncode != 0
    assert f"\n{message}, in config/config.yaml, or in the file given with --configfile\n" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not fresh.results.exists()


# Of what a stage needs, in a copy of a whole run.


def test_more_neighbours_than_captions_are_refused(done: Checkout) -> None:
    done.edit("groups.k", 61)
    limit = "groups.k=61 must lie between 2 and the number of captions (60), in config/config.yaml"
    _assert_one_message(done, f"groups/neighbors/{SHARD}.parquet", f"find_neighbors/{SHARD}", limit)


@pytest.mark.parametrize(
    ("key", "target", "log"),
    [
        ("embeddings.model", f"embeddings/{SHARD}.parquet", f"embed_captions/{SHARD}"),
        ("images.model", f"images/multi/{SHARD}.parquet", f"generate_images/multi/{SHARD}"),
        ("captioner.vision_model", "captioner/real/seed-0/history.parquet", "train_captioner/real-seed-0"),
        ("captioner.tokenizer", "captioner/real/seed-0/history.parquet", "train_captioner/real-seed-0"),
    ],
)
def test_a_missing_weights_folder_is_named(done: Checkout, key: str, target: str, log: str) -> None:
    done.edit(key, "resources/none/weights")
    _assert_one_message(done, target, log, f"{key}=resources/none/weights", "no such folder")


def _ask_endpoint(checkout: Checkout, **openai: Any) -> None:
    checkout.edit("summaries.provider", "openai")
    checkout.edit("summaries.openai", openai)


def test_a_key_variable_that_is_not_set_is_named(done: Checkout) -> None:
    _ask_endpoint(done, api_key_env="ICSD_NO_SUCH_KEY")
    parts = ["summaries.openai.api_key_env=ICSD_NO_SUCH_KEY", "is not set", "config/config.yaml"]
    _assert_one_message(done, f"summaries/{SHARD}.parquet", f"summarize_groups/{SHARD}", *parts)


def test_an_endpoint_that_is_not_there_is_named(done: Checkout) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        _ask_endpoint(done, base_url=url, api_key_env=None, retries=0)
        parts = [f"summaries.openai.base_url={url} cannot be reached", "start the server or mend the address"]
        _assert_one_message(done, f"summaries/{SHARD}.parquet", f"summarize_groups/{SHARD}", *parts)


def test_a_shard_cut_short_is_named_and_the_way_out_works(done: Checkout) -> None:
    shard = done.results / "embeddings" / "all.parquet"
    shard.write_bytes(shard.read_bytes()[:-100])
    parts = ["results/tiny/embeddings/all.parquet", "was it cut short?", "delete it and run snakemake again"]
    target = f"groups/neighbors/{SHARD}.parquet"
    _assert_one_message(done, target, f"find_neighbors/{SHARD}", *parts)
    shard.unlink()
    done.run(f"results/tiny/{target}")
