"""The captioner on a world of two kinds of picture: red ones and blue ones with a bright half."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from captioner_world import SEARCH, elsewhere, job_of, said_of, settings_of, write_images, write_world
from transformers import (
    BertTokenizer,
    CLIPImageProcessor,
    CLIPVisionModel,
    VisionEncoderDecoderModel,
)

from icsd.config import CaptionerConfig
from icsd.core import tables
from icsd.core.errors import InputError, ModelError
from icsd.stages.captioner import state, training
from icsd.stages.captioner.data import read_pairs
from icsd.stages.captioner.encoder_decoder import decoder_batch
from icsd.stages.captioner.interface import IGNORED
from icsd.stages.captioner.job import Files, prefixes
from icsd.stages.captioner.model import generate_captions, load_captioner, new_captioner
from icsd.stages.captioner.pictures import Square, find_squares
from icsd.stages.captioner.predicting import predict_captions
from icsd.stages.captioner.steps import Part, Setup, caption_loss, learning_rate
from icsd.stages.captioner.text import clean_caption, tokenize
from icsd.stages.captioner.training import train


@pytest.fixture
def settings(captioner_folder: Path) -> CaptionerConfig:
    return settings_of(captioner_folder)


@pytest.fixture
def paths(tmp_path: Path) -> Files:
    return write_world(tmp_path)


def run(paths: Files, settings: CaptionerConfig, **resources: int) -> None:
    train(job_of(paths, settings, **resources))


def outputs(paths: Files) -> tuple[list[dict], dict[str, torch.Tensor]]:
    history = tables.read(paths.history, tables.HISTORY).to_pylist()
    return history, state.weights_of(load_captioner(paths.checkpoint).model)


def killed_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Make the training fail in the step with this number, counted from 0."""
    whole_step = training.update

    def dying(setup: Setup, number: int, parts: Sequence[Part]) -> dict[str, object]:
        if number == step:
            raise KeyboardInterrupt
        return whole_step(setup, number, parts)

    monkeypatch.setattr(training, "update", dying)


def test_clean_caption_lowers_drops_punctuation_and_cuts():
    assert clean_caption('A man\'s "Dog" (brown); runs, fast!', 30) == "a man's dog brown runs, fast"
    assert clean_caption("one two three four", 3) == "one two three"
    # of other languages the words are ICU's, and the tokenizer decides on case
    assert clean_caption("两只黑色的狗,在沙滩上奔跑。", 5, "zh") == "两 只 黑色 的 狗"
    assert clean_caption("Ein Hund, der rennt!", 3, "de") == "Ein Hund der"


def test_learning_rate_rises_then_falls_to_zero():
    rates = [learning_rate(step, 100, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)


def test_prefix_and_padding_are_not_in_the_loss_but_the_end_is(captioner_folder: Path):
    tokenizer = BertTokenizer.from_pretrained(captioner_folder / "tokenizer")
    tokens = tokenize(["red ball", "a blue fish"], tokenizer, "a picture of")
    ids, mask, labels = decoder_batch(tokens)
    asked = [[word for word in row if word != IGNORED] for row in labels.tolist()]
    assert [tokenizer.decode(row) for row in asked] == ["red ball [SEP]", "a blue fish [SEP]"]
    assert labels[:, :3].eq(IGNORED).all()
    assert mask.sum(dim=1).tolist() == [
        7,
        7,
    ]  # the mark, three of the prefix, the caption; the shorter one's end, too
    assert ids.shape == labels.shape


def test_loss_does_not_depend_on_the_logits_of_the_prefix():
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 7)
    labels = torch.tensor([[IGNORED, IGNORED, 3, 4, 2], [IGNORED, IGNORED, 5, 2, IGNORED]])
    other = logits.clone()
    other[:, :2] = torch.randn(2, 2, 7)
    other[1, 4] = 9.0
    assert caption_loss(logits, labels, 0.1) == caption_loss(other, labels, 0.1)


