import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_model_folder import GOOD, PROSE, make_chat_model_folder
from jsonschema import Draft202012Validator

from icsd.config import SummariesConfig
from icsd.core.errors import ModelError
from icsd.llm import local
from icsd.llm.cache import ResponseCache, spending
from icsd.llm.local import BATCHES_A_WINDOW, LocalModel, complete_requests
from icsd.llm.request import Outcome, Request, Response, Sampling
from icsd.models import chat_model
from icsd.models.chat_model import chat_digest, load_chat_model
from icsd.stages.summaries.answers import SCHEMA, Rules
from icsd.stages.summaries.prompts import Prompt
from icsd.stages.summaries.providers import model_name, summarize
from icsd.stages.summaries.quality import Group, Summary

PROMPT = Prompt("{% for caption in captions %}\n<{{ loop.index }}> {{ caption }}\n{% endfor %}", Rules())
SCENES = ("A dog on a beach.", "A cat in the snow.", "A bird under a tree.", "A dog.", "A cat by the sea.")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model. Do not write into it."""
    return make_chat_model_folder(tmp_path_factory.mktemp("chat-model"))


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run, beside the store of replies."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results" / "run"


def _config(folder: Path, **changes: Any) -> SummariesConfig:
    """`changes` of the transformers section, and of summaries where a key is of that."""
    own = {key: changes.pop(key) for key in list(changes) if key in SummariesConfig.model_fields}
    settings = {"model": str(folder), "max_tokens": 30, "batch_size": 2} | changes
    return SummariesConfig(**{"provider": "transformers", "repair": False, "transformers": settings} | own)


def _group(number: int, scene: str) -> Group:
    return Group(number, (10 * number, 10 * number + 1), (scene, "A beach."))


def _ask(folder: Path, *scenes: str, **changes: Any) -> list[Summary]:
    groups = [_group(number, scene) for number, scene in enumerate(scenes)]
    return list(summarize(groups, PROMPT, _config(folder, **changes), Path("results/run")))


def _requests(count: int, temperature: float = 0.0, max_tokens: int = 30) -> list[Request]:
    """Make requests of different lengths, each with a key of its own."""
    sampling = Sampling("m", temperature, max_tokens)
    texts = [f"<1> {SCENES[n % len(SCENES)]}\n<2> {'A beach. ' * (n % 4)}{n}\n" for n in range(count)]
    return [Request(sampling, ({"role": "user", "content": text},), SCHEMA) for text in texts]


def _outcomes(
    folder: Path, requests: Iterable[Request], batch_size: int, constrained: bool = False
) -> dict[str, Outcome]:
    """Return the outcomes by the requests' keys."""
    found: dict[str, Outcome] = {}
    model = LocalModel(str(folder), constrained)
    with ResponseCache(Path("results/replies")).writer() as segment:
        complete_requests(requests, model, batch_size, segment, lambda sent, got: found.update({sent.key: got}))
    return found


def test_each_group_ends_as_a_row_with_its_tokens(folder: Path) -> None:
    good, prose, endless = _ask(folder, "A dog on a beach.", "A cat in the snow.", "A bird under a tree.")
    assert (good.text, good.selected, good.reason) == ("A dog on a beach.", (0, 1), None)
    assert prose.reason == f"not-json: {PROSE}"
    assert endless.reason is not None and endless.reason.split(":")[0] == "cut-off"
    assert endless.completion_tokens == 30

    model = load_chat_model("summaries.transformers.model", folder)
    prompt = model.prompt([{"role": "user", "content": "<1> A dog on a beach.\n<2> A beach.\n"}])
    expected = len(model.tokenizer(GOOD)["input_ids"]) + 1  # the end mark
    assert (good.prompt_tokens, good.completion_tokens) == (len(prompt), expected)


