"""Which summaries are good enough, by what can be counted of them."""

from dataclasses import dataclass, replace

from icsd.config import QualityConfig
from icsd.summaries.answers import shown
from icsd.summaries.quality import Quality, measure
from icsd.summaries.records import Group, Summary

SHOWN_WORDS = 8


@dataclass(frozen=True)
class Judge:
    """The thresholds of summaries.quality. ModelError where image_model has no tokenizer, before anything is asked."""

    limits: QualityConfig

    def __post_init__(self) -> None:
        self._tokens("")

    def __call__(self, group: Group, summary: Summary) -> Summary:
        """The summary with its quality, and dropped if that is not enough; a model may mend it when told why."""
        if summary.text is None:
            return summary
        quality = measure(summary.text, [group.captions[place] for place in summary.places], self._tokens(summary.text))
        reason = self._fault(quality)
        if reason is None:
            return replace(summary, quality=quality)
        return replace(summary, text=None, places=(), reason=reason, repairable=True, quality=quality)

    def _tokens(self, text: str) -> int | None:
        if self.limits.image_model is None:
            return None
        from icsd.backends.prompt_tokenizer import count_tokens  # late: who counts no tokens does not pay for it

        return count_tokens(self.limits.image_model, [text])[0]

    def _fault(self, quality: Quality) -> str | None:
        limits, unsupported, covered = self.limits, quality.unsupported, quality.covered
        if len(unsupported) > limits.max_unsupported_share * quality.words:
            words = ", ".join(map(shown, unsupported[:SHOWN_WORDS]))
            return f"unsupported: {len(unsupported)} of {quality.words} words stand in no selected caption: {words}"
        if len(covered) < limits.min_covered:
            return f"covers-too-few: all words of {len(covered)} selected captions, not of {limits.min_covered}"
        if limits.must_fit and limits.image_model is not None and quality.image_tokens is not None:
            from icsd.backends.prompt_tokenizer import token_limit

            if quality.image_tokens > (limit := token_limit(limits.image_model)):
                return f"does-not-fit: {quality.image_tokens} tokens, and the image model reads {limit}"
        return None
