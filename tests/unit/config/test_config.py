import copy
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from icsd.config import Config, EstimateConfig, SummariesConfig, job_config, known_keys, load_config
from icsd.core.errors import ConfigError

PATH = Path(__file__).parents[3] / "config" / "config.yaml"
DEFAULT = yaml.safe_load(PATH.read_text(encoding="utf-8"))
SPLIT = {"annotations": "captions.json", "images": "images"}
PLACE = "in config/config.yaml, or in the file given with --configfile"


def _with(key: str, value: Any) -> dict[str, Any]:
    """The default config with one dotted key set."""
    config = copy.deepcopy(DEFAULT)
    *sections, last = key.split(".")
    section = config
    for name in sections:
        section = section[name]
    section[last] = value
    return config


def _message(config: dict[Any, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(config)
    message = str(error.value)
    assert message.endswith(PLACE)
    assert "\n" not in message
    return message.removesuffix(f", {PLACE}")


def _keys(config: Any, prefix: str = "") -> set[str]:
    if not isinstance(config, dict):
        return set()
    return {prefix + key for key in config} | {k for key, v in config.items() for k in _keys(v, f"{prefix}{key}.")}


def test_the_default_config_names_every_key() -> None:
    load_config(DEFAULT)
    names = {key for key in _keys(DEFAULT) if not key.startswith("export.licences.")}  # runs' names, no keys
    assert names == set(known_keys(Config))


def test_another_language_names_all_that_is_english() -> None:
    message = _message(_with("captions.language", "zh"))
    assert message == (
        "with captions.language=zh, summaries.provider=merge writes English alone: set it to openai, openai-batch or "
        "transformers; and evaluation.metrics=['BLEU', 'METEOR', 'ROUGE_L', 'CIDEr'] has METEOR, for English "
        "alone: set it to [BLEU, ROUGE_L, CIDEr, chrF]"
    )
    config = _with("captions.language", "zh")
    config["summaries"]["provider"] = "openai"
    config["evaluation"]["metrics"] = ["BLEU", "chrF"]
    assert load_config(config).captions.language == "zh"
    config["summaries"]["provider"], config["arms"] = "merge", ["single"]  # which draws captions
    load_config(config)
    config["captions"]["language"] = False  # as YAML reads no, Norwegian
    assert load_config(config).captions.language == "no"


def test_an_unknown_language_is_named() -> None:
    assert "captions.language='jp': must be a language's two letters" in _message(_with("captions.language", "jp"))


def test_english_is_no_param() -> None:
    assert load_config(DEFAULT).captions.params("language") == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("images.candidates", 4), ("alignment.min_score", 0.0), ("alignment.drop_share", 0.2),
        ("alignment.max_below_best", 0.0), ("alignment.min_sentence_score", 0.3),
        ("alignment.weight_temperature", 0.1), ("alignment.rematch", 5),
    ],
)  # fmt: skip
def test_a_key_that_needs_scores_names_the_key_to_set(key: str, value: Any) -> None:
    problem = f"{key}={value} needs scores: set alignment.model to a model of open_clip; it is null"
    section, name = key.split(".")
    config = _with("alignment", DEFAULT["alignment"] | {"model": None, "drop_share": 0.0})
    config[section] |= {name: value}
    assert _message(config).endswith(problem)


def test_the_picture_books_clip_does_not_judge_other_images() -> None:
    config = _with("images.model", "someone/large")
    problem = (
        "alignment.model=resources/picturebook/clip knows the picture book's images alone, and images.model=someone"
    )
    assert problem in _message(config)
    config["alignment"] |= {"score": "random"}
    load_config(config)
    load_config(config | {"alignment": DEFAULT["alignment"] | {"model": None, "drop_share": 0.0}})


def test_models_left_of_the_picture_book_are_named_where_captions_are_others() -> None:
    keys = {
        "summarize_groups": "summaries.quality.image_model",
        "generate_images": "images.model",
        "train_captioner": "captioner.vision_model",
    }
    values = _with("embeddings.model", "a/sentence-encoder")
    assert load_config(values).left_small_models == keys
    values["summaries"]["quality"]["image_model"] = None
    assert load_config(values).left_small_models == {
        rule: keys[rule] for rule in ("generate_images", "train_captioner")
    }
    assert load_config(_with("shards", 2)).left_small_models == {}


