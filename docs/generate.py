"""Writes the pages of docs/reference/ that the code itself knows best.

Command: python docs/generate.py            (methods, networks, losses, configuration, command-line, api)
         python docs/generate.py --check    (writes nothing; exit 1 and a line for a page that differs)

A page holds what the classes declare: their docstrings, their fields with default, range and role,
and the figures that committed results carry. The same code gives the same bytes.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import functools
import inspect
import io
import json
import os
import re
import sys
import tempfile
import textwrap
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import semiseg

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "reference"
RESULTS = ROOT / "experiments" / "results"
NOTE = "<!-- written by docs/generate.py from the code; change the code, then run it again -->\n"
WIDTH = 100
"""Columns of the help texts."""

PAPERS = {
    "Bai et al., CVPR 2023": "https://arxiv.org/abs/2305.00673",
    "Chen et al., CVPR 2021": "https://arxiv.org/abs/2106.01226",
    "Chi et al., CVPR 2024": "https://arxiv.org/abs/2405.00378",
    "Grandvalet & Bengio, NeurIPS 2004": (
        "https://papers.nips.cc/paper_files/paper/2004/hash/"
        "96f2b50b5d3613adf9c27049b2a888c7-Abstract.html"
    ),
    "Hu et al., CVPR 2025": (
        "https://openaccess.thecvf.com/content/CVPR2025/html/Hu_beta-FFT_Nonlinear_Interpolation_"
        "and_Differentiated_Training_Strategies_for_Semi-Supervised_Medical_CVPR_2025_paper.html"
    ),
    "Laine & Aila, ICLR 2017": "https://arxiv.org/abs/1610.02242",
    "Lee, ICML workshop 2013": (
        "https://www.kaggle.com/blobs/download/forum-message-attachment-files/746/"
        "pseudo_label_final.pdf"
    ),
    "Li et al., MICCAI 2020": "https://arxiv.org/abs/2007.10732",
    "Liang et al., NeurIPS 2021": "https://arxiv.org/abs/2106.14448",
    "Liu et al., TMI 2024": "https://arxiv.org/abs/2203.14523",
    "Luo et al., AAAI 2021": "https://arxiv.org/abs/2009.04448",
    "Luo et al., MICCAI 2021": "https://arxiv.org/abs/2012.07042",
    "Luo et al., MIDL 2022": "https://arxiv.org/abs/2112.04894",
    "Ouali et al., CVPR 2020": "https://arxiv.org/abs/2003.09005",
    "Song & Wang, MICCAI 2024": "https://papers.miccai.org/miccai-2024/672-Paper0821.html",
    "Sohn et al., NeurIPS 2020": "https://arxiv.org/abs/2001.07685",
    "Tarvainen & Valpola, NeurIPS 2017": "https://arxiv.org/abs/1703.01780",
    "Verma et al., IJCAI 2019": "https://arxiv.org/abs/1903.03825",
    "Vu et al., CVPR 2019": "https://arxiv.org/abs/1811.12833",
    "Wu et al., MICCAI 2022": "https://arxiv.org/abs/2203.01324",
    "Wu et al., MedIA 2022": "https://arxiv.org/abs/2109.09960",
    "Xie et al., CVPR 2020": "https://arxiv.org/abs/1911.04252",
    "Yang et al., CVPR 2022": "https://arxiv.org/abs/2106.05095",
    "Yang et al., CVPR 2023": "https://arxiv.org/abs/2208.09910",
    "Yang et al., TPAMI 2025": "https://arxiv.org/abs/2410.10777",
    "Yu et al., MICCAI 2019": "https://arxiv.org/abs/1907.07034",
    "Zhang et al. 2021": "https://arxiv.org/abs/2110.08263",
    "Wang et al. 2023": "https://arxiv.org/abs/2205.07246",
    "Zhang et al., MICCAI 2017": "https://doi.org/10.1007/978-3-319-66179-7_47",
    "Zhao et al., ECCV 2024": "https://arxiv.org/abs/2311.17325",
}
"""Where to read a paper, by how the code cites it."""

SUBCOMMANDS = {
    "data": ("import", "list", "check", "describe"),
    "gan": ("fit", "sample", "card"),
    "sweep": ("status",),
    "bench": ("step", "methods", "nets"),
}
"""Commands with a help of their own below a command."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    stale = 0
    for name, write in WRITERS.items():
        page = PAGES / name
        text = write()
        old = page.read_text(encoding="utf-8") if page.exists() else ""
        if text == old:
            continue
        stale += 1
        if args.check:
            print(f"{page.relative_to(ROOT)} is not what the code says: python docs/generate.py")
        else:
            page.write_text(text, encoding="utf-8")
            print(page.relative_to(ROOT))
    return int(bool(stale) and args.check)


