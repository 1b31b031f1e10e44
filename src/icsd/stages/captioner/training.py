"""Training of a captioner on one arm's pairs; validation on real pictures chooses the checkpoint."""

import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace

import torch
from torch.nn.parallel import DistributedDataParallel

from icsd.config import CaptionerConfig
from icsd.core import files, metrics, tables
from icsd.core.errors import ConfigError, StoppedError
from icsd.core.logs import progress
from icsd.stages.captioner import state
from icsd.stages.captioner.data import Validation, read_pairs, read_validation
from icsd.stages.captioner.interface import Captioner
from icsd.stages.captioner.job import EARLIER, JOB, TrainingJob, become_torchrun
from icsd.stages.captioner.loading import precision
from icsd.stages.captioner.model import generate_captions, new_captioner
from icsd.stages.captioner.pictures import Decoded
from icsd.stages.captioner.processes import Processes, process_group
from icsd.stages.captioner.state import TrainingProgress, watch_stop_signals
from icsd.stages.captioner.steps import Setup, update
from icsd.stages.captioner.stream import stream

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """Everything that stays the same during a training, with the validation data."""

    job: TrainingJob
    setup: Setup
    validation: Validation


def train(job: TrainingJob) -> None:
    """Train in this process, or replace it by torchrun where the job has several processes."""
    if job.resources.total > 1:
        become_torchrun(job)
    with process_group(job.resources.device, here=1) as processes:
        train_captioner(job, processes)


def train_captioner(job: TrainingJob, processes: Processes) -> None:
    """Train for the steps of `job.settings`; write the best checkpoint on val and the history of all steps.

    The state is saved every `save_every` steps and on a stop signal; a rerun resumes from it. The same input, seed and
    machine give the same weights, interrupted or not. Each process calls this; the first one writes the files.
    InputError if there is nothing to train on, ModelError for a model that cannot be loaded, StoppedError on a signal.
    """
    if job.settings.batch_parts % processes.count:  # the config is checked, but torchrun may be started by hand
        problem = (
            f"captioner.batch_parts={job.settings.batch_parts} cannot be divided among {processes.count} processes"
        )
        raise ConfigError(f"{problem}: give a multiple of them, in config/config.yaml")
    torch.set_num_threads(job.resources.threads_each)
    training, key, done = prepare(job, processes)
    _train(training, key, done)
    processes.gather("done")
    if processes.first:
        _write(training.setup.captioner, done, job)
        state.remove(job.files.resume, (JOB, *EARLIER))


def prepare(job: TrainingJob, processes: Processes) -> tuple[Training, str, TrainingProgress]:
    """Return the training, the key of its state, and its progress."""
    settings = job.settings
    captioner = new_captioner(settings, job.seed, processes.device)
    if settings.vision_learning_rate_scale == 0:  # then its gradients are not computed
        for name, value in captioner.model.named_parameters():
            value.requires_grad_(value.requires_grad and not captioner.of_pictures(name))
    if job.resources.checkpoint_activations:
        captioner.model.activation_checkpointing_enable({"use_reentrant": False})
    square, threads = captioner.square, job.resources.threads_each
    pairs = read_pairs(job.files, settings.max_words, job.language)
    decoded = Decoded.of(pairs.pictures, None if settings.crops_whole_pictures else square)
    validation = read_validation(job.files, square, settings.validation_pictures, threads, job.language)
    optimizer = _optimizer(captioner, settings)
    steps = settings.steps_of(len(pairs))
    setup = Setup(captioner, captioner.model, optimizer, pairs, decoded, settings, steps, job.seed, processes)
    _log_setup(setup, validation)
    key = processes.broadcast(_key(job, setup, validation))
    done = state.restore(job.files.resume, key, captioner.model, optimizer)
    return Training(job, _distributed(setup), validation), key, done