def test_every_key_has_a_sentence() -> None:
    def sections(model: Any) -> list[Any]:
        inner = [part for field in model.model_fields.values() for part in _models(field.annotation)]
        return [model, *(found for part in inner for found in sections(part))]

    for section in sections(Config):
        for name, field in section.model_fields.items():
            assert field.description or _models(field.annotation), f"{section.__name__}.{name}"


def _models(annotation: Any) -> list[Any]:
    parts = getattr(annotation, "__args__", (annotation,))
    return [part for part in parts if isinstance(part, type) and hasattr(part, "model_fields")]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("shard", 3, "shard is no key (did you mean shards?)"),
        ("images.pictures", 3, "images.pictures is now called images.max_summaries: rename it"),
        ("images.size", [16], "images.size=[16]: must be a number of pixels, [height, width], or null"),
        ("images.size", 0, "images.size=0: must be a number of pixels, [height, width], or null"),
        ("images.dtype", "half", "images.dtype='half': input should be 'float32', 'float16', 'bfloat16' or 'auto'"),
        ("images.batch_sise", 3, "images.batch_sise is no key (did you mean images.batch_size?)"),
        ("captioner.decoder.width", 3, "captioner.decoder.width is no key"),
        ("shards", "4", "shards='4': input should be a valid integer"),
        ("shards", 4.0, "shards=4.0: input should be a valid integer"),
        ("shards", True, "shards=True: input should be a valid integer"),
        ("shards", 0, "shards=0: input should be greater than or equal to 1"),
        ("shards", 10_000, "shards=10000: input should be less than or equal to 9999"),
        ("run", "../other", "run='../other': must begin with a letter or digit; letters, digits, dots, hyphens"),
        ("run", 2024, "run=2024: input should be a valid string (YAML reads it as a number, a date, or"),
        ("captions.split", False, "write it in quotes)"),
        ("arms", "multi", "arms='multi': input should be a valid list (write [multi])"),
        ("arms", ["mult"], "arms.0='mult': input should be 'multi', 'single'"),
        ("arms", ["multi", "multi"], "arms=['multi', 'multi'] must differ from one another"),
        ("arms", [], "arms=[]: list should have at least 1 item"),
        ("groups", 30, "groups=30: give the section's keys below it"),
        ("safety", None, "safety=None: give the section's keys below it"),
        ("groups.k", 1, "groups.k=1: input should be greater than or equal to 2"),
        ("captioner.learning_rate", "1e-3", "(YAML reads 1e-3 as text: write 1.0e-3, without quotes)"),
        ("captioner.learning_rate", float("nan"), "captioner.learning_rate=nan: input should be a finite number"),
        ("captioner.flip", "yes", "captioner.flip='yes': input should be a valid boolean"),
        ("captioner.prompt", "a picture", "prompt=a picture is of a vision-language model, and model is null"),
        ("captioner.lora.rank", 8, "lora.rank=8 is of a vision-language model, and model is null"),
        ("captioner.lora.rank", 0, "captioner.lora.rank=0: input should be greater than or equal to 1"),
        ("captioner.seeds", [1, 1], "seeds=[1, 1] must differ from one another"),
        ("captioner.decoder", {"hidden": 10, "heads": 3}, "heads=3 must divide hidden=10"),
        ("evaluation.metrics", ["CIDER"], "evaluation.metrics.0='CIDER': input should be 'BLEU'"),
        ("evaluation.metrics", ["BLEU", "BLEU"], "metrics=['BLEU', 'BLEU'] must differ from one another"),
        ("pictures.test.name", "my/test", "pictures.test.name='my/test': string should match pattern"),
        ("pictures.test.name", "val", "the test set val needs another name: real, val and"),
        ("pictures.more_tests", {"test": SPLIT}, "the test set test needs another name"),
        ("pictures.more_tests", {"coco": {"images": "x"}}, "pictures.more_tests.coco.annotations is missing"),
        ("captioner.epochs", 30, "steps=150 and epochs=30: give one of them, and null for the other"),
        ("captioner.steps", None, "steps=None and epochs=None: give one of them, and null for the other"),
        ("captioner.batch_parts", 3, "batch_parts=3 must divide batch_size=32"),
        ("captioner.processes", 2, "batch_parts=1 must be a multiple of the 2 processes (processes=2, nodes=1)"),
        ("captioner.device", "gpu", "captioner.device='gpu': input should be 'auto', 'cpu' or 'cuda'"),
        ("summaries.provider", "gpt", "summaries.provider='gpt': input should be 'merge', 'openai'"),
        ("pictures.real", None, "the arm real needs pictures.real, which is null"),
        ("captions", {}, "captions.annotations is missing"),
        ("captions.annotations", 3, "captions.annotations=3: must be a path or a list of paths"),
        ("captions.annotations", [], "captions.annotations=[]: must be a path or a list of paths"),
        ("captions.annotations", ["a.txt", "{b}.txt"], "captions.annotations=['a.txt', '{b}.txt']: braces in a path"),
        ("pictures.val.images", "{val}", "pictures.val.images='{val}': braces in a path would be"),
        ("captions.layout", "karpaty", "captions.layout='karpaty': input should be 'auto', 'coco', 'nocaps'"),
        ("captions.columns", {"captoin": "x"}, "captions.columns.captoin is no key (did you mean captions.col"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(key: str, value: Any, message: str) -> None:
    assert message in _message(_with(key, value))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("summaries.openai.api_key_env", "sk-hunter2", "summaries.openai.api_key_env: "),
        ("images.openai.api_key_env", 7, "images.openai.api_key_env: "),
        ("summaries.openai.api_key", "hunter2", "summaries.openai.api_key is no key"),
        ("summaries.openai.base_url", "https://u:hunter2@a.org/v1", "base_url='https://a.org/v1': has a user or"),
        ("images.openai.base_url", "https://hunter2@a.org/v1?key=hunter2", "base_url='https://a.org/v1?…': has a user"),
        ("downloads.files", {"resources/corpora/a": {"address": "https://hunter2@a.org", "sha256": "0" * 64}},
         "address='https://a.org'"),
    ],
)  # fmt: skip
def test_a_secret_in_the_config_is_not_shown(key: str, value: Any, message: str) -> None:
    shown = _message(_with(key, value))
    assert message in shown and "hunter2" not in shown


