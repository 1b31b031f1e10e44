"""Merge captions that agree into one sentence, without a model.

One caption passes through the modules in this order:

1. `words` lists the closed classes of English that the merger knows: function words, colours, synonyms, places.
2. `inflection` forms words by rule: singular, stem, participle, article.
3. `tagging` splits a caption into words, gives each a part of speech, and turns a sentence into a noun phrase:
   "A man is riding a wave." becomes "a man riding a wave".
4. `mentions` finds the noun phrases: noun, number, adjectives, and the preposition that ties it to another noun.
5. `reading` collects what the caption claims: its mentions, verbs, place, time and weather.
6. `draft` holds the sentence so far, and decides whether a caption is covered by it or contradicts it.
7. `joining` adds a caption to the draft: into the phrase about the same subject, or as a phrase of its own.
8. `merging` runs over the captions of a group: it builds the draft and selects the captions that are true of it.
"""

from icsd.merger.merging import Limits, Merged, merge

__all__ = ["Limits", "Merged", "merge"]
