"""The page of a preview: HTML alone, without scripts and without any other file; pictures are inside it."""

import base64
import re
from collections.abc import Iterator, Sequence

from icsd.core.text import as_html
from icsd.views.preview.content import LETTERS, PreviewContent, marks
from icsd.views.preview.drawing import Picture
from icsd.views.preview.reckoning import HEADER, Line
from icsd.views.preview.text import verdict
from icsd.views.preview.trying import SampledGroup, TriedPrompt

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_CSS = """
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #f6f6f4; margin: 0 auto;
  padding: 1rem 1.25rem 3rem; max-width: 80rem; }
h1 { font-size: 1.5rem; margin: .5rem 0; }
h2 { font-size: 1.05rem; margin: 0 0 .6rem; }
h3 { font-size: .95rem; margin: 0 0 .3rem; color: #444; }
bdi { unicode-bidi: isolate; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 0 0 1.25rem; }
table { border-collapse: collapse; background: #fff; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; background: #f6f6f4; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #ccc; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; }
section { background: #fff; border: 1px solid #ddd; border-radius: 6px; padding: .9rem 1rem; margin: 0 0 1rem; }
.columns { display: grid; gap: 1.25rem; grid-template-columns: repeat(var(--count), minmax(0, 1fr)); }
ol { margin: 0; padding: 0; list-style: none; font-size: .9rem; }
li { display: grid; grid-template-columns: 1.6rem minmax(1.2rem, auto) 1fr 2.6rem; gap: .4rem;
  padding: .08rem .25rem; color: #555; }
li.chosen { background: #e6f1fa; color: #000; }
li .mark { font-weight: 700; color: #00568c; }
li .number, li .near { color: #666; font-variant-numeric: tabular-nums; text-align: right; }
.sentence { font-size: 1.08rem; margin: 0 0 .6rem; }
.wrong { border-left: 4px solid #b3261e; padding-left: .6rem; color: #8c1d18; margin: 0 0 .5rem; }
.about { color: #555; font-size: .9rem; margin: 0; }
mark { background: #ffe49c; padding: 0 .1em; }
img { display: block; width: 100%; max-width: 20rem; margin: .6rem 0 0; border-radius: 4px; }
img.small { image-rendering: pixelated; }
@media (max-width: 40rem) { body { padding: .75rem; } .columns { grid-template-columns: minmax(0, 1fr); }
  ol { order: 2; } table, caption, tbody, tr, th, td { display: block; white-space: normal; } thead { display: none; }
  tr { padding: .4rem .6rem; border-bottom: 1px solid #ccc; } tbody th, td { padding: 0; border: 0; text-align: left; }
  td:empty { display: none; } td::before { content: attr(data-name) ": "; color: #666; } }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""


def preview_page(content: PreviewContent) -> str:
    """The page; all texts of captions, models and servers are escaped."""
    title = f"Preview of the run {content.run}"
    notes = "".join(f"<p><bdi>{as_html(note)}</bdi></p>\n" for note in content.notes)
    tables = "".join(
        _table(f"{_letter(content, number)}{tried.name}, {content.model}", lines)
        for number, (tried, lines) in enumerate(zip(content.tried, content.reckoned, strict=True))
    )
    groups = "".join(_section(content, number) for number in range(len(content.groups)))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{as_html(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<h1>{as_html(title)}</h1>\n"
        f"{notes}{tables}{groups}</body>\n</html>\n"
    )


def _letter(content: PreviewContent, number: int) -> str:
    return f"{LETTERS[number]}: " if content.several else ""


def _table(caption: str, lines: Sequence[Line]) -> str:
    header = "".join(f'<th scope="col">{as_html(name)}</th>' for name in HEADER)
    rows = "".join(
        f'<tr><th scope="row">{as_html(line.name)}</th>'
        + "".join(
            f'<td data-name="{name}">{as_html(cell)}</td>'
            for name, cell in zip(HEADER[1:], line.cells[1:], strict=True)
        )
        + "</tr>\n"
        for line in lines
    )
    head = f"<caption><bdi>{as_html(caption)}</bdi></caption>\n<thead><tr>{header}</tr></thead>"
    return f'<div class="wide"><table>{head}\n<tbody>\n{rows}</tbody></table></div>\n'


def _section(content: PreviewContent, number: int) -> str:
    sampled = content.groups[number]
    group_id = sampled.group.group_id
    answers = "".join(_answer(content, each, number) for each in range(len(content.tried)))
    captions = "".join(_captions(content, sampled, number))
    return (
        f'<section id="group-{group_id}"><h2>Group {group_id}</h2>\n'
        f'<div class="columns" style="--count: {1 + len(content.tried)}">\n<ol>\n{captions}</ol>\n{answers}</div>'
        "</section>\n"
    )


def _captions(content: PreviewContent, sampled: SampledGroup, number: int) -> Iterator[str]:
    texts = zip(sampled.group.captions, sampled.similarities, strict=True)
    for index, (caption, similarity) in enumerate(texts):
        mark = marks(content.tried, number, index, "✓")
        kind = ' class="chosen"' if mark else ""
        near = f"{similarity:.2f}" if index else ""
        yield (
            f'<li{kind}><span class="number">{index + 1}</span><span class="mark">{mark}</span>'
            f'<bdi>{as_html(caption)}</bdi><span class="near">{near}</span></li>\n'
        )


def _answer(content: PreviewContent, prompt: int, number: int) -> str:
    tried: TriedPrompt = content.tried[prompt]
    summary = tried.summaries[number]
    title = f"<h3>{as_html(_letter(content, prompt) + tried.name)}</h3>" if content.several else ""
    words = summary.quality.unsupported if summary.quality else ()
    sentence = "" if summary.text is None else f'<p class="sentence"><bdi>{_marked(summary.text, words)}</bdi></p>'
    lines = list(verdict(tried, number))
    wrong = [line for line in lines if line.startswith(("dropped", "in no"))]
    parts = [
        *(f'<p class="wrong"><bdi>{as_html(line)}</bdi></p>' for line in wrong),
        *(f'<p class="about">{as_html(line)}</p>' for line in lines if line not in wrong),
    ]
    picture = content.drawn.by_group.get(content.groups[number].group.group_id) if content.drawn else None
    shown = _picture(picture, summary.text or "") if picture and not prompt else ""
    return f"<div>{title}{sentence}{''.join(parts)}{shown}</div>\n"


def _marked(text: str, words: tuple[str, ...]) -> str:
    """The escaped text, with the words that are in no selected caption marked."""
    if not words:
        return as_html(text)
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, words))})\b", re.IGNORECASE)
    parts = pattern.split(text)
    return "".join(
        f"<mark>{as_html(part)}</mark>" if number % 2 else as_html(part) for number, part in enumerate(parts)
    )


def _picture(picture: Picture, sentence: str) -> str:
    if picture.png is None:
        return f'<p class="wrong"><bdi>no picture: {as_html(picture.reason or "")}</bdi></p>'
    kind = ' class="small"' if len(picture.png) < 20_000 else ""
    data = base64.b64encode(picture.png).decode()
    return f'<img{kind} alt="{as_html(sentence)}" src="data:image/png;base64,{data}">'
