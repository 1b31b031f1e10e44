"""Costs of a run's items, by the prices of summaries.openai and the rates of the config section estimate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from icsd.config import ARMS, Config, EstimateConfig
from icsd.llm.budget import BATCH_PRICE, Prices
from icsd.views.estimate.amounts import CONFIG, Amount
from icsd.views.estimate.counts import Counts, captions_of_picture

PRICE_SHARES = {"openai": 1.0, "openai-batch": BATCH_PRICE}  # of the endpoint's prices; the others cost nothing
HOUR_S = 3600.0


@dataclass(frozen=True)
class Costs:
    """Money in USD, `gpu` in hours of one GPU by stage, disk in bytes. `repairs` are requests too.

    `usd` and `request_hours` are those of summaries, `image_usd` and `image_hours` those of a server's pictures.

    `match_hours` are those of alignment.rematch on one core. `decoded` are the pictures that the steps of all trainings
    decode, `decode_hours` those of one core for them.
    """

    repairs: Amount
    prompt_tokens: Amount
    answer_tokens: Amount
    usd: Amount
    request_hours: Amount
    image_usd: Amount
    image_hours: Amount
    gpu: Mapping[str, Amount]
    disk: Amount
    match_hours: Amount
    decoded: Amount
    decode_hours: Amount


def costs(counts: Counts, config: Config) -> Costs:
    """The costs of `counts`.

    Repairs of finished requests are guessed like those of the others. So totals stay the same while the run continues,
    and can be compared with the money spent in the end.
    """
    rates, requests = config.estimate, counts.requests
    share = rates.repair_share if config.summaries.repair else 0.0
    repairs = requests.times(share)
    sent = requests.plus(repairs.total, repairs.done)
    # a repair sends the prompt once more, and the answer that could not be used
    prompts = counts.prompts.times(rates.tokens_per_character * (1 + share))
    prompts = prompts.plus(repairs.total * rates.answer_tokens, repairs.done * rates.answer_tokens)
    thought = config.summaries.openai.max_reasoning_tokens if config.summaries.section == "openai" else 0
    answers = sent.times(rates.answer_tokens + thought)
    decoded = counts.trainings.times(_steps(config, counts) * config.captioner.batch_size)
    return Costs(
        repairs=repairs,
        prompt_tokens=prompts,
        answer_tokens=answers,
        usd=_usd(config, prompts, answers),
        request_hours=_request_hours(config, sent, prompts),
        image_usd=_served(config, counts).times(config.images.openai.usd_per_image),
        image_hours=_image_hours(config, counts),
        gpu=_gpu_hours(config, counts, sent),
        disk=_disk(counts, rates),
        match_hours=counts.comparisons.times(1 / rates.comparisons_per_second / HOUR_S),
        decoded=decoded,
        decode_hours=decoded.times(1 / rates.decodes_per_second / HOUR_S),
    )


def _usd(config: Config, prompts: Amount, answers: Amount) -> Amount:
    settings, share = config.summaries.openai, PRICE_SHARES.get(config.summaries.provider, 0.0)
    prices = Prices(share * settings.prompt_usd_per_million, share * settings.completion_usd_per_million)
    total = prices.cost(round(prompts.total), round(answers.total))
    return replace(prompts, total=total, done=prices.cost(round(prompts.done), round(answers.done)))


def _request_hours(config: Config, sent: Amount, prompts: Amount) -> Amount:
    """The hours of all jobs together."""
    rates, summaries = config.estimate, config.summaries
    if summaries.provider == "openai":
        at_once = min(rates.requests_at_once, config.shards * summaries.openai.concurrency)
        return sent.times(rates.seconds_per_request / at_once / HOUR_S)
    if summaries.provider == "openai-batch":
        rounds = math.ceil(prompts.left / (summaries.batch.enqueued_tokens or math.inf))
        return replace(prompts, total=rates.batch_hours * max(rounds, sent.left > 0), done=0.0)
    return _local_hours(rates, sent)


def _served(config: Config, counts: Counts) -> Amount:
    """The pictures of a server."""
    return counts.pictures if config.images.provider == "openai" else Amount(0, source=CONFIG)


def _image_hours(config: Config, counts: Counts) -> Amount:
    """The hours of all jobs together."""
    rates = config.estimate
    at_once = min(rates.requests_at_once, config.shards * config.images.openai.concurrency)
    return _served(config, counts).times(rates.seconds_per_image_request / at_once / HOUR_S)


def _local_hours(rates: EstimateConfig, sent: Amount) -> Amount:
    return sent.times(1 / rates.local_requests_per_second / HOUR_S)


def _gpu_hours(config: Config, counts: Counts, sent: Amount) -> dict[str, Amount]:
    rates = config.estimate
    local = {"summaries": _local_hours(rates, sent)} if config.summaries.provider == "transformers" else {}
    drawing = counts.pictures.times(1 / rates.images_per_second / HOUR_S)
    scoring = counts.scored.times(1 / rates.alignments_per_second / HOUR_S)
    return {
        "embeddings": counts.captions.times(1 / rates.embeddings_per_second / HOUR_S),
        **local,
        **({"images": drawing} if config.images.provider == "diffusers" else {}),
        **({"alignment": scoring} if scoring.total else {}),
        "safety": counts.checks.times(1 / rates.checks_per_second / HOUR_S),
        "captioner": counts.trainings.times(_steps(config, counts) / rates.training_steps_per_second / HOUR_S),
        **({"evaluation": _clip_score_hours(counts, rates)} if counts.judged.total else {}),
    }


def _clip_score_hours(counts: Counts, rates: EstimateConfig) -> Amount:
    """The hours of CLIPScore. Predicting the captions is not counted: no rate is known for it."""
    read = counts.judgements.times(1 / rates.embeddings_per_second / HOUR_S)
    return counts.judged.times(1 / rates.alignments_per_second / HOUR_S).plus(read.total, read.done)


def _steps(config: Config, counts: Counts) -> float:
    """The mean steps of a training over the arms; if epochs are given, an arm with more pairs has more steps."""
    if config.captioner.steps is not None:
        return config.captioner.steps
    return fmean(config.captioner.steps_of(_pairs(arm, config, counts)) for arm in config.arms)


def _pairs(arm: str, config: Config, counts: Counts) -> float:
    if ARMS[arm].photographs:  # as many as there are captions, since corpus and photographs often belong together
        return counts.captions.total * config.dataset.real_share
    drawn_by = ARMS[arm].drawn_by
    of_picture = captions_of_picture(drawn_by, config.estimate)
    return counts.arms[drawn_by.name] * min(of_picture, ARMS[arm].captions or of_picture)


def _disk(counts: Counts, rates: EstimateConfig) -> Amount:
    """The bytes in the run's folder, and those still to come to it and to the store of replies."""
    left = counts.bytes_to_copy + (
        counts.captions.left * rates.bytes_per_caption
        + counts.groups.left * rates.bytes_per_summary
        + counts.pictures.left * rates.bytes_per_image
        + counts.vectors.left * rates.bytes_per_vector
        + counts.trainings.left * rates.bytes_per_training
    )
    return Amount(counts.bytes_on_disk, counts.bytes_on_disk, "folder").times(1).plus(left)
