"""Text from outside, truncated and escaped for messages and Markdown; tables in Markdown."""

import html
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

SHOWN_CHARACTERS = 60  # of a value in a message
ESCAPED_CHARACTERS = 80

MARKUP = re.compile(r"[\\`*_{}\[\]()#+!|~$=^]")
ADDRESS = re.compile(r"[&<>@]|:(?=//)|(?i:(?<=\bwww)\.)")  # HTML, and characters that turn an address into a link
WHOLE_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
HTML_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # characters that HTML forbids
FENCE = re.compile(r"`{3,}")
# of terminals, and of the direction of text; halves of surrogate pairs cannot be printed
CONTROLS = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127)}


def truncated(text: str, limit: int = SHOWN_CHARACTERS, end: str = "…") -> str:
    """The text, or its beginning and `end` where it has more than `limit` characters."""
    return text if len(text) <= limit else text[: limit - len(end)] + end


def shown(text: str) -> str:
    """The beginning of a text from outside, in printable ASCII."""
    text = text[: ESCAPED_CHARACTERS + 1]  # an escape is no shorter than its character
    plain = text.encode("ascii", "backslashreplace").decode().translate(_ESCAPES)
    return truncated(plain, ESCAPED_CHARACTERS, "...")


def as_html(text: str) -> str:
    """The text without markup of HTML and control characters; a `bdi` around it keeps right-to-left text inside."""
    return html.escape(HTML_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text))


def printable(text: str) -> str:
    """The text for a terminal or a log, with control characters, but no line end or tab, as JSON escapes them."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """The text with its line ends escaped, so that it does not pass for several lines."""
    return text.replace("\n", "\\n")


def shown_address(address: str) -> str:
    """The address without user, password, query and fragment, which may be secrets."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "an address that cannot be read"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?…' if parts.query else ''}"


def with_shown_addresses(text: str) -> str:
    """The text with each address as `shown_address` shows it."""
    return WHOLE_ADDRESS.sub(lambda found: shown_address(found[0]), text)


def as_text(text: str) -> str:
    """One line of Markdown that shows the text: no markup, no HTML, no address that becomes a link."""
    parts = re.split(f"({MARKUP.pattern})|({ADDRESS.pattern})", plain_line(text))
    return "".join(_escaped(part, number % 3) for number, part in enumerate(parts) if part)


def _escaped(part: str, kind: int) -> str:
    """A part of the split line: plain text, markup or an address."""
    return (part, f"\\{part}", f"&#{ord(part[0])};")[kind]


def plain_line(text: str) -> str:
    """The text on one line, with single spaces and a sign in place of each control character."""
    return CONTROLS.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split()))


def as_code(text: str) -> str:
    """One line of Markdown that shows the text as code, even if it has backticks."""
    line = plain_line(text).replace("|", "¦")
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    if not longest:
        return f"`{line}`"
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}"


def as_block(text: str) -> str:
    """Lines of Markdown that show the text line by line, even if it has fences."""
    longest = max((len(run) for run in FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    shown = "\n".join(CONTROLS.sub("\N{REPLACEMENT CHARACTER}", line) for line in text.splitlines())
    return f"{fence}text\n{shown}\n{fence}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of a Markdown table, padded to be readable as text; the first `left` columns are aligned to the left."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    rule = ["-" * (width - 1) + ("-" if column < left else ":") for column, width in enumerate(widths)]
    body = [_padded(row, widths, left) for row in [header, *rows]]
    return ["| " + " | ".join(cells) + " |" for cells in [body[0], rule, *body[1:]]]


def _padded(row: Sequence[str], widths: Sequence[int], left: int) -> list[str]:
    pairs = enumerate(zip(row, widths, strict=True))
    return [cell.ljust(width) if column < left else cell.rjust(width) for column, (cell, width) in pairs]
