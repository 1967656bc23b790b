"""Names that came from outside, in the output that another program interprets: one function a kind
of output.

The names of subjects, classes, files and runs are anybody's. They are text in every output: no
formula of a spreadsheet, no command of LaTeX, no element of a page, no order to a terminal.
Figures have matplotlib's ``text.parse_math`` off, and report.html escapes by itself (Jinja).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from typing import IO, Any

# ------------------------------------------------------------------ LaTeX
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "%": r"\%",
    "_": r"\_",
    "&": r"\&",
    "#": r"\#",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "−": "$-$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
}
_LATEX_TABLE = str.maketrans(_LATEX)


def latex(text: str) -> str:
    """Text in LaTeX: every special character is printed, and none has its meaning.

    >>> latex("50 % ^^5c"), latex("$x_1$")
    ('50 \\\\% \\\\textasciicircum{}\\\\textasciicircum{}5c', '\\\\$x\\\\_1\\\\$')
    """
    return one_line(text).translate(_LATEX_TABLE)


# ------------------------------------------------------------------ Markdown
_ELEMENT = re.compile(r"<(?=[A-Za-z/!?])")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_LINK = re.compile(r"\](?=[(\[:])")


def markdown(text: str) -> str:
    """Text in a line or a cell of Markdown: no element, no link and no picture, no column more.

    >>> markdown("a|b <img src=x>"), markdown("p < 0.001"), markdown("![x](http://y)")
    ('a\\\\|b &lt;img src=x>', 'p < 0.001', '![x]\\\\(http://y)')
    """
    text = _ENTITY.sub("&amp;", one_line(text))
    text = _ELEMENT.sub("&lt;", text)
    return _LINK.sub(r"]\\", text).replace("|", "\\|")


def markdown_code(text: str) -> str:
    """Text as code in a line of Markdown, whatever backquotes it has.

    >>> markdown_code("a b"), markdown_code("a `b`")
    ('`a b`', '`` a `b` ``')
    """
    text = one_line(text)
    if "`" not in text:
        return f"`{text}`"
    longest = max(map(len, re.findall("`+", text)))
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}"


# ------------------------------------------------------------------ CSV
_FORMULA = re.compile(r"(^|[;\t\r\n])(?='*[=+\-@\t\r＝＋－＠])")
_ESCAPED = re.compile(r"(^|[;\t\r\n])'(?='*[=+\-@\t\r＝＋－＠])")


def csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: an apostrophe stands before it, also after a
    semicolon, which parts cells in many countries. Numbers stay as they are.

    The rule is that of OWASP, "CSV Injection"; :func:`csv_text` takes it back.

    >>> csv_cell("=1+1"), csv_cell("-0.031"), csv_cell(-2), csv_cell("a;@b"), csv_cell("p-1")
    ("'=1+1", '-0.031', -2, "a;'@b", 'p-1')
    """
    if not isinstance(value, str) or not _FORMULA.search(value) or _is_number(value):
        return value
    return _FORMULA.sub(r"\1'", value)


def csv_row(values: Iterable[Any]) -> list[Any]:
    """The cells of a row, each by :func:`csv_cell`."""
    return [csv_cell(value) for value in values]


def csv_mapping(values: Mapping[str, Any]) -> dict[str, Any]:
    """A row by its columns, whose names are cells as well."""
    return {csv_cell(column): csv_cell(value) for column, value in values.items()}


def csv_text(cell: str) -> str:
    """What :func:`csv_cell` made a cell of.

    >>> [csv_text(csv_cell(text)) for text in ("=1+1", "'=1", "it's", "-3", "a;-b")]
    ['=1+1', "'=1", "it's", '-3', 'a;-b']
    """
    if "'" not in cell:
        return cell
    return _ESCAPED.sub(r"\1", cell)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()


# ------------------------------------------------------------------ terminals and logs
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but tab and newline, marks that turn the direction of writing, and the bytes
of a file's name that are no text.
"""
_BREAKS = re.compile(r"(?<! ) *[\t\r\n\v\f\x1c-\x1f\x85\u2028\u2029]\s*")


def terminal(text: str) -> str:
    """Text for a terminal: a control character is written as JSON writes it, and does nothing.

    >>> terminal("p1\\x1b[2J"), terminal("naïve\\tα\\n")
    ('p1\\\\u001b[2J', 'naïve\\tα\\n')
    """
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class SafeStream:
    """A text stream that writes by :func:`terminal`; all else is that of the stream itself.

    A carriage return at the start is let through: bars of progress are drawn again with it.
    """

    def __init__(self, stream: IO[str]):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text without control characters; what the stream cannot encode is escaped."""
        safe = terminal(text)
        if text.startswith("\r"):
            safe = "\r" + terminal(text[1:])
        try:
            self._stream.write(safe)
        except UnicodeEncodeError as error:
            self._stream.write(safe.encode(error.encoding, "backslashreplace").decode())
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of the lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def raw(stream: IO[str]) -> IO[str]:
    """The stream below a :class:`SafeStream`, for orders to the terminal of our own."""
    if isinstance(stream, SafeStream):
        return stream._stream
    return stream


def one_line(text: str) -> str:
    """Text without line breaks and control characters, which end a cell or a comment.

    >>> one_line("two\\n lines\\x1b")
    'two lines\\\\u001b'
    """
    with contextlib.suppress(UnicodeError):  # a path that the locale could not read is UTF-8 still
        text = text.encode("utf-8", "surrogateescape").decode("utf-8")
    return terminal(_BREAKS.sub(" ", text))
