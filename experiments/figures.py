"""Every figure, table and notebook that committed results carry, made again from them.

Command: python experiments/figures.py                        (figures, tables and notebooks; a minute)
         python experiments/figures.py --check                (writes nothing; exit 1 and a line for each table cell that is not what the results say)
         python experiments/figures.py --runs DIR --name N    (first results/N.csv and N_subjects.csv: test Dice, or validation scores)
         python experiments/figures.py --runs experiments/results/N.csv DIR --name N      (the recorded runs, and more of them)

Tables stand in docs/results/. They are rewritten cell by cell, found by their heading, row and
column. A cell that the results do not carry (seconds, parameters, intervals over subjects of runs
whose subjects were not stored) stays as it was written when it was measured. The table of methods
is written by docs/generate.py. The same results give the same bytes.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import study_tables
import volume_tables
from study_tables import RESULTS, Table, gains_of, studied

from semiseg.analysis.load import load_runs
from semiseg.analysis.runs import Runs

ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--runs", type=Path, nargs="+")
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


# ------------------------------------------------------------------ Markdown
def texts(changes: list[str]) -> dict[str, str]:
    """The files with their tables as the results have them; ``changes`` gets a line for each cell
    that was another.
    """
    files: dict[str, list[str]] = {}
    for table in itertools.chain(study_tables.tables(), volume_tables.tables()):
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


# ------------------------------------------------------------------ figures
def _efficiency(name: str, unit: str, split: str = "test") -> Callable[[Path], None]:
    def make(file: Path) -> None:
        from semiseg.report.figures.label_efficiency import label_efficiency
        from semiseg.report.figures.output import save

        figure = label_efficiency(studied(name, split))
        # a results.csv does not say that an image is its own subject
        figure.axes[0].set_xlabel(f"annotated {unit} (log scale)")
        save(figure, file)

    return make


def _differences(file: Path) -> None:
    from semiseg.report.figures.differences import differences
    from semiseg.report.figures.output import save

    save(differences(studied(file.stem, "val")), file)


def _mixing(file: Path) -> None:
    from semiseg.report.figures.output import save
    from semiseg.report.figures.synthetic_gain import gains

    save(gains(gains_of(file.stem), size=(10.5, 4.4)), file)


FIGURES = {
    "label_efficiency.png": _efficiency("label_efficiency", "images"),
    "demo_label_efficiency.png": _efficiency("demo", "images"),
    "hippocampus.png": _efficiency("hippocampus", "subjects", "val"),
    "acdc_methods.png": _differences,
    "synthetic_ratio.png": _mixing,
    "synthetic_ratio_acdc.png": _mixing,
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
