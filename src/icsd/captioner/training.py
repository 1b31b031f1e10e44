"""Training a captioner on one arm's pairs: a fixed number of steps, real pictures choose the checkpoint."""

import hashlib
import json
import logging
import math
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from icsd import files, metrics, tables
from icsd.captioner import state
from icsd.captioner.batches import Augmentation, augment, rows_of_step
from icsd.captioner.data import Pairs, Validation, read_pairs, read_validation
from icsd.captioner.model import Captioner, Search, captions_of, new_captioner, save_captioner
from icsd.captioner.text import Tokens, encode
from icsd.config import Captioner as Settings
from icsd.errors import ModelError
from icsd.logs import progress
from icsd.precision import has_bfloat16
from icsd.sharding import item_seed

IGNORED = -100  # the label of a token that is not in the loss
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """What one training reads and writes."""

    pairs: str
    images: list[str]
    val_images: str
    val_captions: str
    checkpoint: str
    history: str

    @property
    def resume(self) -> Path:
        """The folder of the unfinished training's state: no output, as Snakemake deletes a killed job's."""
        return Path(self.history).parent / "resume"


@dataclass(frozen=True)
class Training:
    """All that stays the same over the steps."""

    captioner: Captioner
    optimizer: torch.optim.AdamW
    pairs: Pairs
    tokens: Tokens
    validation: Validation
    settings: Settings
    search: Search
    seed: int


def train_captioner(paths: Files, settings: Settings, search: Search, seed: int, threads: int, save_every: int) -> None:
    """Train for `settings.steps` steps; write the checkpoint that val chose and the history of all steps.

    Saves its state every `save_every` steps and goes on from it. The same input, seed and machine give the
    same weights, interrupted or not. Raises InputError where there is nothing to train on, ModelError for
    a model that can't be loaded.
    """
    torch.set_num_threads(threads)
    training = _prepare(paths, settings, search, seed)
    key = _key(training)
    model = training.captioner.model
    done = state.restore(paths.resume, key, model, training.optimizer)
    model.train()
    for step in progress(range(done.step, settings.steps), settings.steps - done.step, "captioner steps"):
        done.history.append(_step(training, step))
        done.step = step + 1
        if done.step % settings.validate_every == 0 or done.step == settings.steps:
            _validate(training, done)
        if done.step % save_every == 0 and done.step < settings.steps:
            state.save(paths.resume, key, done, model, training.optimizer)
    _write(training, done, paths)
    state.remove(paths.resume)


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """The share of the full rate at a step counted from 0: a straight rise, then half a cosine to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def caption_loss(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Label-smoothed mean cross-entropy of the tokens asked for.

    logits [b, length, vocabulary], labels [b, length].
    """
    flat = logits.float().flatten(0, 1)
    return functional.cross_entropy(flat, labels.flatten(), ignore_index=IGNORED, label_smoothing=smoothing)


