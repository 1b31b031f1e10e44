"""Merge captions that agree into one sentence, without a model.

One caption passes through the modules in this order:

1. `words` lists the closed classes of English that the merger knows: function words, colours, synonyms, places.
   `nouns` lists kinds of things and words that raise doubts, `markers` the signs of titles, news, advice and credits.
2. `inflection` forms words by rule: singular, stem, participle, article.
3. `tagging` splits a caption into words, gives each a part of speech, and turns a sentence into a noun phrase:
   "A man is riding a wave." becomes "a man riding a wave".
4. `grammar` tells whether the merger understands all of a phrase. Any other caption is left out.
5. `mentions` finds the noun phrases: noun, number, adjectives, and the preposition that ties it to another noun.
6. `reading` collects what the caption claims: its mentions, verbs, place, time and weather.
7. `draft` holds the sentence so far, and decides whether a caption is covered by it or contradicts it.
8. `another` tells whether a caption speaks of other things than the draft, in the same scene.
9. `joining` adds a caption to the draft: into the phrase about the same subject, or as a phrase of its own.
10. `merging` runs over the captions of a group: it builds the draft and selects the captions that are true of it.
"""

from icsd.merger.merging import Limits, Merged, merge, why_nothing

__all__ = ["Limits", "Merged", "merge", "why_nothing"]