# ------------------------------------------------------------------ pages
def methods_page() -> str:
    """All methods in one table, then each with its words and fields."""
    from semiseg.methods import METHODS

    steps = json.loads((RESULTS / "bench_methods.json").read_text())["methods"]
    dice = acdc_dice()
    rows = []
    for name, method in METHODS.items():
        trained, _, stored = method.holds.partition(" | ")
        cost = f"{steps[name]['relative']:.2f}" if name in steps else "–"
        scores = [dice.get((name, patients), "–") for patients in (3, 7)]
        link = f"[{name}](#{anchor(name)})"
        lite = ", lite form" if method.title.endswith(" lite") else ""
        rows.append([link, cited(method.paper) + lite, trained, stored, cost, *scores])
    header = ["method", "paper", "networks trained", "stored", "a step beside supervised"]
    header += ["Dice on ACDC, 3 patients", "Dice on ACDC, 7 patients"]
    parts = [
        NOTE,
        "# Methods\n",
        METHODS_INTRODUCTION,
        table(header, rows),
        METHODS_LEGEND,
        *(method_section(name, method) for name, method in METHODS.items()),
    ]
    return "\n".join(parts)


METHODS_INTRODUCTION = """\
`--method NAME` chooses one, `--method.FIELD VALUE` sets a field, `semiseg methods NAME` shows what
stands here. [Choose a method](../how-to/choose-a-method.md) says which; [add a
method](../how-to/add-a-method.md) adds yours.
"""
METHODS_LEGEND = """
"Stored" counts networks that receive no gradient (weight averages and teachers). The cost of a step is
measured at equal batch: the median over rounds of the ratio to supervised in the same round
([method cost](../results/method-cost.md)). The ACDC columns are 500 steps of 4 images with one seed;
brackets are 95 % intervals over three label subsets and ten patients
([ACDC, every method](../results/acdc-methods.md)), before several methods were brought closer to their
papers; that page says which.

A *traced* field is an argument of the compiled program: a sweep over it compiles nothing. A new value
of a *static* one compiles anew.
"""


def method_section(name: str, method: type) -> str:
    module = inspect.getmodule(method)
    summary = markdown(inspect.getdoc(module) or "")
    facts = f"Passes a step: {code(method.passes)}. Source: {cited(method.paper)}."
    return "\n".join(
        [
            f"\n## {name}\n",
            f"{summary}\n",
            f"{body(method)}\n",
            f"{facts}\n",
            fields_table(method()),
        ]
    )


def acdc_dice() -> dict[tuple[str, int], str]:
    """Dice with its interval by method and number of patients."""
    from semiseg.analysis.load import load_runs
    from semiseg.analysis.study import study
    from semiseg.report.format import interval_text

    result = study(load_runs(RESULTS / "acdc_methods.csv"), split="val", tests=False)
    cells = {}
    for (_, labels), cell in result.cells.items():
        cells[cell.runs[0].method, labels] = interval_text(cell.interval, result.metric)
    return cells


