"""Names of strangers on a report's page, in its tables and in results.csv: they are text there;
and runs that are damaged: a report counts each, or a line says why not.

Each case of names is a study twice, below ``runs`` with a hostile text in some place and below
``twin`` with plain letters there: the two pages have the same elements with the same attributes.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import yaml

from fuzz.engine import (
    DIFFERENT,
    FAILURE,
    SAME,
    Kind,
    Outcome,
    Place,
    Tree,
    Verdict,
    command,
    judged,
)
from fuzz.engine import written as written_by
from fuzz.of_runs import mutate as mutate_run
from fuzz.of_tables import STUDY
from fuzz.report_numbers import NUMBERS, wrong_numbers

PLAIN = "Qzw"
"""Stands where the other study has the hostile text."""
HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</svg><script>alert(1)</script>",
    "'\"><b onclick=alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "]]><!--",
    "&lt;script&gt;",
    "[x](javascript:alert(1))",
    "![x](http://x/y.png)",
    "javascript:alert(1)",
    "`<b>`",
    "a|b",
    "\\input{/etc/passwd}",
    "^^5cinput{x}",
    "$x_{",
    "}\\end{tabular}",
    "%\n",
    "a~b&c#d",
    "=HYPERLINK(1)",
    "+1+cmd",
    "@SUM(A1)",
    "-1+1",
    "\t=1",
    "a;=1",
    "\x1b[31m",
    "\u202eb",
    "tip:x\" onload='y'",
)
PLACES = ("class", "subject", "run", "data", "method", "net", "question")
SUBJECT = "val001"
WITH_FIGURES = 0.1
"""Share of the cases with figures, which take seconds."""
LIVE = ("script", "style", "a", "img", "iframe", "object", "form", "b", "comment")
"""Elements of which a page with hostile names has no more than another."""
ADDRESSES = ("href", "src", "action", "formaction", "xlink:href", "data")
LATEX = r"\\(textbackslash|textasciicircum|textasciitilde)\{\}|\\[{}$%_&#]|\$[-<>]\$"
"""What :func:`semiseg.escapes.latex` writes for a character."""


IMPORTS = (
    *("semiseg.cli.report", "semiseg.report.page", "semiseg.analysis.load", "jinja2"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "jinja2.ext", "markupsafe"),
    *("matplotlib.backends.backend_svg", "matplotlib.backends.backend_pdf"),
)


def seeds() -> dict[str, Tree]:
    """The runs of a small study with its declaration, twice."""

    tree = written_by(write_runs) | {"study.yaml": yaml.safe_dump(STUDY).encode()}
    doubled: Tree = {}
    for name, content in tree.items():
        doubled |= {f"runs/{name}": content, f"twin/{name}": content}
    return {"study": doubled}


def write_runs(folder: Path) -> None:
    """Four runs of two methods with two label subsets, scored on four subjects."""
    from analysis.fake import write_grid

    write_grid(
        folder,
        methods=("supervised", "mean_teacher"),
        budgets=(4,),
        subsets=2,
        seeds=1,
        subjects=4,
        classes=("nucleus", "rim"),
        examples=False,
        steps=50,
        metrics=("dice", "hd95"),
    )


# ------------------------------------------------------------------ mutations
def mutate(tree: Tree, rng: Random) -> str:
    """Put a hostile text into one or two places of one study, and plain letters into the twin's."""
    words = []
    for place in rng.sample(PLACES, rng.choice((1, 1, 2))):
        text = "".join(rng.choice(HOSTILE) for _ in range(rng.choice((1, 1, 2))))
        if place == "run":
            text = text.replace("/", "∕").replace("\n", " ")
        text = f"{text}{PLAIN}" if rng.random() < 0.8 else text
        for study, name in (("runs/", text), ("twin/", PLAIN + PLAIN)):
            _put(tree, study, place, name)
        words.append(f"{place} {text!r}")
    return ", ".join(words)


def _put(tree: Tree, study: str, place: str, text: str) -> None:
    for name in [name for name in tree if name.startswith(study)]:
        content = tree[name]
        assert isinstance(content, bytes)
        last = name.rpartition("/")[2]
        if last == "per_subject.csv" and place in ("class", "subject"):
            old = {"class": "rim", "subject": SUBJECT}[place]
            tree[name] = _with_cell(content, place, old, text)
        elif last == "config.yaml" and place in ("data", "method", "net"):
            tree[name] = _with_value(content, place, text)
        elif last == "study.yaml" and place == "question":
            tree[name] = yaml.safe_dump({**yaml.safe_load(content), "question": text}).encode()
        elif place == "run" and "/mean_teacher-n4-j0-s0/" in name:
            del tree[name]
            if last == "per_subject.csv":
                content = _with_cell(content, "run", "mean_teacher-n4-j0-s0", text)
            elif last == "summary.json":
                content = json.dumps({**json.loads(content), "run": text}).encode()
            tree[f"{study}{text}/{last}"] = content


