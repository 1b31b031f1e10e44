"""The whole run, reckoned from a preview: usable groups, tokens, money and time, with 95% intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from icsd.config import Config
from icsd.views.preview.trying import TriedPrompt

RESAMPLES = 2000
Z = 1.96  # of a 95% interval
HOUR_S = 3600.0
BY_RATES = "by the rates of estimate"
HEADER = ("", "of the preview", "a group", "of the whole run", "95% interval, or by what")


@dataclass(frozen=True)
class Line:
    """A measure of the sample, its mean for a group, and its value for all groups with a 95% interval, as texts."""

    name: str
    sample: str
    mean: str
    whole: str
    interval: str = ""

    @property
    def cells(self) -> list[str]:
        """The cells of a table with HEADER."""
        return [self.name, self.sample, self.mean, self.whole, self.interval]


def reckoned(config: Config, tried: TriedPrompt, groups: int) -> list[Line]:
    """Return the lines of a run of `groups` groups, as the sample lets expect it.

    The interval of usable groups is Wilson's, those of sums are bootstrapped over the groups of the sample. Groups
    without a reply have unknown tokens and are left out of these means.
    """
    sampled = len(tried.summaries)
    low, high = wilson(tried.usable, sampled)
    usable = Line(
        "usable groups", f"{tried.usable:,} of {sampled:,}", f"{tried.usable / sampled:.0%}",
        f"{groups * tried.usable / sampled:,.0f} of {groups:,}", f"{groups * low:,.0f} to {groups * high:,.0f}",
    )  # fmt: skip
    if config.summaries.provider == "merge":
        return [usable, _time(config, tried, groups)]
    prompt = [summary.prompt_tokens for summary in tried.summaries]
    answer = [summary.completion_tokens for summary in tried.summaries]
    return [
        usable,
        _sum("prompt tokens", prompt, groups, digits=0),
        _sum("answer tokens", answer, groups, digits=0),
        _sum("USD", tried.usd, groups, digits=4),
        _time(config, tried, groups),
    ]


def _sum(name: str, values: Sequence[float | None], groups: int, digits: int) -> Line:
    known = np.array([value for value in values if value is not None], dtype=float)
    if not len(known):
        return Line(name, "unknown", "unknown", "unknown")
    low, high = (groups * end for end in mean_interval(known))
    whole = max(2, digits - 2) if digits else 0  # a run costs more than a group
    return Line(
        name, f"{known.sum():,.{digits}f}", f"{known.mean():,.{digits + 2 if digits else 0}f}",
        f"{groups * known.mean():,.{whole}f}", f"{low:,.{whole}f} to {high:,.{whole}f}",
    )  # fmt: skip


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of the mean of `values` [n], by the bootstrap with a fixed seed."""
    drawn = np.random.default_rng(0).choice(values, size=(RESAMPLES, len(values)))
    low, high = np.quantile(drawn.mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def wilson(count: int, total: int) -> tuple[float, float]:
    """Return the 95% interval of a share after Wilson (1927): it does not shrink to nothing at 0 and 1."""
    share, square = count / total, Z * Z / total
    middle = (share + square / 2) / (1 + square)
    half = Z * math.sqrt(share * (1 - share) / total + square / total / 4) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def _time(config: Config, tried: TriedPrompt, groups: int) -> Line:
    """The time of all jobs together: measured here, or by the rates of `estimate` where nothing was sent."""
    provider, rates, sampled = config.summaries.provider, config.estimate, len(tried.summaries)
    taken, requests = f"{tried.seconds:,.1f} s", groups * max(1.0, tried.sent.requests / sampled)
    if provider == "openai-batch":
        return Line("hours", taken, "", f"{rates.batch_hours:,.1f}", "as the Batch API promises")
    if provider == "merge":
        return Line("hours", taken, "", hours_text(groups / rates.merges_per_second), f"{BY_RATES}, on one core")
    if provider == "transformers":
        each = tried.seconds / tried.sent.requests if tried.sent.requests else 1 / rates.local_requests_per_second
        source = "on one device like this one" if tried.sent.requests else BY_RATES
        return Line("hours", taken, "", hours_text(requests * each), source)
    at_once = min(rates.requests_at_once, config.shards * config.summaries.openai.concurrency)
    each, source = rates.seconds_per_request, BY_RATES
    if sent := tried.sent.requests:
        each = tried.seconds * min(sent, config.summaries.openai.concurrency) / sent
        source = "as fast as here"
    return Line("hours", taken, "", hours_text(requests * each / at_once), f"{source}, {at_once} requests at once")


def hours_text(seconds: float) -> str:
    """Hours with as many digits as a short time needs."""
    hours = seconds / HOUR_S
    return f"{hours:,.2f}" if hours >= 0.1 else f"{hours:.2g}"
