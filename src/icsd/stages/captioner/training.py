"""Training a captioner on one arm's pairs: a fixed number of steps, real pictures choose the checkpoint."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch.nn.parallel import DistributedDataParallel

from icsd.config import Captioner as Settings
from icsd.core import files, metrics, tables
from icsd.core.errors import ConfigError, StoppedError
from icsd.core.logs import progress
from icsd.stages.captioner import state
from icsd.stages.captioner.data import Validation, read_pairs, read_validation
from icsd.stages.captioner.job import JOB, PICTURES, VAL_PICTURES, Job, become_torchrun
from icsd.stages.captioner.model import Captioner, captions_of, new_captioner, save_captioner
from icsd.stages.captioner.processes import Processes, joined
from icsd.stages.captioner.state import told
from icsd.stages.captioner.steps import Setup, precision, update
from icsd.stages.captioner.text import encode

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """All that stays the same over the steps, and what is done between them."""

    job: Job
    setup: Setup
    validation: Validation


def train(job: Job) -> None:
    """Train in this process, or in the processes of torchrun, which it becomes where there are to be several."""
    if job.running.total > 1:
        become_torchrun(job)
    with joined(job.running.device, here=1) as processes:
        train_captioner(job, processes)


def train_captioner(job: Job, processes: Processes) -> None:
    """Train for the steps of `job.settings`; write the checkpoint that val chose and the history of all steps.

    Saves its state every `save_every` steps, and when a signal tells it to stop, and goes on from it. The same input,
    seed and machine give the same weights, interrupted or not. Of several processes each calls this; the first writes.
    Raises InputError where there is nothing to train on, ModelError for a model that can't be loaded, StoppedError.
    """
    if job.settings.batch_parts % processes.count:  # the config is checked already, but torchrun may be started by hand
        problem = f"captioner.batch_parts={job.settings.batch_parts} can't be dealt to {processes.count} processes"
        raise ConfigError(f"{problem}: give a multiple of them, in config/config.yaml")
    torch.set_num_threads(job.running.threads_each)
    training, key, done = prepare(job, processes)
    _train(training, key, done)
    processes.of_all("done")
    if processes.first:
        _write(training.setup.captioner, done, job)
        state.remove(job.files.resume, (JOB, PICTURES, VAL_PICTURES))


def prepare(job: Job, processes: Processes) -> tuple[Training, str, state.Progress]:
    """The training, the key of its state, and how far it is."""
    settings = job.settings
    captioner = new_captioner(settings, job.seed, processes.device)
    if settings.vision_learning_rate_scale == 0:  # then its gradients need not be worked out
        captioner.model.encoder.requires_grad_(False)
    if job.running.checkpoint_activations:
        captioner.model.activation_checkpointing_enable({"use_reentrant": False})
    size, threads = captioner.picture_size, job.running.threads_each
    pairs = read_pairs(job.files, size, settings.max_words, processes, threads)
    validation = read_validation(job.files, size, settings.validation_pictures, processes, threads)
    optimizer = _optimizer(captioner, settings)
    tokens = encode(pairs.captions, captioner.tokenizer, settings.prefix)
    steps = settings.steps_of(len(pairs.captions))
    setup = Setup(captioner, captioner.model, optimizer, pairs, tokens, settings, steps, job.seed, processes)
    _tell(setup, validation)
    key = processes.of_first(_key(job, setup, validation))
    done = state.restore(job.files.resume, key, captioner.model, optimizer)
    return Training(job, _together(setup), validation), key, done


def _train(training: Training, key: str, done: state.Progress) -> None:
    """The steps that are left; StoppedError where a signal came, also after the last one.

    torchrun, told to stop, fails whatever its processes have made, and Snakemake then deletes that.
    """
    job, setup = training.job, training.setup
    model, processes = setup.captioner.model.train(), setup.processes
    with told() as noted:
        for step in progress(range(done.step, setup.steps), setup.steps - done.step, "captioner steps"):
            done.history.append(update(setup, step))
            done.step = step + 1
            if done.step % job.settings.validate_every == 0 or done.step == setup.steps:
                _validate(training, done)
            stop = processes.any(noted.stop)
            if processes.first and (stop or (done.step % job.running.save_every == 0 and done.step < setup.steps)):
                state.save(job.files.resume, key, done, model, setup.optimizer)
            if stop:
                processes.of_all("saved")  # torchrun ends all when it sees one end
                problem = f"told to stop after step {done.step} of {setup.steps}: the training's state is saved"
                raise StoppedError(f"{problem}, and it goes on from there when it is run again")


def _together(setup: Setup) -> Setup:
    """With a network that exchanges the gradients of all processes, where there are several."""
    if setup.processes.count == 1:
        return setup
    network = DistributedDataParallel(setup.network, forward_sync_buffers=False, gradient_as_bucket_view=True)
    return replace(setup, network=network)


def _tell(setup: Setup, validation: Validation) -> None:
    settings, pairs = setup.settings, setup.pairs
    _log.info(
        "%d pairs of %d pictures; %d steps of %d pairs, %.1f epochs; %s on %s, %d processes, %d parts a step; "
        "%d pictures to validate on",
        len(pairs.captions),
        len(pairs.pictures.ids),
        setup.steps,
        settings.batch_size,
        setup.steps * settings.batch_size / len(pairs.captions),
        precision(settings, setup.processes.device),
        setup.processes.device,
        setup.processes.count,
        settings.batch_parts,
        len(validation.references),
    )


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


def _validate(training: Training, done: state.Progress) -> None:
    """Score the model on val; keep its weights if CIDEr + BLEU-4 (the original's sum) is the best yet."""
    predicted = _predicted(training)
    if not training.setup.processes.first:
        return
    references, model = training.validation.references, training.setup.captioner.model
    candidates = [metrics.plain_tokens(caption) for caption in predicted]
    cider = float(metrics.cider(references, candidates).mean())
    bleu_4 = float(metrics.bleu(metrics.bleu_statistics(references, candidates).sum(axis=0))[-1])
    last = done.history[-1]
    done.history += [last | {"metric": "CIDEr", "value": cider}, last | {"metric": "BLEU-4", "value": bleu_4}]
    better = done.best_value is None or cider + bleu_4 > done.best_value
    if better:
        done.best_value, done.best = cider + bleu_4, state.weights_of(model)
    _log.info(
        "step %d of %d: loss %.3f, val CIDEr %.1f, BLEU-4 %.1f%s; a caption: %s",
        done.step,
        training.setup.steps,
        last["loss"],
        100 * cider,
        100 * bleu_4,
        ", the best so far" if better else "",
        predicted[0],
    )


def _predicted(training: Training) -> Sequence[str]:
    """The captions of val's pictures, each made by one of the processes."""
    setup, pixels = training.setup, training.validation.pictures.pixels
    mine = pixels[setup.processes.rank :: setup.processes.count]
    captions = captions_of(setup.captioner, mine, training.job.settings.prefix, training.job.search)
    return setup.processes.whole([json.loads(text) for text in setup.processes.of_all(json.dumps(captions))])


def _write(captioner: Captioner, done: state.Progress, job: Job) -> None:
    state.set_weights(captioner.model, done.best)
    with files.atomic_path(job.files.checkpoint) as unfinished:
        save_captioner(captioner, unfinished)
    tables.write(job.files.history, tables.HISTORY, done.history)


def _key(job: Job, setup: Setup, validation: Validation) -> str:
    """A hash of all that determines the result: settings, seed, data, the first weights."""
    weights = hashlib.sha256()
    for name, value in setup.captioner.model.named_parameters():
        weights.update(name.encode() + value.detach().cpu().numpy().tobytes())
    about = [
        job.settings.model_dump(mode="json"),
        asdict(job.search),
        job.seed,
        precision(job.settings, setup.processes.device),
        setup.pairs.digest(),
        validation.digest(),
        weights.hexdigest(),
        setup.tokens.ids.tolist()[:1],
    ]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