def networks_page() -> str:
    """All networks with what they cost, then each with its words and fields."""
    from semiseg.nets import NETS

    rows = []
    for figures in network_figures():
        dims = [f"{figures['dims']}D"]
        if figures["other_dims"]:
            dims.append(f"{figures['other_dims']}D")
        reach = figures.get("receptive_field", "–") or "all"
        rows.append(
            [
                f"[{figures['name']}](#{anchor(figures['name'])})",
                markdown(figures["paper"]),
                ", ".join(dims),
                f"{figures['parameters'] / 1e6:.2f} M",
                f"{figures['multiply_adds'] / 1e9:.2f} G",
                f"{figures['activation_mib']:.1f} MiB",
                str(reach),
            ]
        )
    header = ["network", "source", "takes", "parameters", "multiply-adds", "activations", "reach"]
    parts = [NOTE, "# Networks\n", NETWORKS_INTRODUCTION, table(header, rows), NETWORKS_LEGEND]
    for name, net in NETS.items():
        parts += [f"\n## {name}\n", f"{body(net)}\n", fields_table(net())]
    return "\n".join(parts)


NETWORKS_INTRODUCTION = """\
`--net NAME` chooses one, `--net.FIELD VALUE` sets a field, `semiseg nets NAME` shows its layers, too.
[Add a network](../how-to/add-a-network.md) adds yours.
"""
NETWORKS_LEGEND = """
One image of 128² with one channel and two classes (volumes: 32³), in the first of two dimensions,
read off the traced program. Activations are the outputs of convolutions and matrix products: the
least that a training step stores for an image. Reach is the receptive field in pixels. Measured
seconds: [network cost](../results/network-cost.md). Every field of a network is static.
"""


def network_figures() -> list[dict[str, Any]]:
    """What ``semiseg nets --json`` writes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "nets.json"
        command_output("nets", ["--json", str(file)])
        return json.loads(file.read_text())["nets"]


def losses_page() -> str:
    """Every loss with its words and fields."""
    from semiseg.losses import LOSSES

    parts = [NOTE, "# Losses\n", LOSSES_INTRODUCTION]
    for name, loss in LOSSES.items():
        parts += [f"\n## {name}\n", f"{body(loss)}\n", fields_table(loss())]
    return "\n".join(parts)


LOSSES_INTRODUCTION = """\
The loss on labelled images is a field of the method: `--method.criterion NAME` chooses one,
`--method.criterion.FIELD VALUE` sets a field. Pixels with label 255 count in none of them. [Add a
loss](../how-to/add-a-loss.md) adds yours.
"""


def configuration_page() -> str:
    """Every field of a trial and of its parts."""
    from semiseg.config import PRESETS, Trial
    from semiseg.pretrain import INITS

    trial = Trial()
    parts = [NOTE, "# Configuration\n", CONFIGURATION_INTRODUCTION, fields_table(trial)]
    parts += ["\n## augment\n", f"{body(type(trial.augment))}\n", fields_table(trial.augment)]
    for field in dataclasses.fields(trial.augment):
        part = getattr(trial.augment, field.name)
        if dataclasses.is_dataclass(part):
            parts += [f"\n## augment.{field.name}\n", f"{body(type(part))}\n", fields_table(part)]
    parts += ["\n## init\n", "What `--init NAME` begins with.\n"]
    for name, init in INITS.items():
        parts += [f"\n### {name}\n", f"{body(init)}\n", fields_table(init())]
    rows = [[code(name), ", ".join(recipes)] for name, recipes in PRESETS.items()]
    parts += ["\n## preset\n", PRESETS_INTRODUCTION, table(["preset", "methods"], rows)]
    return "\n".join(parts)


CONFIGURATION_INTRODUCTION = """\
A trial names everything of one run. The same names are flags of `semiseg train`, keys of a
configuration file, parameters of a sweep file and arguments of `semiseg.Trial`; a dot goes into a part
(`--net.widths 8 16 32`), and `-` and `_` are the same. The fields of `method` and `net` are in
[methods](methods.md) and [networks](networks.md).

