"""Every figure, table and notebook that committed results carry, made again from them.

Command: python experiments/figures.py                        (figures, tables and notebooks; a minute)
         python experiments/figures.py --check                (writes nothing; exit 1 and a line for each table cell that is not what the results say)
         python experiments/figures.py --runs DIR --name N    (first results/N.csv and N_subjects.csv: test Dice, or validation scores)

Tables stand in docs/results/. They are rewritten cell by cell, found by their heading, row and
column. A cell that the results do not carry (seconds, parameters, intervals over subjects of runs
whose subjects were not stored) stays as it was written when it was measured. The table of methods
is written by docs/generate.py. The same results give the same bytes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from semiseg.analysis.load import load_runs
from semiseg.analysis.runs import Runs
from semiseg.analysis.study import Study, study

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ROOT = HERE.parent
Cells = dict[tuple[str, ...], dict[str, str]]
"""Texts of a table: by the first cells of a row, then by column."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells of one Markdown table.

    Names are compared without case, links, ``-`` and ``_``. A column that repeats is told apart as
    ``name#2``.

    Attributes:
      file: the page, from the root of the repository.
      heading: the beginning of the heading's line that the table stands below.
      first: name of its first column.
      cells: ``cells[row][column]``.
      keys: how many first cells name a row.
    """

    file: str
    heading: str
    first: str
    cells: Mapping[tuple[str, ...], Mapping[str, str]]
    keys: int = 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--name")
    args = parser.parse_args()
    if args.runs:
        print(record(load_runs(args.runs), RESULTS / f"{args.name}.csv"))
    changes: list[str] = []
    for file, text in texts(changes).items():
        if not args.check:
            (ROOT / file).write_text(text, encoding="utf-8")
    for line in changes:
        print(line)
    if args.check:
        return int(bool(changes))
    for name, make in FIGURES.items():
        make(RESULTS / name)
        print(RESULTS / name)
    for file in sorted((ROOT / "notebooks").glob("*.py")):
        notebook(file)
    return 0


def record(runs: Runs, file: Path) -> Any:
    """Write a row a run, and beside it the scores of the subjects."""
    from semiseg.analysis import scores_csv

    runs.write_csv(file)
    if runs.matrix("dice", "test")[0]:
        return scores_csv.write(runs, file, ("dice",), "test")
    return scores_csv.write(runs, file, ("dice", "hd95", "assd"), "val")


# ------------------------------------------------------------------ tables
def tables() -> Iterator[Table]:
    """What the results say."""
    yield from score_tables()
    yield acdc_first_table()
    yield from method_tables()
    yield networks_table()
    yield step_table()


def score_tables() -> Iterator[Table]:
    """Scores with their interval, a row a setting and a column a label budget."""
    pages = {
        "label_efficiency": ("nuclei-label-efficiency.md", "# ", "annotated images", "test"),
        "init": ("self-supervised-start.md", "# ", "annotated images", "test"),
        "acdc_init": ("self-supervised-start.md", "## ", "patients annotated", "val"),
    }
    for name, (page, heading, first, split) in pages.items():
        s = studied(name, split)
        cells = {(arm,): {str(n): interval(s, arm, n) for n in s.budgets} for arm in s.arms}
        yield Table(f"docs/results/{page}", heading, first, cells)
    s = studied("demo")
    cells = {(str(n),): {arm: interval(s, arm, n) for arm in s.arms} for n in s.budgets}
    yield Table("docs/results/demo.md", "# ", "annotated images", cells)


def acdc_first_table() -> Table:
    """Scores of each seed and their mean."""
    runs = load_runs(RESULTS / "acdc_first.csv")
    s = study(runs, split="val")
    hd95 = study(runs, "hd95", "val", tests=False)
    assd = study(runs, "assd", "val", tests=False)
    cells: Cells = {}
    for (arm, n), cell in s.cells.items():
        seeds = [run.seed for run in cell.runs]
        by_seed = sorted(zip(seeds, cell.mean_R, strict=True))
        cells[str(n), arm] = {
            "Dice [95 % interval over seeds and patients]": dice(cell.interval.mean, 3),
            "each seed": ", ".join(dice(value, 3) for _, value in by_seed),
            "HD95, voxels": f"{hd95.cells[arm, n].interval.mean:.1f}",
            "ASSD, voxels": f"{assd.cells[arm, n].interval.mean:.1f}",
        }
    return Table("docs/results/acdc-first.md", "# ", "patients", cells, keys=2)


def method_tables() -> Iterator[Table]:
    """Each method beside supervised on the validation subjects."""
    pages = {
        "acdc_methods": ("acdc-methods.md", "# "),
        "acdc_leading": ("acdc-methods.md", "## Six of them with three seeds"),
        "acdc_long": ("acdc-long.md", "# "),
        "acdc_longer": ("acdc-longer.md", "# "),
    }
    for name, (page, heading) in pages.items():
        rows = compared(load_runs(RESULTS / f"{name}.csv"))
        cells = {(row["patients"], row["method"]): row for row in rows}
        yield Table(f"docs/results/{page}", heading, "patients", cells, keys=2)


def compared(runs: Runs) -> list[dict[str, str]]:
    """A row a budget and method, supervised first, then by Dice: scores on the validation subjects,
    and the difference to supervised.
    """
    from semiseg.report.format import interval_text, p_text
    from semiseg.report.tables import find

    s = study(runs, "dice", "val")
    distances = [study(runs, metric, "val", tests=False) for metric in ("hd95", "assd")]

    def place(item: tuple[tuple[str, int], Any]) -> tuple[int, bool, float]:
        (arm, labels), cell = item
        return labels, arm != s.baseline, -cell.interval.mean

    rows = []
    for (arm, labels), cell in sorted(s.cells.items(), key=place):
        row = {
            "patients": str(labels),
            "method": cell.runs[0].method,
            "runs": str(len(cell.runs)),
            "Dice": interval_text(cell.interval),
            "against supervised": "",
            "p (Holm)": "",
        }
        comparison = find(s, arm, labels)
        if comparison is not None:
            row["against supervised"] = interval_text(comparison.difference, signed=True)
            row["p (Holm)"] = re.sub("^p (= )?", "", p_text(comparison.p_holm))
        for far in distances:
            score = far.cells[arm, labels].interval
            row[f"{far.metric.upper()}, voxels"] = interval_text(score, far.metric)
        rows.append(row)
    return rows


def networks_table() -> Table:
    """Every network at two label budgets."""
    runs = load_runs(RESULTS / "networks.csv").where(label_subset=0)
    most = max(run.labels for run in runs)
    cells: Cells = {}
    for run in runs:
        row = cells.setdefault((run.net,), {})
        row[f"Dice, {run.labels} images"] = dice(mean_of(run, "dice"), 3)
        column = "HD95, pixels"
        if run.labels == most:
            column += "#2"
        row[column] = f"{mean_of(run, 'hd95'):.1f}"
    return Table("docs/results/networks-nuclei.md", "# ", "network", cells)


STEPS = {
    "JAX, single step": "single",
    "JAX, step in a scan": "scan",
    "JAX, step in the training loop (traced length)": "loop",
    "PyTorch 2.13, NCHW": "peer_nchw",
    "PyTorch 2.13, channels_last": "peer_channels_last",
}
RATIOS = {
    "scan / single": "scan / single",
    "scan / PyTorch NCHW": "scan / peer_nchw",
    "scan / PyTorch channels_last": "scan / peer_channels_last",
}


def step_table() -> Table:
    """Milliseconds of a training step and their ratios."""
    columns = {
        "instance norm (our default)": read("bench_step_instance.json"),
        "batch norm": read("bench_step.json"),
    }
    cells: Cells = {}
    for row, key in STEPS.items():
        cells[(row,)] = {c: f"{1000 * b[f'{key}_step_s']:.0f}" for c, b in columns.items()}
    for row, key in RATIOS.items():
        cells[(row,)] = {c: f"{b['ratios'][key]:.2f}" for c, b in columns.items()}
    return Table("docs/results/training-step.md", "# ", "ms a step", cells)


# ------------------------------------------------------------------ Markdown
def texts(changes: list[str]) -> dict[str, str]:
    """The files with their tables as the results have them; ``changes`` gets a line for each cell
    that was another.
    """
    files: dict[str, list[str]] = {}
    for table in tables():
        if table.file not in files:
            files[table.file] = (ROOT / table.file).read_text(encoding="utf-8").split("\n")
        _fill(table, files[table.file], changes)
    return {file: "\n".join(lines) for file, lines in files.items()}


def _fill(table: Table, lines: list[str], changes: list[str]) -> None:
    """Put a table's cells into its page."""
    head = _find_head(table, lines)
    header = _numbered(_cells(lines[head]))
    wanted = {tuple(map(_plain, row)): cells for row, cells in table.cells.items()}
    missing = set(wanted)
    for i in range(head + 2, len(lines)):
        if not lines[i].startswith("|"):
            break
        cells = _cells(lines[i])
        row = tuple(_plain(cell) for cell in cells[: table.keys])
        missing.discard(row)
        for column, text in wanted.get(row, {}).items():
            place = header.index(_plain(column))
            old = cells[place]
            cells[place] = text + _unmeasured(old, text)
            if cells[place] != old:
                name = " ".join(cells[: table.keys])
                where = f"{table.file}:{i + 1}: {name}, {column}"
                changes.append(f"{where}: {old!r} is {cells[place]!r}")
        lines[i] = "| " + " | ".join(cells) + " |"
    if missing:
        row = " ".join(sorted(missing)[0])
        raise SystemExit(f"{table.file}: no row {row} below {table.heading!r}")