def decoder_batch(tokens: Tokens, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Input ids, attention mask and labels (the token that follows) of `rows`, each [b, longest - 1].

    The prefix's own tokens and the padding are not asked for; the end mark is.
    """
    ids = torch.from_numpy(tokens.ids[rows])
    lengths = torch.from_numpy(tokens.lengths[rows])
    longest = int(lengths.max())
    place = torch.arange(1, longest)[None]
    labels = ids[:, 1:longest].masked_fill((place < tokens.prompt) | (place >= lengths[:, None]), IGNORED)
    return ids[:, : longest - 1], (place - 1 < lengths[:, None]).long(), labels


def _prepare(paths: Files, settings: Settings, search: Search, seed: int) -> Training:
    captioner = new_captioner(settings.vision_model, settings.tokenizer, settings.decoder, seed)
    if settings.vision_learning_rate_scale == 0:  # then its gradients need not be worked out
        captioner.model.encoder.requires_grad_(False)
    size = captioner.picture_size
    pairs = read_pairs(paths.pairs, paths.images, size, settings.max_words)
    validation = read_validation(paths.val_images, paths.val_captions, size, settings.validation_pictures)
    tokens = encode(pairs.captions, captioner.tokenizer, settings.prefix)
    _log.info(
        "%d pairs of %d pictures; %d steps of %d pairs, %.1f epochs; %s on %s; %d pictures to validate on",
        len(pairs.captions),
        len(pairs.pictures.ids),
        settings.steps,
        settings.batch_size,
        settings.steps * settings.batch_size / len(pairs.captions),
        _precision(settings),
        captioner.model.device,
        len(validation.references),
    )
    return Training(captioner, _optimizer(captioner, settings), pairs, tokens, validation, settings, search, seed)


def _optimizer(captioner: Captioner, settings: Settings) -> torch.optim.AdamW:
    """AdamW; biases and norms are not decayed; a group's `share` scales the schedule's rate."""
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    trained = ((name, value) for name, value in captioner.model.named_parameters() if value.requires_grad)
    for name, value in trained:
        groups.setdefault((name.startswith("encoder."), value.ndim > 1), []).append(value)
    return torch.optim.AdamW(
        [
            {
                "params": values,
                "share": settings.vision_learning_rate_scale if encoder else 1.0,
                "weight_decay": settings.weight_decay if decayed else 0.0,
            }
            for (encoder, decayed), values in groups.items()
        ]
    )


def _step(training: Training, step: int) -> dict[str, object]:
    """One update; its row of HISTORY. All chance comes from seed and step: a resumed training repeats it."""
    settings, captioner, optimizer = training.settings, training.captioner, training.optimizer
    chance = item_seed(f"step-{step}", training.seed)
    torch.manual_seed(chance)  # for dropout
    rate = settings.learning_rate * learning_rate(step, settings.steps, settings.warmup_steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]
    rows = rows_of_step(step, settings.batch_size, len(training.pairs.captions), training.seed)
    loss = _loss(training, rows, np.random.default_rng(chance))
    if not math.isfinite(loss.item()):
        problem = f"the loss of step {step + 1} is {loss.item()}"
        raise ModelError(f"{problem}: captioner.learning_rate={settings.learning_rate} may be too high")
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(captioner.model.parameters(), settings.clip_norm)
    optimizer.step()
    return {"step": step + 1, "loss": loss.item(), "learning_rate": rate, "metric": None, "value": None}


def _loss(training: Training, rows: np.ndarray, generator: np.random.Generator) -> torch.Tensor:
    settings, captioner = training.settings, training.captioner
    ids, mask, labels = (part.to(captioner.model.device) for part in decoder_batch(training.tokens, rows))
    pixels = captioner.pixel_values(training.pairs.pictures.pixels[training.pairs.rows[rows]])
    pixels = augment(pixels, Augmentation(settings.flip, settings.crop), generator)
    with _autocast(settings, captioner):
        logits = captioner.model(
            pixel_values=pixels, decoder_input_ids=ids, decoder_attention_mask=mask, use_cache=False
        ).logits
    return caption_loss(logits, labels, settings.label_smoothing)


def _validate(training: Training, done: state.Progress) -> None:
    """Score the model on val; keep its weights if CIDEr + BLEU-4 (the original's sum) is the best yet."""
    settings, validation = training.settings, training.validation
    predicted = captions_of(training.captioner, validation.pictures.pixels, settings.prefix, training.search)
    candidates = [metrics.plain_tokens(caption) for caption in predicted]
    cider = float(metrics.cider(validation.references, candidates).mean())
    bleu_4 = float(metrics.bleu(metrics.bleu_statistics(validation.references, candidates).sum(axis=0))[-1])
    last = done.history[-1]
    done.history += [last | {"metric": "CIDEr", "value": cider}, last | {"metric": "BLEU-4", "value": bleu_4}]
    better = done.best_value is None or cider + bleu_4 > done.best_value
    if better:
        done.best_value, done.best = cider + bleu_4, state.weights_of(training.captioner.model)
    _log.info(
        "step %d of %d: loss %.3f, val CIDEr %.1f, BLEU-4 %.1f%s; a caption: %s",
        done.step,
        settings.steps,
        last["loss"],
        100 * cider,
        100 * bleu_4,
        ", the best so far" if better else "",
        predicted[0],
    )


def _write(training: Training, done: state.Progress, paths: Files) -> None:
    state.set_weights(training.captioner.model, done.best)
    with files.atomic_path(paths.checkpoint) as unfinished:
        save_captioner(training.captioner, unfinished)
    tables.write(paths.history, tables.HISTORY, done.history)


def _key(training: Training) -> str:
    """A hash of all that determines the result: settings, seed, data, the first weights."""
    weights = hashlib.sha256()
    for name, value in training.captioner.model.named_parameters():
        weights.update(name.encode() + value.detach().cpu().numpy().tobytes())
    about = [
        training.settings.model_dump(mode="json"),
        asdict(training.search),
        training.seed,
        _precision(training.settings),
    ]
    about += [
        training.pairs.digest(),
        training.validation.digest(),
        weights.hexdigest(),
        training.tokens.ids.tolist()[:1],
    ]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _precision(settings: Settings) -> str:
    """`settings.precision`; "auto" is bfloat16 where the device has it, else float32."""
    if settings.precision != "auto":
        return settings.precision
    return "bfloat16" if has_bfloat16("cuda" if torch.cuda.is_available() else "cpu") else "float32"


def _autocast(settings: Settings, captioner: Captioner) -> AbstractContextManager[None]:
    enabled = _precision(settings) == "bfloat16"
    return torch.autocast(captioner.model.device.type, torch.bfloat16, enabled=enabled)