Role: a *traced* value is an argument of the compiled program, so that a sweep over it compiles
nothing; a new value of a *static* one compiles anew; the others never reach the program.
"""
PRESETS_INTRODUCTION = """\
Published recipes, for `--preset NAME`; flags win over them. `semiseg train --preset NAME --help` shows
what one sets.
"""


def command_line_page() -> str:
    """The help of every command."""
    from semiseg.cli.main import COMMANDS

    parts = [NOTE, "# Command line\n", help_block("", [])]
    for command in COMMANDS:
        parts += [f"\n## {command}\n", help_block(command, ["--help"])]
        whole = parts[-1]
        for name in SUBCOMMANDS.get(command, ()):
            text = help_block(command, [name, "--help"])
            if text != whole:
                parts += [f"\n### {command} {name}\n", text]
    parts += ["\n## All options of train\n", help_block("train", ["--help", "all"])]
    return "\n".join(parts)


def help_block(command: str, arguments: Sequence[str]) -> str:
    text = command_output(command, arguments)
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return "\n".join(["```text", *lines, "```"])


def command_output(command: str, arguments: Sequence[str]) -> str:
    """What a command prints at a terminal of :data:`WIDTH` columns."""
    from semiseg.cli.main import main as run_command

    words = [command, *arguments] if command else list(arguments)
    printed = io.StringIO()
    terminal = mock.patch.dict(os.environ, {"COLUMNS": str(WIDTH)})
    with terminal, contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        run_command(words)
    return printed.getvalue()


def api_page() -> str:
    """What Sphinx takes from docstrings: the names of the package, then its public modules."""
    parts = [NOTE, "# Python API\n", API_INTRODUCTION, "\n## semiseg\n"]
    for name in sorted(set(semiseg.__all__) - {"Trial"}):
        member = getattr(semiseg, name)
        if inspect.isclass(member):
            parts.append(directive("autoclass", f"semiseg.{name}", members=True))
        else:
            parts.append(directive("autofunction", f"semiseg.{name}"))
    for module in MODULES:
        parts += [f"\n## {module}\n", directive("automodule", f"semiseg.{module}", members=True)]
    return "\n".join(parts)


API_INTRODUCTION = """\
What a script, a notebook or a [plug-in](../how-to/own-code.md) uses. `semiseg.Trial` has the fields of
[configuration](configuration.md); methods, networks and losses have pages of their own.
"""
MODULES = (
    "types",
    "fields",
    "plugins",
    "methods.base",
    "methods.parts.terms",
    "losses.common",
    "nets.network",
    "data.source",
    "evaluate.metrics",
    "analysis.runs",
    "analysis.study",
    "analysis.curves",
    "analysis.questions",
    "analysis.planning",
    "report.figures.figure",
)
"""Modules whose names others may use, in the order of the layers."""


def directive(kind: str, target: str, members: bool = False) -> str:
    """A directive of autodoc."""
    lines = ["```{eval-rst}", f".. {kind}:: {target}"]
    if members:
        lines.append("   :members:")
    return "\n".join([*lines, "```\n"])


# ------------------------------------------------------------------ what a class says of itself
def body(cls: type) -> str:
    """The docstring of a class up to its fields and its example."""
    text = inspect.getdoc(cls) or ""
    text = re.split(r"^(?:Attributes|Args|Example|Examples|Raises):$|^>>> ", text, flags=re.M)[0]
    return markdown(text.strip())


def fields_table(instance: Any) -> str:
    """A row a field: name, default, what it may be, role and meaning."""
    from semiseg.fields import allowed

    meanings = field_meanings(type(instance))
    rows = []
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        kind = allowed_text(type(instance), field.name, allowed(field))
        row = [code(field.name), default_text(field.name, value), kind]
        row += [role_text(instance, field), markdown(meanings.get(field.name, ""))]
        rows.append(row)
    if not rows:
        return "No fields.\n"
    return table(["field", "default", "may be", "role", "meaning"], rows)


def field_meanings(cls: type) -> dict[str, str]:
    """The words on each field: those of the class's docstring or below the field, of the class that
    says it last.
    """
    import docstring_parser

    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        docstring = docstring_parser.parse(base.__dict__.get("__doc__") or "")
        for entry in docstring.params:
            meanings[entry.arg_name] = " ".join((entry.description or "").split())
        meanings |= strings_below(base)
    return meanings


def strings_below(cls: type) -> dict[str, str]:
    """Strings that stand below the fields of a class in its source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        return {}
    statements = typing.cast(ast.ClassDef, tree.body[0]).body
    strings = {}
    for field, below in zip(statements, statements[1:], strict=False):  # pairs of neighbours
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            strings[field.target.id] = " ".join(str(below.value.value).split())
    return strings


