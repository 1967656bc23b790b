"""Every figure and table of README.md, experiments/README.md and the notebooks that committed
results carry, made again from experiments/results/.

Command: python experiments/figures.py                        (figures, tables and notebooks; a minute)
         python experiments/figures.py --check                (writes nothing; exit 1 and a line for each table cell that is not what the results say)
         python experiments/figures.py --runs DIR --name N    (first results/N.csv and N_subjects.csv: test Dice, or validation scores)

Tables are rewritten cell by cell, found by their heading, row and column. A cell that the results
do not carry (seconds, parameters, intervals over subjects of runs whose subjects were not kept)
stays as it was written when it was measured. The same results give the same bytes.
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
from semiseg.methods import METHODS

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ROOT = HERE.parent


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells of one Markdown table: ``cells[row][column]``; rows are known by their first ``keys``
    cells, columns by their header.

    Names are compared without case, links, ``-`` and ``_``. A column that repeats is told apart as
    ``name#2``.
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
        from semiseg.analysis import scores_csv as subject_scores

        runs = load_runs(args.runs)
        runs.write_csv(RESULTS / f"{args.name}.csv")
        split = "test" if runs.matrix("dice", "test")[0] else "val"
        print(
            subject_scores.write(
                runs,
                RESULTS / f"{args.name}.csv",
                ("dice",) if split == "test" else ("dice", "hd95", "assd"),
                split,
            )
        )
    said: list[str] = []
    for file, text in texts(said).items():
        if not args.check:
            (ROOT / file).write_text(text, encoding="utf-8")
    for line in said:
        print(line)
    if args.check:
        return int(bool(said))
    for name, make in FIGURES.items():
        make(RESULTS / name)
        print(RESULTS / name)
    for file in sorted((ROOT / "notebooks").glob("*.py")):
        notebook(file)
    return 0


# ------------------------------------------------------------------ tables
def tables() -> Iterator[Table]:
    """What the results say."""
    own = "experiments/README.md"
    s = studied("label_efficiency")
    cells: dict[tuple[str, ...], dict[str, str]] = {
        (arm,): {str(n): interval(s, arm, n) for n in s.budgets} for arm in s.arms
    }
    yield Table(own, "## Label efficiency", "annotated images", cells)
    s = studied("init")
    cells = {(arm,): {str(n): interval(s, arm, n) for n in s.budgets} for arm in s.arms}
    yield Table(own, "## A self-supervised start", "annotated images", cells)
    s = studied("acdc_init", "val")
    yield Table(
        own,
        "### The same on ACDC",
        "patients annotated",
        {(arm,): {str(n): interval(s, arm, n) for n in s.budgets} for arm in s.arms},
    )
    steps = read("bench_methods.json")["methods"]
    holds = {m: METHODS[m].holds.replace("|", r"\|") for m in steps}
    cells = {
        (m,): {
            "a step beside supervised": f"{found['relative']:.2f}",
            r"networks trained \| kept": holds[m],
        }
        for m, found in steps.items()
    }
    yield Table("README.md", "", "method", cells)

    s = studied("demo")
    yield Table(
        own,
        "## Demo",
        "annotated images",
        {(str(n),): {arm: interval(s, arm, n) for arm in s.arms} for n in s.budgets},
    )

    runs = load_runs(RESULTS / "acdc_first.csv")
    s, far, mean = (
        study(runs, split="val"),
        study(runs, "hd95", "val", tests=False),
        study(runs, "assd", "val", tests=False),
    )
    cells, short = {}, {}
    for (arm, n), cell in s.cells.items():
        seeds = [
            dice(v, 3)
            for v in cell.mean_R[
                [r for r, _ in sorted(enumerate(cell.runs), key=lambda i: i[1].seed)]
            ]
        ]
        score = dice(cell.interval.mean, 3)
        cells[str(n), arm] = {
            "Dice [95 % interval over seeds and patients]": score,
            "each seed": ", ".join(seeds),
        }
        cells[str(n), arm] |= {
            "HD95, voxels": f"{far.cells[arm, n].interval.mean:.1f}",
            "ASSD, voxels": f"{mean.cells[arm, n].interval.mean:.1f}",
        }
        short.setdefault((str(n),), {})[arm] = score
    yield Table(own, "## ACDC, 3 and 7 patients", "patients", cells, keys=2)
    yield Table("README.md", "", "patients", short)

    long = {
        "acdc_long": "## ACDC, 3 patients, ten times the images",
        "acdc_longer": "## ACDC, 3 patients, twenty times the images",
    }
    for name, heading in {
        "acdc_methods": "## ACDC, every method",
        "acdc_leading": "### Six of them with three seeds",
        **long,
    }.items():
        rows = compared(load_runs(RESULTS / f"{name}.csv"))
        yield Table(
            own,
            heading,
            "patients",
            {(row["patients"], row["method"]): row for row in rows},
            keys=2,
        )
        if name == "acdc_methods":
            link = "experiments/README.md#acdc-every-method"
            cells = {(row["method"],): {} for row in rows}
            for row in rows:
                cells[(row["method"],)][f"Dice on ACDC, {row['patients']} patients"] = (
                    f"[{row['Dice']}]({link})"
                )
            yield Table("README.md", "", "method", cells)

    runs = load_runs(RESULTS / "networks.csv").where(label_subset=0)
    cells = {}
    for run in runs:
        row = cells.setdefault((run.net,), {})
        row[f"Dice, {run.labels} images"] = dice(mean_of(run, "dice"), 3)
        row["HD95, pixels" + ("#2" if run.labels == max(r.labels for r in runs) else "")] = (
            f"{mean_of(run, 'hd95'):.1f}"
        )
    yield Table(own, "## Every 2D network", "network", cells)

    bench = {"instance": read("bench_step_instance.json"), "batch": read("bench_step.json")}
    names = {"JAX, single step": "single", "JAX, step in a scan": "scan", ("JAX, step in the training loop (traced "
"length)"): "loop",
             "PyTorch 2.13, NCHW": "peer_nchw", "PyTorch 2.13, channels_last": "peer_channels_last"}  # fmt: skip
    pairs = {
        "scan / single": "scan / single",
        "scan / PyTorch NCHW": "scan / peer_nchw",
        "scan / PyTorch channels_last": "scan / peer_channels_last",
    }
    columns = {"instance norm (our default)": bench["instance"], "batch norm": bench["batch"]}
    cells = {
        (row,): {c: f"{1000 * b[f'{key}_step_s']:.0f}" for c, b in columns.items()}
        for row, key in names.items()
    }
    cells |= {
        (row,): {c: f"{b['ratios'][key]:.2f}" for c, b in columns.items()}
        for row, key in pairs.items()
    }
    yield Table(own, "## A training step beside PyTorch", "ms a step", cells)
    ms = lambda b, *keys: " / ".join(f"{1000 * b[f'{key}_step_s']:.0f}" for key in keys) + " ms"
    rows = {
        "step in the compiled loop": ("loop",),
        "same step alone": ("single",),
        "PyTorch 2.13 NCHW / channels_last": ("peer_nchw", "peer_channels_last"),
    }
    columns = {"instance norm (default)": bench["instance"], "batch norm": bench["batch"]}
    yield Table(
        "README.md",
        "",
        "",
        {(row,): {c: ms(b, *keys) for c, b in columns.items()} for row, keys in rows.items()},
    )


def compared(runs: Runs) -> list[dict[str, str]]:
    """A row a budget and method, supervised first, then by Dice: scores on the validation subjects,
    and the difference to supervised.
    """
    from semiseg.report.format import interval_text, p_text
    from semiseg.report.tables import find

    s, *distances = (
        study(runs, metric, "val", tests=metric == "dice") for metric in ("dice", "hd95", "assd")
    )
    found = []
    for (arm, labels), cell in sorted(
        s.cells.items(),
        key=lambda item: (item[0][1], item[0][0] != s.baseline, -item[1].interval.mean),
    ):
        row = {
            "patients": str(labels),
            "method": cell.runs[0].method,
            "runs": str(len(cell.runs)),
            "Dice": interval_text(cell.interval),
        }
        against = find(s, arm, labels)
        row["against supervised"] = (
            interval_text(against.difference, signed=True) if against else ""
        )
        row["p (Holm)"] = (
            p_text(against.p_holm).removeprefix("p ").removeprefix("= ") if against else ""
        )
        for far in distances:
            row[f"{far.metric.upper()}, voxels"] = interval_text(
                far.cells[arm, labels].interval, far.metric
            )
        found.append(row)
    return found


def texts(said: list[str]) -> dict[str, str]:
    """The files with their tables as the results have them; ``said`` gets a line for each cell that
    was another.
    """
    files: dict[str, list[str]] = {}
    for table in tables():
        lines = files.setdefault(
            table.file, (ROOT / table.file).read_text(encoding="utf-8").split("\n")
        )
        _fill(table, lines, said)
    return {file: "\n".join(lines) for file, lines in files.items()}


def _fill(table: Table, lines: list[str], said: list[str]) -> None:
    begin = next(i for i, line in enumerate(lines) if line.startswith(table.heading))
    sought = {column for row in table.cells.values() for column in row}
    for head in range(begin, len(lines) - 1):
        header = _named(_cells(lines[head]))
        if (
            lines[head].startswith("|")
            and header[0] == _plain(table.first)
            and lines[head + 1].startswith("|--")
            and {_plain(c) for c in sought} <= set(header)
        ):
            break
    else:
        raise SystemExit(
            f"{table.file}: no table with {', '.join(sorted(sought))} below {table.heading!r}"
        )
    missing = {tuple(map(_plain, row)) for row in table.cells}
    wanted = {
        tuple(map(_plain, row)): {_plain(c): text for c, text in cells.items()}
        for row, cells in table.cells.items()
    }
    for i in range(head + 2, len(lines)):
        if not lines[i].startswith("|"):
            break
        cells = _cells(lines[i])
        row = tuple(_plain(c) for c in cells[: table.keys])
        missing.discard(row)
        for column, text in wanted.get(row, {}).items():
            old = cells[header.index(column)]
            kept = re.search(
                r" \[[^\]]*\]$|, mean teacher .*$", old
            )  # an interval of subjects that were not kept
            text += kept[0] if kept and "[" not in text else ""
            if text != old:
                said.append(
                    f"{table.file}:{i + 1}: {' '.join(cells[: table.keys])}, {column}: {old!r} "
                    f"is {text!r}"
                )
                cells[header.index(column)] = text
        lines[i] = "| " + " | ".join(cells) + " |"
    if missing:
        raise SystemExit(
            f"{table.file}: no row {' '.join(sorted(missing)[0])} below {table.heading!r}"
        )


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] or [""]


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]+", " ", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", name)).strip().lower()


def _named(header: list[str]) -> list[str]:
    plain = [_plain(name) for name in header]
    return [
        name + (f"#{plain[: i + 1].count(name)}" if plain[:i].count(name) else "")
        for i, name in enumerate(plain)
    ]


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
        figure.axes[0].set_xlabel(
            f"annotated {unit} (log scale)"
        )  # a results.csv does not say that an image is its own subject
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


def notebook(file: Path) -> None:
    """The .ipynb of a notebook's text, executed in a fresh kernel; without outputs as long as
    nobody has measured what it reads.
    """
    import jupytext
    import nbclient
    import nbformat

    found = jupytext.read(file)
    for i, cell in enumerate(found.cells):
        cell["id"] = f"{file.stem.replace('_', '-')}-{i}"
    found.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    measured = not (reads := re.findall(r'results / "([\w.]+)"', file.read_text())) or any(
        (RESULTS / name).exists() for name in reads
    )
    if measured:
        nbclient.NotebookClient(
            found, timeout=600, record_timing=False, resources={"metadata": {"path": str(ROOT)}}
        ).execute()
    nbformat.write(found, file.with_suffix(".ipynb"))
    print(
        file.with_suffix(".ipynb"), "" if measured else f"not executed: there is no {reads[0]} yet"
    )


if __name__ == "__main__":
    sys.exit(main())