def test_a_caption_counts_in_the_loss_by_its_weight():
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 7)
    labels = torch.tensor([[IGNORED, 3, 4, 2, IGNORED], [IGNORED, 5, 2, IGNORED, IGNORED], [IGNORED, 6, 6, 6, 2]])
    alone = [caption_loss(logits[[row]], labels[[row]], 0.1) for row in range(3)]
    weighted = caption_loss(logits, labels, 0.1, torch.tensor([2.0, 0.0, 1.0]))
    assert weighted == pytest.approx(float((2 * 3 * alone[0] + 4 * alone[2]) / (3 + 2 + 4)))
    assert caption_loss(logits, labels, 0.1, torch.ones(3)) == pytest.approx(float(caption_loss(logits, labels, 0.1)))


def test_weights_change_the_training_and_equal_ones_do_not(paths: Files, settings: CaptionerConfig):
    def losses(weights: list[float | None]) -> list[float]:
        rows = tables.read(paths.pairs, tables.PAIRS).to_pylist()
        tables.write(paths.pairs, tables.PAIRS, [row | {"weight": weights[n % 2]} for n, row in enumerate(rows)])
        run(paths, settings.model_copy(update={"batch_parts": 2}))
        return [row["loss"] for row in outputs(paths)[0] if row["metric"] is None]

    plain = losses([None, None])
    assert losses([1.0, None]) == pytest.approx(plain, rel=1e-4)
    assert losses([2.0, 0.5]) != pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize(("weight", "named"), [(-1.0, r"pair 0: its weight is -1"), (float("nan"), "nan")])
def test_a_weight_that_is_no_number_above_0_is_named(
    paths: Files, settings: CaptionerConfig, weight: float, named: str
):
    rows = tables.read(paths.pairs, tables.PAIRS).to_pylist()
    tables.write(paths.pairs, tables.PAIRS, [row | {"weight": weight} for row in rows])
    with pytest.raises(InputError, match=named):
        run(paths, settings)


def test_training_tells_two_kinds_of_picture_apart(paths: Files, settings: CaptionerConfig, tmp_path: Path):
    run(paths, settings)
    predicted, results = predict(paths, tmp_path)
    found = {row["image_id"]: row["caption"] for row in tables.read(predicted, tables.PREDICTIONS).to_pylist()}
    assert found == {f"real-{number}": said_of(number) for number in range(8)}
    assert json.loads(results.read_text()) == [{"image_id": n, "caption": said_of(n)} for n in range(8)]


def predict(paths: Files, folder: Path) -> tuple[Path, Path]:
    """The predictions of val's pictures, as a table and as COCO results JSON."""
    table, results = folder / "predictions.parquet", folder / "results.json"
    files = [paths.checkpoint, paths.val_images, paths.val_captions, str(table), str(results)]
    predict_captions(*files, "a picture of", SEARCH, 1)
    return table, results


def test_a_test_picture_without_captions_is_named(paths: Files, tmp_path: Path):
    captions = [{"caption_id": n, "image_id": n, "caption": said_of(n), "split": "test"} for n in range(8) if n != 5]
    tables.write(paths.val_captions, tables.CAPTIONS, captions)
    with pytest.raises(InputError, match=r"val_captions\.parquet, real-5: holds no caption of the picture"):
        predict(paths, tmp_path)
    assert not list(tmp_path.glob("*.json"))


def test_an_empty_test_set_is_one_message(paths: Files, tmp_path: Path):
    tables.write(paths.val_captions, tables.CAPTIONS, [])
    with pytest.raises(InputError, match=r"val_captions\.parquet.*holds no caption"):
        predict(paths, tmp_path)


def test_training_writes_every_step_and_the_scores_on_val(paths: Files, settings: CaptionerConfig):
    run(paths, settings)
    history, _ = outputs(paths)
    steps = [row for row in history if row["metric"] is None]
    assert [row["step"] for row in steps] == list(range(1, 41))
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert [(row["step"], row["metric"]) for row in history if row["metric"]] == [
        (step, metric) for step in (20, 40) for metric in ("CIDEr", "BLEU-4")
    ]
    assert not paths.resume.exists()