def default_text(name: str, value: Any) -> str:
    from semiseg.config import CHOICES, name_of

    if name in CHOICES:
        return code(name_of(name, value))
    if dataclasses.is_dataclass(value):
        return code(type(value).__name__)
    if isinstance(value, tuple):
        return code(",".join(map(str, value)) or "none")
    return code(str(value))


def allowed_text(cls: type, name: str, declared: Any) -> str:
    """What a field may be, in words: its declared range, else its type."""
    from semiseg.config import CHOICES

    if declared is not None:
        return markdown(str(declared))
    if name in CHOICES:
        return "a name of its table"
    hint = hints(cls).get(name)
    options = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return markdown(f"one of {', '.join(map(str, options))}")
    if hint is bool:
        return "true or false"
    if type(None) in options:
        return f"{named(options[0])}, or none"
    return named(hint)


def named(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "text"}
    if hint in words:
        return words[hint]
    if "tuple" in str(hint):
        return "numbers"
    return "a group of fields"


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def role_text(instance: Any, field: dataclasses.Field[Any]) -> str:
    """Traced, static, or neither; of a class of hyperparameters the type decides where nothing is
    declared.
    """
    import jax

    from semiseg.fields import role

    if dataclasses.is_dataclass(getattr(instance, field.name)):
        return "that of its fields"
    declared = role(field)
    if declared is None and is_network(instance):
        return "static"
    if declared is None and is_pytree(instance):
        leaves = jax.tree_util.tree_leaves_with_path(instance)
        declared = any(str(path[0]) == f".{field.name}" for path, _ in leaves)
    return {True: "traced", False: "static", None: ""}[declared]


def is_network(instance: Any) -> bool:
    from semiseg.nets.network import Network

    return isinstance(instance, Network)


def is_pytree(instance: Any) -> bool:
    """Whether JAX looks into an instance; it takes others for a leaf."""
    import jax

    return not jax.tree_util.all_leaves([instance])


# ------------------------------------------------------------------ Markdown
def markdown(text: str) -> str:
    """Text of a docstring as Markdown: code spans stay, all else is literal.

    >>> markdown("of :func:`semiseg.types.hyper`; ``a | b``, x * y")
    'of `semiseg.types.hyper`; `a | b`, x \\\\* y'
    """
    text = re.sub(r":\w+:`~?([^`]+)`", r"``\1``", text)
    parts = []
    for i, part in enumerate(re.split(r"``(.+?)``", text, flags=re.S)):
        if i % 2:
            parts.append(code(" ".join(part.split())))
        else:
            parts.append(re.sub(r"([*<>\[\]|$`~]|\b_|_\b)", r"\\\1", part))
    return "".join(parts)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def cited(paper: str) -> str:
    """A citation with links to those of its parts that :data:`PAPERS` knows."""
    text = markdown(paper)
    for name, address in PAPERS.items():
        text = text.replace(name, f"[{name}]({address})")
    return text


def anchor(name: str) -> str:
    """The anchor that MyST gives a heading.

    >>> anchor("mean_teacher")
    'mean_teacher'
    """
    return name.lower().replace(" ", "-")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(table(["a", "b"], [["1", "`x | y`"]]))
    | a | b |
    |---|---|
    | 1 | `x \\| y` |
    <BLANKLINE>
    """
    lines = [header, ["---"] * len(header), *rows]
    texts = []
    for line in lines:
        cells = [" ".join(re.sub(r"(?<!\\)\|", r"\\|", cell).split()) for cell in line]
        texts.append(f"| {' | '.join(cells)} |")
    texts[1] = texts[1].replace(" ", "")
    return "\n".join(texts) + "\n"


WRITERS: dict[str, Callable[[], str]] = {
    "methods.md": methods_page,
    "networks.md": networks_page,
    "losses.md": losses_page,
    "configuration.md": configuration_page,
    "command-line.md": command_line_page,
    "api.md": api_page,
}

if __name__ == "__main__":
    sys.exit(main())