def _find_head(table: Table, lines: list[str]) -> int:
    """The line with a table's column names."""
    start = next(i for i, line in enumerate(lines) if line.startswith(table.heading))
    columns = {_plain(column) for row in table.cells.values() for column in row}
    for i in range(start, len(lines) - 1):
        if not (lines[i].startswith("|") and lines[i + 1].startswith("|--")):
            continue
        header = _numbered(_cells(lines[i]))
        if header[0] == _plain(table.first) and columns <= set(header):
            return i
    names = ", ".join(sorted(columns))
    raise SystemExit(f"{table.file}: no table with {names} below {table.heading!r}")


def _unmeasured(old: str, text: str) -> str:
    """The interval of a cell, over subjects whose scores were not stored."""
    interval = re.search(r" \[[^\]]*\]$", old)
    if interval is None or "[" in text:
        return ""
    return interval[0]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] or [""]


def _plain(name: str) -> str:
    without_links = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", name)
    return re.sub(r"[-_ ]+", " ", without_links).strip().lower()


def _numbered(header: list[str]) -> list[str]:
    """Plain names of columns, of those that repeat with their number."""
    names: list[str] = []
    plain = [_plain(name) for name in header]
    for i, name in enumerate(plain):
        earlier = plain[:i].count(name)
        if earlier:
            names.append(f"{name}#{earlier + 1}")
        else:
            names.append(name)
    return names