def test_what_changes_speed_alone_is_no_param_of_a_training() -> None:
    default = load_config(DEFAULT).captioner
    values = {"processes": 2, "nodes": 2, "device": "cuda", "checkpoint_activations": True, "checkpoint_every": 7}
    base = DEFAULT["captioner"] | {"batch_parts": 4}
    fast = load_config(DEFAULT | {"captioner": base | values}).captioner
    assert fast.params() == load_config(DEFAULT | {"captioner": base}).captioner.params() != default.params()
    assert (fast.gpus, default.gpus) == (4, 1)
    assert (fast.sbatch, default.sbatch) == ("--signal=TERM@120 --gpus-per-node=2", "--signal=TERM@120")
    rates = EstimateConfig(training_steps_per_second=3.0)
    assert (fast.steps_per_second(rates), default.steps_per_second(rates)) == (3 * 64 * 4 / 32, 3 * 64 / 32)


def test_epochs_are_rounded_up_to_steps() -> None:
    whole = load_config(DEFAULT | {"captioner": DEFAULT["captioner"] | {"steps": None, "epochs": 3}}).captioner
    assert (whole.steps_of(64), whole.steps_of(65), whole.length) == (6, 7, "3 epochs")


@pytest.mark.parametrize("key", [1, False])
def test_a_key_that_is_no_text_is_refused(key: object) -> None:
    """YAML reads the key `no` as False."""
    assert "keys should be strings" in _message(DEFAULT | {key: 1})


def test_all_mistakes_are_named_at_once() -> None:
    message = _message(_with("shards", "4") | {"arm": 1, "groups": {"k": 0}})
    assert all(part in message for part in ("shards='4'", "arm is no key", "groups.k=0"))


def test_a_corpus_without_real_pairs_needs_no_real_arm() -> None:
    config = _with("pictures.real", None) | {"arms": ["multi"]}
    assert load_config(config).pictures.real is None