@pytest.mark.parametrize("step", [3, 8, 21, 39])
def test_killed_training_resumes_to_the_same_losses_and_weights(
    paths: Files, settings: CaptionerConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: int
):
    """Six of eight pairs a step: most steps begin in the middle of an epoch. The resumed one has workers."""
    settings = settings.model_copy(update={"batch_size": 6})
    run(paths, settings)
    history, weights = outputs(paths)
    again = elsewhere(paths, tmp_path)
    with monkeypatch.context() as patch:
        killed_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            run(again, settings)
    assert not Path(again.checkpoint).exists()
    run(again, settings, workers=2)
    resumed_history, resumed_weights = outputs(again)
    assert resumed_history == history
    assert all(torch.equal(weights[name], resumed_weights[name]) for name in weights)


def test_state_of_other_settings_is_ignored_with_a_warning(
    paths: Files, settings: CaptionerConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with monkeypatch.context() as patch:
        killed_at(patch, 20)
        with pytest.raises(KeyboardInterrupt):
            run(paths, settings)
    other = settings.model_copy(update={"label_smoothing": 0.2})
    run(paths, other)
    assert "other settings or other data" in caplog.text
    assert len([row for row in outputs(paths)[0] if row["metric"] is None]) == 40


def test_truncated_state_is_ignored_with_a_warning(
    paths: Files, settings: CaptionerConfig, caplog: pytest.LogCaptureFixture
):
    paths.resume.mkdir(parents=True)
    (paths.resume / state.FILE).write_bytes(b"\x10\0\0\0")
    run(paths, settings.model_copy(update={"steps": 2}))
    assert "cannot be read" in caplog.text


def test_pairs_of_another_run_are_added_and_keep_their_own_pictures(paths: Files, tmp_path: Path):
    """Both runs have pictures of the same ids, which differ; a pair that two datasets have counts once."""
    ids = write_images(tmp_path / "other/images.parquet", "multi", swapped=True)
    rows = [{"image_id": each, "caption_id": 100 + n, "caption": f"caption {n}"} for n, each in enumerate(ids)]
    tables.write(tmp_path / "other/pairs.parquet", tables.PAIRS, rows)
    other = [str(tmp_path / "other" / name) for name in ("pairs.parquet", "images.parquet")]
    files = replace(
        paths, also=[other[0], paths.pairs], images=[*paths.images, other[1]], prefixes=dict.fromkeys(other, "other/")
    )
    pairs, own = read_pairs(files, 30), read_pairs(paths, 30)
    assert len(pairs) == len(own) + len(ids)
    found, mine_of = (
        {each.pictures.ids[row].as_py(): np.asarray(each.pictures.picture(row)) for row in each.picture_rows.tolist()}
        for each in (pairs, own)
    )
    for image_id in ids:
        mine = mine_of[image_id]
        assert np.array_equal(found[image_id], mine)
        assert not np.array_equal(found[f"other/{image_id}"], mine)


def test_tables_of_other_runs_have_the_runs_name_before_their_ids():
    dataset = Path("results/other/dataset/multi")
    paths = [str(dataset / "pairs.parquet"), *(f"results/{run}/images/multi/a.parquet" for run in ("other", "own"))]
    assert prefixes(paths, [dataset]) == dict.fromkeys(paths[:2], "other/")
    assert prefixes(paths, []) == {}


def test_pairs_in_another_order_train_the_same_weights(paths: Files, settings: CaptionerConfig, tmp_path: Path):
    short = settings.model_copy(update={"steps": 3})
    run(paths, short)
    _, weights = outputs(paths)
    pairs = tables.read(paths.pairs, tables.PAIRS)
    tables.write(paths.pairs, tables.PAIRS, pairs.take(list(range(len(pairs)))[::-1]))
    run(elsewhere(paths, tmp_path), short)
    _, others = outputs(elsewhere(paths, tmp_path))
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_checkpoint_is_a_transformers_folder_without_pickles(paths: Files, settings: CaptionerConfig):
    run(paths, settings.model_copy(update={"steps": 2}))
    model = VisionEncoderDecoderModel.from_pretrained(paths.checkpoint)
    ours = state.weights_of(load_captioner(paths.checkpoint).model)
    assert all(torch.equal(ours[name], value) for name, value in model.named_parameters())
    files = {path.name for path in Path(paths.checkpoint).iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "preprocessor_config.json"} <= files
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]