# ------------------------------------------------------------------ results
def read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / name).read_text())


def studied(name: str, split: str = "test") -> Study:
    return study(load_runs(RESULTS / f"{name}.csv"), split=split)


def interval(s: Study, arm: str, labels: int) -> str:
    from semiseg.report.format import interval_text

    return interval_text(s.cells[arm, labels].interval, s.metric)


def dice(value: float, places: int = 2) -> str:
    return f"{value:.{places}f}"


def mean_of(run: Any, metric: str) -> float:
    (value,) = run.scores.per_subject(metric, "test", "last").values()
    return value


# ------------------------------------------------------------------ figures
def _efficiency(name: str, unit: str) -> Callable[[Path], None]:
    def make(file: Path) -> None:
        from semiseg.report.figures.label_efficiency import label_efficiency
        from semiseg.report.figures.output import save

        figure = label_efficiency(studied(name))
        # a results.csv does not say that an image is its own subject
        figure.axes[0].set_xlabel(f"annotated {unit} (log scale)")
        save(figure, file)

    return make


def _differences(file: Path) -> None:
    from semiseg.report.figures.differences import differences
    from semiseg.report.figures.output import save

    save(differences(studied(file.stem, "val")), file)


FIGURES = {
    "label_efficiency.png": _efficiency("label_efficiency", "images"),
    "demo_label_efficiency.png": _efficiency("demo", "images"),
    "acdc_methods.png": _differences,
}


# ------------------------------------------------------------------ notebooks
def notebook(file: Path) -> None:
    """The .ipynb of a notebook's text, executed in a fresh kernel; without outputs as long as
    nobody has measured what it reads.
    """
    import jupytext
    import nbclient
    import nbformat

    document = jupytext.read(file)
    for i, cell in enumerate(document.cells):
        cell["id"] = f"{file.stem.replace('_', '-')}-{i}"
    document.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    reads = re.findall(r'results / "([\w.]+)"', file.read_text())
    measured = not reads or any((RESULTS / name).exists() for name in reads)
    note = f"not executed: there is no {reads[0]} yet" if not measured else ""
    if measured:
        place = {"metadata": {"path": str(ROOT)}}
        client = nbclient.NotebookClient(
            document, timeout=600, record_timing=False, resources=place
        )
        client.execute()
    nbformat.write(document, file.with_suffix(".ipynb"))
    print(file.with_suffix(".ipynb"), note)


if __name__ == "__main__":
    sys.exit(main())