@pytest.mark.parametrize("paths", ["a.json", ["a.json", "b.json"]])
def test_a_corpus_is_one_file_or_several(paths: Any) -> None:
    config = load_config(_with("captions.annotations", paths))
    assert config.captions.paths == ([paths] if isinstance(paths, str) else paths)
    assert load_config(_with("pictures.test.images", None)).pictures.test.folders == []


def test_test_sets_come_by_name_the_runs_own_first() -> None:
    pictures = load_config(_with("pictures.more_tests", {"nocaps": SPLIT, "flickr30k": SPLIT})).pictures
    assert list(pictures.tests) == ["test", "nocaps", "flickr30k"]
    assert list(pictures.splits) == ["real", "val", "test", "nocaps", "flickr30k"]


@pytest.mark.parametrize(
    "runtime", [{"timeout_s": 9}, {"retries": 0}, {"concurrency": 1}, {"api_key_env": "OTHER_KEY"}], ids=str
)
def test_what_changes_no_answer_is_no_param(runtime: dict[str, Any]) -> None:
    settings = DEFAULT["summaries"] | {"provider": "openai"}
    changed = settings | {"openai": settings["openai"] | runtime}
    assert SummariesConfig(**changed).params() == SummariesConfig(**settings).params()


def test_the_sections_of_other_providers_are_no_params() -> None:
    settings = DEFAULT["summaries"]
    other = settings | {"openai": settings["openai"] | {"model": "another"}}
    assert SummariesConfig(**other).params() == SummariesConfig(**settings).params()
    asked = [SummariesConfig(**(config | {"provider": "openai"})).params() for config in (settings, other)]
    assert asked[0] != asked[1]


def test_params_are_the_tracked_values_in_the_order_of_the_model() -> None:
    summaries = SummariesConfig(provider="openai", openai=DEFAULT["summaries"]["openai"]).params()
    assert list(summaries) == ["provider", "prompt", "prompts", "repair", "quality", "openai"]
    strict = {"form": "json", "limit_words": False}  # an added key is a param only where it is not as before
    assert SummariesConfig(provider="openai", answers=strict).params()["answers"] == {"limit_words": False}
    assert summaries["openai"] == {"model": "gpt-4o-mini", "temperature": 0.0, "max_tokens": 500}
    evaluation = load_config(DEFAULT).evaluation
    assert evaluation.params("max_tokens", "beams") == {"beams": 3, "max_tokens": 30}
    assert "clip_model" in evaluation.params(without=("beams",)) and "beams" not in evaluation.params(
        without=("beams",)
    )
    with pytest.raises(ValueError, match="EvaluationConfig has no tracked batch_size"):
        evaluation.params("batch_size")


def test_a_job_gets_the_config_of_its_snakefile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a module `snakemake.config` has the module's values alone, and the checkout is elsewhere."""
    root = PATH.parents[1]
    monkeypatch.chdir(tmp_path)
    job = SimpleNamespace(config={"run": "mine", "safety": {"batch_size": 7}}, scriptdir=str(root / "scripts"))
    config = job_config(job)
    assert (config.results, config.safety.batch_size, config.shards) == ("results/mine", 7, DEFAULT["shards"])
    assert Path(config.images.model).is_dir()


SHA256, COMMIT = "0123456789abcdef" * 4, "0123456789" * 4
FILE = {"address": "https://example.org/a.zip", "sha256": SHA256}
MODEL = {"repo_id": "someone/small", "revision": COMMIT}


def _downloads(**settings: dict[str, Any]) -> dict[str, Any]:
    return _with("downloads", settings)