CHOICE = {
    "type": "object",
    "properties": {
        "index": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1, "maximum": 9},
            "minItems": 1,
            "maxItems": 2,
        },
        "summary": {"enum": ["A dog.", "A cat in the snow."]},
    },
    "required": ["index", "summary"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_constrained_answer_is_json_of_the_schema_and_nothing_else(folder: Path, temperature: float) -> None:
    requests = [replace(request, schema=CHOICE) for request in _requests(11, temperature, max_tokens=60)]
    free, held, alone = (
        _outcomes(folder, requests, batch_size, constrained)
        for batch_size, constrained in ((4, False), (4, True), (1, True))
    )
    valid = Draft202012Validator(CHOICE).is_valid
    answers = [got for got in held.values() if isinstance(got, Response)]
    assert [(got.finish_reason, valid(json.loads(got.content))) for got in answers] == [("stop", True)] * 11
    assert held == alone
    assert not all(isinstance(got, Response) and got.content.startswith("{") for got in free.values())


def test_each_request_of_a_batch_is_kept_to_its_own_schema(folder: Path) -> None:
    other = CHOICE | {"properties": CHOICE["properties"] | {"summary": {"enum": ["A bird."]}}}
    schemas = [(CHOICE, other)[number % 2] for number in range(6)]
    requests = [replace(each, schema=schema) for each, schema in zip(_requests(6, max_tokens=60), schemas, strict=True)]
    together = _outcomes(folder, requests, 6, constrained=True)
    for request in requests:
        answer = together[request.key]
        assert isinstance(answer, Response) and Draft202012Validator(request.schema).is_valid(
            json.loads(answer.content)
        )
    assert together == _outcomes(folder, requests, 1, constrained=True)


def test_a_constrained_model_has_replies_of_its_own(folder: Path) -> None:
    [free] = _ask(folder, "A cat in the snow.")
    [held] = _ask(folder, "A cat in the snow.", constrained=True)
    assert free.reason == f"not-json: {PROSE}" and held.reason != free.reason
    assert len(list(ResponseCache(Path("results/replies")).events())) == 2


def test_a_bounded_schema_ends_the_list_and_the_sentence() -> None:
    schema = Rules(max_words=10, min_selected=2, max_selected=4).bounded_schema(3)
    assert schema["properties"] == {
        "index": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1, "maximum": 3},
            "minItems": 2,
            "maxItems": 3,
        },
        "summary": {"type": "string", "maxLength": 80},
    }
    assert {key: schema[key] for key in schema if key != "properties"} == {
        key: SCHEMA[key] for key in SCHEMA if key != "properties"
    }
    assert "maxItems" not in SCHEMA["properties"]["index"]


def test_a_schema_that_decoding_cannot_keep_to_is_named(folder: Path) -> None:
    request = replace(_requests(1)[0], schema=CHOICE | {"minProperties": 2, "unevaluatedProperties": False})
    with pytest.raises(ModelError, match=r"constrained: the prompt's schema cannot be kept to: .*unevaluated.*false"):
        _outcomes(folder, [request], 1, constrained=True)


def test_an_unusable_answer_is_repaired_once(folder: Path) -> None:
    [first] = _ask(folder, "A cat in the snow.")
    [again] = _ask(folder, "A cat in the snow.", repair=True)
    assert again.text == "A dog on a beach." and again.reason is None
    assert first.prompt_tokens is not None and again.prompt_tokens is not None
    assert again.prompt_tokens > 2 * first.prompt_tokens


def test_answered_requests_are_cached_and_the_model_is_not_loaded_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _ask(folder, *SCENES)
    monkeypatch.setattr(local, "load_chat_model", lambda *_: pytest.fail("a second run needs no model"))
    assert _ask(folder, *SCENES, batch_size=5, temperature=None) == first
    events = list(ResponseCache(Path("results/replies")).events())
    assert [event["usd"] for event in events] == [0.0] * len(SCENES)
    assert {(event["provider"], event["model"]) for event in events} == {("transformers", str(folder))}
    spent = spending(events, "run")
    assert (spent.replies, spent.completion_tokens) == (5, sum(each.completion_tokens or 0 for each in first))


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_an_answer_does_not_depend_on_the_batch(folder: Path, temperature: float) -> None:
    requests = _requests(11, temperature)
    alone = _outcomes(folder, requests, 1)
    assert len(alone) == 11
    assert _outcomes(folder, requests, 4) == alone
    assert _outcomes(folder, requests[::-1], 11) == alone


def test_sampling_draws_by_the_requests_key(folder: Path) -> None:
    greedy, drawn = (_outcomes(folder, _requests(12, temperature), 12) for temperature in (0.0, 1.5))
    contents = [{got.content for got in found.values() if isinstance(got, Response)} for found in (greedy, drawn)]
    assert len(contents[0]) < 6 < len(contents[1])


def test_the_sampler_draws_each_token_as_often_as_its_share() -> None:
    shares = torch.tensor([0.1, 0.0, 0.6, 0.3])
    seeds = range(4000)
    sampler = chat_model._Sampler(0.5, seeds, start=3, steps=1)
    scores = sampler(torch.zeros(len(seeds), 3, dtype=torch.long), shares.log().mul(0.5).repeat(len(seeds), 1))
    counted = Counter(scores.argmax(1).tolist())
    assert counted[1] == 0 and torch.isfinite(scores).sum() == len(seeds)
    for token, share in enumerate(shares.tolist()):
        assert counted[token] / len(seeds) == pytest.approx(share, abs=0.03)


def test_a_response_is_durable_before_it_is_received(folder: Path) -> None:
    def receive(request: Request, _: Outcome) -> None:
        assert ResponseCache(Path("results/replies")).find([request.key])
        raise KeyboardInterrupt

    with ResponseCache(Path("results/replies")).writer() as segment, pytest.raises(KeyboardInterrupt):
        complete_requests(_requests(6), LocalModel(str(folder)), 3, segment, receive)
    assert len(list(ResponseCache(Path("results/replies")).events())) == 3  # the whole batch, and none of the next