@pytest.mark.skipif(torch.cuda.is_available(), reason="attention of a CPU: run without a GPU")
def test_attention_is_written_out_in_every_layer_on_a_cpu(paths: Files, settings: CaptionerConfig):
    new = new_captioner(settings, seed=0, device=torch.device("cpu"))
    run(paths, settings.model_copy(update={"steps": 1}))
    for captioner in (new, load_captioner(paths.checkpoint)):
        layers = [layer for layer in captioner.model.modules() if hasattr(layer, "scaling") or hasattr(layer, "scale")]
        assert len(layers) == 3
        assert {layer.config._attn_implementation for layer in layers} == {"eager"}


def test_captions_do_not_depend_on_the_batch(paths: Files, settings: CaptionerConfig):
    run(paths, settings.model_copy(update={"steps": 10}))
    captioner = load_captioner(paths.checkpoint)
    pixels = np.random.default_rng(0).integers(0, 255, (6, 16, 16, 3), dtype=np.uint8)
    together = generate_captions(captioner, pixels, "a picture of", SEARCH)
    assert generate_captions(captioner, pixels, "a picture of", replace(SEARCH, batch_size=1)) == together


def test_training_with_augmentation_repeats(paths: Files, settings: CaptionerConfig, tmp_path: Path):
    varied = settings.model_copy(update={"steps": 4, "flip": True, "crop": 0.5})
    run(paths, varied)
    history, _ = outputs(paths)
    run(elsewhere(paths, tmp_path), varied)
    assert outputs(elsewhere(paths, tmp_path))[0] == history


def test_missing_vision_model_is_one_message(paths: Files, settings: CaptionerConfig, tmp_path: Path):
    with pytest.raises(ModelError) as error:
        run(paths, settings.model_copy(update={"vision_model": str(tmp_path / "nowhere")}))
    assert "captioner.vision_model" in str(error.value) and "nowhere" in str(error.value)
    assert "\n" not in str(error.value)


def test_folder_without_vocabulary_is_refused(paths: Files, settings: CaptionerConfig):
    """Without the check transformers would build a tokenizer without words."""
    with pytest.raises(ModelError, match=r"captioner\.tokenizer=.*vision lacks words"):
        run(paths, settings.model_copy(update={"tokenizer": settings.vision_model}))


def test_weights_of_another_model_are_refused(
    paths: Files, settings: CaptionerConfig, captioner_folder: Path, tmp_path: Path
):
    folder = tmp_path / "other"
    CLIPVisionModel.from_pretrained(captioner_folder / "vision").save_pretrained(folder)
    CLIPImageProcessor.from_pretrained(captioner_folder / "vision").save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(ModelError, match=r"encoder\.layers\.1"):
        run(paths, settings.model_copy(update={"vision_model": str(folder)}))


def test_weights_cut_short_are_refused(paths: Files, settings: CaptionerConfig, captioner_folder: Path, tmp_path: Path):
    folder = tmp_path / "other"
    CLIPVisionModel.from_pretrained(captioner_folder / "vision").save_pretrained(folder)
    CLIPImageProcessor.from_pretrained(captioner_folder / "vision").save_pretrained(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"captioner\.vision_model"):
        run(paths, settings.model_copy(update={"vision_model": str(folder)}))


def test_empty_dataset_is_one_message_and_leaves_nothing(paths: Files, settings: CaptionerConfig):
    tables.write(paths.pairs, tables.PAIRS, [])
    with pytest.raises(InputError, match=r"pairs\.parquet.*no pair"):
        run(paths, settings)
    assert not Path(paths.checkpoint).exists() and not paths.resume.exists()


def test_pair_without_picture_is_named(paths: Files, settings: CaptionerConfig):
    tables.write(paths.pairs, tables.PAIRS, [{"image_id": "multi-77", "caption_id": 1, "caption": "a red ball"}])
    with pytest.raises(InputError, match="multi-77"):
        run(paths, settings)


def test_file_that_is_no_picture_is_named(tmp_path: Path):
    image = {"bytes": b"no picture", "path": None}
    row = {"image_id": "multi-1", "image": image, "sentence": "", "seed": 0, "model": "test"}
    tables.write(tmp_path / "images.parquet", tables.IMAGES, [row])
    with pytest.raises(InputError, match="multi-1"):
        find_squares([tmp_path / "images.parquet"], Square(16), ["multi-1"], "pairs.parquet")[:]
