"""Tables as HTML pages. All text is data: it is shown, whatever it is, and never becomes markup."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from icsd.core import files

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # what HTML does not take
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #111; background: #fff; margin: 1.5rem; max-width: 75rem; }
table { border-collapse: collapse; margin: 0 0 1.75rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0 0 .4rem; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #bbb; text-align: right; vertical-align: top; }
thead th { border-bottom: 2px solid #333; }
.text { text-align: left; overflow-wrap: break-word; white-space: pre-line; max-width: 38rem; }
bdi { unicode-bidi: isolate; }
@media print { body { margin: 0; font-size: 10pt; } thead { display: table-header-group; } tr { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class HtmlTable:
    """A table with a caption; the first `left` columns and those named in `texts` are text, the others figures."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    texts: Sequence[str] = field(default=())


def html_page(title: str, about: Sequence[str], shown: Sequence[HtmlTable]) -> str:
    """A page with paragraphs, empty ones left out, and tables; it needs no other file."""
    paragraphs = "".join(f"<p>{_text(each)}</p>\n" for each in about if each)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_text(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{_text(title)}</h1>\n"
        f"{paragraphs}{''.join(map(_table, shown))}</body>\n</html>\n"
    )


def save_page(path: Path, title: str, about: Sequence[str], shown: Sequence[HtmlTable]) -> None:
    """Write such a page."""
    with files.atomic_path(path) as unfinished:
        unfinished.write_text(html_page(title, about, shown), encoding="utf-8")


def _table(table: HtmlTable) -> str:
    head = "".join(_cell("th", name, table, name, ' scope="col"') for name in table.head)
    rows = "".join(f"<tr>{_row(table, row)}</tr>\n" for row in table.rows)
    caption = f"<caption>{_text(table.caption)}</caption>"
    return f"<table>\n{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"


def _row(table: HtmlTable, row: Sequence[str]) -> str:
    first, *others = zip(table.head, row, strict=True)
    cells = [_cell("td", value, table, name) for name, value in others]
    return _cell("th", first[1], table, first[0], ' scope="row"') + "".join(cells)


def _cell(tag: str, value: str, table: HtmlTable, column: str, more: str = "") -> str:
    as_text = table.head.index(column) < table.left or column in table.texts
    kind = ' class="text"' if as_text else ""
    return f"<{tag}{more}{kind}><bdi>{_text(value)}</bdi></{tag}>"


def _text(value: str) -> str:
    """Markup and control characters become visible; `bdi` keeps turned writing within its cell."""
    return html.escape(_CONTROL.sub("�", value))