def _with_cell(content: bytes, column: str, old: str, new: str) -> bytes:
    """A table with another text in the cells of a column."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    place = rows[0].index(column)
    for row in rows[1:]:
        if row[place] == old:
            row[place] = new
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _with_value(content: bytes, place: str, text: str) -> bytes:
    """A configuration with another data set, network, or method beside the baseline."""
    tree = yaml.safe_load(content)
    if place == "data":
        tree["data"] = text
    elif place == "net":
        tree["net"]["name"] = text
    elif tree["method"]["name"] != "supervised":
        tree["method"]["name"] = text
    return yaml.safe_dump(tree).encode()


# ------------------------------------------------------------------ runs
def _of_numbers(place: Place, out: Path, outcome: Outcome) -> Verdict | None:
    """What is said of a report that is refused or states other numbers than its runs; None where
    neither is so.
    """
    refused = judged(outcome)
    if refused is not None:
        return refused
    words = wrong_numbers(place.tree, "runs", out, outcome)
    if words:
        return Verdict(FAILURE, f"silent report: {words.partition(':')[0]}", words + outcome.err)
    return None


def report(place: Place) -> Verdict:
    """Write both reports; the hostile one has the elements, links and cells of the other."""
    if place.rng.random() > WITH_FIGURES:
        _without_figures()
    out = place.work / "runs"
    outcome = command("report", place.input / "runs", "--out", out, "--json", out / NUMBERS)
    ended = _of_numbers(place, out, outcome)
    if ended is not None:
        return ended
    plain = command("report", place.input / "twin", "--out", place.work / "twin")
    if plain.code:  # as study.yaml with a method that no run has
        return Verdict(DIFFERENT, detail=f"the twin is refused: {plain.err}")
    page = _elements(out / "report.html")
    expected = _elements(place.work / "twin" / "report.html")
    # a legend or a caption may have a line more
    strange = [one for one in page - expected if one[0] in LIVE or one not in expected]
    if strange:
        return Verdict(FAILURE, f"report.html: {strange[0][0]}", str(strange))
    for path in sorted(out.rglob("*")):
        words = _wrong(path)
        if words:
            return Verdict(FAILURE, f"{path.name}: {words.partition(':')[0]}", words)
    if place.tree == place.seed:
        return Verdict(SAME)
    return Verdict(DIFFERENT, detail="the texts stand there as text")


def _without_figures() -> None:
    """The figures' notes and tables stay on the page."""
    from semiseg.report import section

    def undrawn(figure: Any, material: Any, *unused: Any) -> Any:
        note = figure.note(material)
        return section.Drawn(figure, "", "", 40.0, note, figure.table(material))

    section._draw = undrawn


class _Elements(HTMLParser):
    """Counts elements by their names and those of their attributes, and addresses that run code."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[tuple[str, ...]] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = sorted({name for name, _ in attrs})
        self.counts[(tag, *names)] += 1
        for name, value in attrs:
            address = re.sub(r"\s", "", value or "").lower()
            if name in ADDRESSES and address.startswith(("javascript:", "http://x", "data:text")):
                self.counts[(f"{tag} that leads to {address[:30]}",)] += 1

    def handle_comment(self, data: str) -> None:
        self.counts[("comment",)] += 1


def _elements(path: Path) -> Counter[tuple[str, ...]]:
    parser = _Elements()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser.counts


def _wrong(path: Path) -> str:
    """What of a table is no text; "" for nothing."""
    if path.suffix not in (".csv", ".md", ".tex"):
        return ""
    text = path.read_text(encoding="utf-8")
    if re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", text) and path.suffix != ".csv":
        return f"control character: {text[:300]!r}"
    if path.suffix == ".csv":
        for row in csv.reader(io.StringIO(text, newline="")):
            for cell in row:
                if re.search(r"(^|[;\t\r\n])[=+\-@]", cell) and not _is_number(cell):
                    return f"formula: {cell!r}"
    elif path.suffix == ".md":
        found = re.search(r"<[A-Za-z/!?]|(?<!\\)\]\(", text)
        if found:
            return f"element: {text[found.start() - 60 : found.end() + 60]!r}"
    else:
        return _live_latex(text)
    return ""


def _live_latex(text: str) -> str:
    """A command, mathematics or comment in a line with a hostile text."""
    for line in text.splitlines():
        if PLAIN not in line or line.startswith(r"\caption"):
            continue
        rest = re.sub(LATEX, "", line)
        found = re.search(r"\\(input|end|bf)|[$^~#]|(?<!\\)%", rest)
        if found:
            return f"command: {line!r}"
    return ""


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


# ------------------------------------------------------------------ damaged runs
def damaged_seeds() -> dict[str, Tree]:
    """The runs of a small study."""

    def runs(folder: Path) -> None:
        write_runs(folder / "runs")

    return {"study": written_by(runs)}


def damage(tree: Tree, rng: Random) -> str:
    """Damage one or two files of the runs."""
    words = [mutate_run(tree, rng) for _ in range(rng.choice((1, 1, 2)))]
    return ", ".join(words)


def report_damaged(place: Place) -> Verdict:
    """Write the report; it counts every run, or says why it does not."""
    _without_figures()
    out = place.work / "report"
    outcome = command("report", place.input / "runs", "--out", out, "--json", out / NUMBERS)
    ended = _of_numbers(place, out, outcome)
    if ended is not None:
        return ended
    if place.tree == place.seed:
        return Verdict(SAME)
    return Verdict(DIFFERENT, detail="the numbers that the runs state" + outcome.err)


KINDS = (
    Kind("report", seeds, mutate, report, 0.3, IMPORTS),
    Kind("report of damaged runs", damaged_seeds, damage, report_damaged, 0.3, IMPORTS),
)