def _train(training: Training, key: str, done: TrainingProgress) -> None:
    """Run the remaining steps; StoppedError after a stop signal, even at the last step.

    torchrun fails after a signal even if its processes succeed, and Snakemake then deletes their output.
    """
    job, setup = training.job, training.setup
    model, processes = setup.captioner.model.train(), setup.processes
    with watch_stop_signals() as stop_signal, closing(stream(setup, done.step, job.resources.workers)) as steps:
        for parts in progress(steps, setup.steps - done.step, "captioner steps"):
            done.history.append(update(setup, done.step, parts))
            done.step += 1
            if done.step % job.settings.validate_every == 0 or done.step == setup.steps:
                _validate(training, done)
            stop = processes.any(stop_signal.received)
            if processes.first and (stop or (done.step % job.resources.save_every == 0 and done.step < setup.steps)):
                state.save(job.files.resume, key, done, model, setup.optimizer)
            if stop:
                processes.gather("saved")  # torchrun ends all processes when one ends
                problem = f"stopped by a signal after step {done.step} of {setup.steps}: the training state is saved"
                raise StoppedError(f"{problem}, and a rerun resumes from there")


def _distributed(setup: Setup) -> Setup:
    """Wrap the network so that several processes exchange their gradients."""
    if setup.processes.count == 1:
        return setup
    network = DistributedDataParallel(
        setup.network,
        forward_sync_buffers=False,
        gradient_as_bucket_view=True,
        find_unused_parameters=setup.captioner.idle_weights,
    )
    return replace(setup, network=network)


def _log_setup(setup: Setup, validation: Validation) -> None:
    settings, pairs = setup.settings, setup.pairs
    _log.info(
        "%d pairs of %d pictures; %d steps of %d pairs, %.1f epochs; %s on %s, %d processes, %d parts a step; "
        "%d pictures to validate on",
        len(pairs),
        len(pairs.pictures),
        setup.steps,
        settings.batch_size,
        setup.steps * settings.batch_size / len(pairs),
        precision(settings, setup.processes.device),
        setup.processes.device,
        setup.processes.count,
        settings.batch_parts,
        len(validation.references),
    )


def _optimizer(captioner: Captioner, settings: CaptionerConfig) -> torch.optim.AdamW:
    """Build AdamW, with weight decay on biases and norms if `decay_all`; a group's `share` scales the learning rate."""
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    trained = ((name, value) for name, value in captioner.model.named_parameters() if value.requires_grad)
    for name, value in trained:
        groups.setdefault((captioner.of_pictures(name), settings.decay_all or value.ndim > 1), []).append(value)
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


def _validate(training: Training, done: TrainingProgress) -> None:
    """Score the model on val; keep its weights if CIDEr + BLEU-4, the original's sum, is the best so far."""
    predicted = _predicted(training)
    if not training.setup.processes.first:
        return
    references, model = training.validation.references, training.setup.captioner.model
    candidates = [metrics.plain_tokens(caption, training.job.language) for caption in predicted]
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
    """Generate the captions of the val pictures, shared among the processes."""
    setup = training.setup
    mine = training.validation.squares.share(setup.processes.rank, setup.processes.count)
    captions = generate_captions(setup.captioner, mine, training.job.settings.prefix, training.job.search)
    return setup.processes.interleave([json.loads(text) for text in setup.processes.gather(json.dumps(captions))])


def _write(captioner: Captioner, done: TrainingProgress, job: TrainingJob) -> None:
    state.set_weights(captioner.model, done.best)
    with files.atomic_path(job.files.checkpoint) as unfinished:
        captioner.save(unfinished)
    tables.write(job.files.history, tables.HISTORY, done.history)


def _key(job: TrainingJob, setup: Setup, validation: Validation) -> str:
    """Hash everything that determines the result: settings, seed, data, initial weights."""
    weights = hashlib.sha256()
    for name, value in setup.captioner.model.named_parameters():
        weights.update(name.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    first = setup.captioner.tokenize(setup.pairs.texts[:1].to_pylist(), job.settings)
    about = [
        job.settings.model_dump(mode="json"),
        asdict(job.search),
        job.seed,
        precision(job.settings, setup.processes.device),
        setup.pairs.digest(),
        validation.digest(),
        weights.hexdigest(),
        first.ids.tolist(),
    ]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