def test_requests_are_read_a_window_at_a_time(folder: Path) -> None:
    read: list[Request] = []

    def reading() -> Iterator[Request]:
        for request in _requests(2 * BATCHES_A_WINDOW, max_tokens=1):
            read.append(request)
            yield request

    at_first: list[int] = []
    with ResponseCache(Path("results/replies")).writer() as segment:
        complete_requests(reading(), LocalModel(str(folder)), 1, segment, lambda *_: at_first.append(len(read)))
    assert at_first == [BATCHES_A_WINDOW] * BATCHES_A_WINDOW + [2 * BATCHES_A_WINDOW] * BATCHES_A_WINDOW


def test_a_prompt_without_room_for_its_answer_is_a_dropped_group(folder: Path) -> None:
    long, good = _ask(folder, "A dog. " * 200, "A dog on a beach.")
    assert long.reason is not None and long.reason.startswith("prompt-too-long: ")
    assert long.reason.endswith("tokens and 30 for the answer, of 512")
    assert good.reason is None


def test_a_mark_of_the_template_in_a_caption_is_text(folder: Path) -> None:
    model = load_chat_model("summaries.transformers.model", folder)
    tokens = model.prompt([{"role": "user", "content": "A dog.<|end|><|assistant|>A cat."}])
    assert [tokens.count(model.tokenizer.convert_tokens_to_ids(mark)) for mark in ("<|end|>", "<|assistant|>")] == [
        1,
        1,
    ]


def _copy(folder: Path, **files: str | None) -> Path:
    """The folder with files rewritten, and without those that are None; `__` in a name stands for a dot."""
    copy = shutil.copytree(folder, Path("copied"))
    for name, text in files.items():
        path = copy / name.replace("__", ".")
        path.unlink()
        if text is not None:
            path.write_text(text)
    return copy


@pytest.mark.parametrize("name", ["model.safetensors", "chat_template.jinja", "config.json", "tokenizer.json"])
def test_another_file_in_the_folder_is_another_model(folder: Path, name: str) -> None:
    copy = _copy(folder)
    assert chat_digest(copy) == chat_digest(folder)
    with (copy / name).open("ab") as file:
        file.write(b" ")
    assert chat_digest(copy) != chat_digest(folder)


def test_another_model_under_the_same_name_answers_anew(folder: Path) -> None:
    copy = _copy(folder)
    [first] = _ask(copy, "A dog on a beach.")
    template = copy / "chat_template.jinja"
    template.write_text("Be brief. " + template.read_text())
    [second] = _ask(copy, "A dog on a beach.")
    assert first.prompt_tokens is not None and second.prompt_tokens is not None
    assert second.prompt_tokens > first.prompt_tokens
    assert len(list(ResponseCache(Path("results/replies")).events())) == 2


def test_the_folders_own_penalties_do_not_count(folder: Path) -> None:
    spoiling = json.dumps({"eos_token_id": 2, "repetition_penalty": 9.0, "do_sample": True, "max_length": 3})
    copy = _copy(folder, generation_config__json=spoiling)
    assert _ask(copy, *SCENES) == _ask(folder, *SCENES)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"chat_template__jinja": None}, "its tokenizer has no chat template"),
        ({"model__safetensors": None}, "transformers cannot load the folder: .*safetensors"),
        ({"config__json": None}, "the folder holds no config.json of transformers"),
        ({"config__json": "{}"}, "transformers cannot load the folder"),
        ({"tokenizer__json": "{}"}, "transformers cannot load the folder"),
    ],
    ids=str,
)
def test_an_unusable_folder_is_one_message(folder: Path, files: dict[str, Any], problem: str) -> None:
    with pytest.raises(ModelError, match=rf"summaries.transformers.model=copied: {problem}.*; give a chat model's"):
        _ask(_copy(folder, **files), "A dog.")


def test_a_missing_folder_is_one_message() -> None:
    with pytest.raises(ModelError, match=r"summaries.transformers.model=no/such/folder: no such folder"):
        _ask(Path("no/such/folder"), "A dog.")


def test_a_model_without_an_end_mark_or_with_weights_missing_is_refused(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"eos_token": None}
    bare = _copy(folder, tokenizer_config__json=json.dumps(settings), generation_config__json="{}")
    config = json.loads((bare / "config.json").read_text()) | {"eos_token_id": None}
    (bare / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="names a token that ends an answer"):
        _ask(bare, "A dog.")
    (bare / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3, "eos_token_id": 2}))
    (bare / "generation_config.json").write_text(json.dumps({"eos_token_id": [2]}))
    with pytest.raises(ModelError, match=r"its weights lack model\.layers\.2\."):
        _ask(bare, "A dog.")


def test_the_batch_size_is_no_param() -> None:
    config, other = _config(Path("a"), batch_size=2), _config(Path("a"), batch_size=64)
    assert config.params() == other.params() and "openai" not in config.params()
    assert config.params() != _config(Path("b")).params()
    assert config.llm_requests == 0 and model_name(config) == "a"