@pytest.mark.parametrize(
    ("files", "models", "message"),
    [
        ({"/etc/a.zip": FILE}, {}, "give a path below resources/corpora/"),
        ({"resources/corpora/../a.zip": FILE}, {}, "give a path below resources/corpora/"),
        ({"resources/corpora/{x}": FILE}, {}, "give a path below resources/corpora/"),
        ({"resources/corpora/a": FILE | {"address": "file:///etc/passwd"}}, {}, "address='file:///etc/passwd': st"),
        ({"resources/corpora/a": FILE | {"sha256": "0" * 63}}, {}, "sha256"),
        ({"resources/corpora/a": FILE | {"sha1": "0" * 40}}, {}, "give the file's sha256, or its sha1"),
        ({"resources/corpora/a": {"address": FILE["address"]}}, {}, "give the file's sha256, or its sha1"),
        ({"resources/corpora/a": FILE | {"unpack": {"../x": "resources/corpora/x"}}}, {}, "as the archive names it"),
        ({"resources/corpora/a": FILE | {"unpack": {"x": "x"}}}, {}, "give a path below resources/corpora/"),
        ({"resources/corpora/a": FILE, "resources/corpora/a/b": FILE}, {}, "resources/corpora/a/b lies in "),
        ({"resources/corpora/a": FILE | {"unpack": {"x": "resources/corpora/a"}}}, {}, "give it another path"),
        ({}, {"../small": MODEL}, "it becomes a folder in resources/models/"),
        ({}, {"small": MODEL | {"revision": "main"}}, "downloads.models.small.revision='main': a branch or"),
        ({}, {"small": MODEL | {"files": ["pytorch_model.bin"]}}, "loading a pickle runs the code in it"),
        ({}, {"small": MODEL | {"repo_id": "a/b/c"}}, "downloads.models.small.repo_id='a/b/c'"),
        ({}, {"small": MODEL, "other": MODEL}, "models small and other are both someone/small"),
    ],
)  # fmt: skip
def test_a_mistake_in_downloads_is_named(files: dict[str, Any], models: dict[str, Any], message: str) -> None:
    assert message in _message(_downloads(files=files, models=models))


def test_a_declared_model_is_its_folder_by_id_and_by_folder() -> None:
    values = _downloads(models={"small": MODEL})
    values["images"] = values["images"] | {"model": "someone/small"}
    values["alignment"] = values["alignment"] | {"model": "ViT-B-16/openai"}
    values["safety"] = values["safety"] | {"model": "resources/models/small/safety_checker"}
    values["summaries"] = values["summaries"] | {"openai": {"model": "someone/small"}}
    config = load_config(values)
    assert config.images.model == "resources/models/small"
    assert config.summaries.openai.model == "someone/small"  # the endpoint's own
    assert load_config(config.model_dump(mode="json")) == config
    waited = config.downloads.markers(config.images.model, config.safety.model, config.embeddings.model, None)
    assert waited == ["resources/models/small/icsd-download.json"]


def test_what_is_downloaded_and_unpacked_has_a_rule_of_its_own() -> None:
    unpack = {"annotations/val.json": "resources/corpora/coco/val.json", "val/": "resources/corpora/coco/val"}
    downloads = load_config(_downloads(files={"resources/corpora/coco.zip": FILE | {"unpack": unpack}})).downloads
    assert downloads.unpacked_files == {
        "resources/corpora/coco/val.json": ("resources/corpora/coco.zip", "annotations/val.json")
    }
    assert downloads.unpacked_folders == {"resources/corpora/coco/val": ("resources/corpora/coco.zip", "val/")}
    assert downloads.targets() == ["resources/corpora/coco/val.json", "resources/corpora/coco/val"]
    assert downloads.pattern(downloads.files) == r"coco\.zip"
    assert downloads.pattern([]) == "(?!)"


def test_a_summaries_job_asks_for_time_and_memory_by_its_provider() -> None:
    rates = EstimateConfig(merges_per_second=400.0, seconds_per_request=4.0, local_requests_per_second=5.0)
    asked = {
        provider: (summaries.rate(rates), summaries.minutes, summaries.memory_mb)
        for provider in ("merge", "openai", "openai-batch", "transformers")
        if (summaries := SummariesConfig(provider=provider, openai={"concurrency": 16}))
    }
    assert asked == {
        "merge": (400.0, 20, 2000),
        "openai": (4.0, 20, 2000),
        "openai-batch": (math.inf, 1560, 2000),
        "transformers": (5.0, 20, 20_000),
    }


def test_also_names_arms_or_datasets_of_runs() -> None:
    also = ["real", "results/a/dataset/multi", "results/a/dataset/single"]
    assert load_config(_with("captioner.also", also)).captioner.also == also
    folders = "or a folder results/<run>/dataset/<arm>"
    assert _message(_with("captioner.also", ["results/a"])).endswith(f"real) {folders}")
    two = ["results/a/dataset/multi", "old/a/dataset/multi"]
    assert "the runs must have different names" in _message(_with("captioner.also", two))
