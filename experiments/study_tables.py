"""The cells of the tables in docs/results/ that committed results carry: what figures.py writes."""

from __future__ import annotations

import csv
import dataclasses
import functools
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.analysis.comparisons import Comparison
from semiseg.analysis.design import Design
from semiseg.analysis.groups import DATA_SETS, embedded_facts, read_facts
from semiseg.analysis.load import load_runs
from semiseg.analysis.mixes import Mix, table_mixes
from semiseg.analysis.pairing import compared_scores, paired
from semiseg.analysis.runs import Runs
from semiseg.analysis.statistics import cluster_means, mean_interval, mean_test, subject_means
from semiseg.analysis.study import FEW_SUBSETS, Study, correct_together, study
from semiseg.analysis.subject_tests import sign_flip_test
from semiseg.report.format import interval_text, p_value
from semiseg.report.tables import find
from semiseg.synthetic_sources import source_title

RESULTS = Path(__file__).parent / "results"
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


def tables() -> Iterator[Table]:
    """What the results say."""
    yield from score_tables()
    yield acdc_first_table()
    yield from method_tables()
    yield from carrier_tables()
    yield from mixing_tables()
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
        cells: Cells = {}
        for arm, n in itertools.product(s.arms, s.budgets):
            row = cells.setdefault((arm,), {})
            row[str(n)] = interval(s, arm, n)
        yield Table(f"docs/results/{page}", heading, first, cells)
    s = studied("demo")
    by_budget: Cells = {}
    for n, arm in itertools.product(s.budgets, s.arms):
        row = by_budget.setdefault((str(n),), {})
        row[arm] = interval(s, arm, n)
    yield Table("docs/results/demo.md", "# ", "annotated images", by_budget)


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


ACDC = ("acdc_first", "acdc_init", "acdc_methods", "acdc_leading", "acdc_long", "acdc_longer")
"""Tables over the same ten validation patients of ACDC."""


def method_tables() -> Iterator[Table]:
    """Each method beside supervised on the validation subjects."""
    pages = {
        "acdc_methods": ("acdc-methods.md", "# "),
        "acdc_leading": ("acdc-methods.md", "## Six of them with three seeds"),
        "acdc_long": ("acdc-long.md", "# "),
        "acdc_longer": ("acdc-longer.md", "# "),
    }
    for name, (page, heading) in pages.items():
        cells = {(row["patients"], row["method"]): row for row in compared(name)}
        yield Table(f"docs/results/{page}", heading, "patients", cells, keys=2)


@functools.cache
def across() -> dict[str, Study]:
    """The studies of ACDC, all their comparisons corrected as one family."""
    studies = [studied(name, "val") for name in ACDC]
    return dict(zip(ACDC, correct_together(studies), strict=True))


def compared(name: str) -> list[dict[str, str]]:
    """A row a budget and method, supervised first, then by Dice: scores on the validation subjects,
    and the difference to supervised.
    """
    s = studied(name, "val")
    runs = s.runs
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
            "p (all ACDC tables)": "",
        }
        comparison = find(s, arm, labels)
        of_all = find(across()[name], arm, labels)
        if comparison is not None and of_all is not None:
            row["against supervised"] = interval_text(comparison.difference, signed=True)
            row["p (Holm)"] = p_value(comparison.p_holm)
            row["p (all ACDC tables)"] = p_value(of_all.p_holm)
        for far in distances:
            score = far.cells[arm, labels].interval
            row[f"{far.metric.upper()}, voxels"] = interval_text(score, far.metric)
        rows.append(row)
    return rows


CARRIERS = ("patient082", "patient087")
"""Two patients whose hearts lie another way than those of most."""
SUBSETS = {"0": "0", "1": "1", "2": "2", "1 and 2": "12", "all": "012"}
"""Names of rows and the label subsets that they are over."""


def carrier_tables() -> Iterator[Table]:
    """How much of a gain two patients are, by label subset."""
    for name, page in (("acdc_long", "acdc-long.md"), ("acdc_longer", "acdc-longer.md")):
        s = studied(name, "val")
        cells: Cells = {}
        for c in s.comparisons:
            for row, subsets in SUBSETS.items():
                cells[s.arms[c.arm][0].method, row] = carried(s, c, subsets)
        yield Table(f"docs/results/{page}", "## Who carries it", "method", cells, keys=2)


def carried(s: Study, c: Comparison, subsets: str) -> dict[str, str]:
    """The gain on these label subsets, and what of it is without the two patients."""
    groups = []
    for arm in (c.arm, c.baseline):
        runs = s.cells[arm, c.labels].runs
        groups.append([run for run in runs if str(run.label_subset) in subsets])
    subjects, _ = compared_scores([*groups[0], *groups[1]], *s.scored)
    (target_RS, reference_RS), design, _ = paired([Runs(group) for group in groups], *s.scored)
    gain_RS = target_RS - reference_RS
    others_S = np.array([subject not in CARRIERS for subject in subjects])
    rest_RS = gain_RS[:, others_S]
    design_of_rest = design.of(np.ones(len(gain_RS), bool), others_S)
    gain_S = subject_means(gain_RS, design)
    share = gain_S[~others_S].sum() / gain_S.sum()
    return {
        "against supervised": interval_text(mean_interval(gain_RS, design), signed=True),
        "p": p_value(test_alone(gain_RS, design)),
        "share of 082 and 087": f"{100 * share:.0f} %",
        "without them": interval_text(mean_interval(rest_RS, design_of_rest), signed=True),
        "p#2": p_value(test_alone(rest_RS, design_of_rest)),
    }


def test_alone(gain_RS: np.ndarray, design: Design) -> float:
    """p of a difference alone; with few subsets, of a permutation of subjects if that is more."""
    p = mean_test(gain_RS, design)
    if len(set(design)) < FEW_SUBSETS:
        return max(p, sign_flip_test(cluster_means(gain_RS, design)))
    return p


# ------------------------------------------------------------------ synthetic images
COLUMNS = {
    "spade": "SPADE, varied masks",
    "spade_real_masks": "SPADE, real masks",
    "duplicated": "duplicated pairs",
    "augmented": "augmented pairs",
    "copy_paste": "copy-pasted pairs",
}
CONTROL_OF = {"spade_real_masks": "duplicated", "spade": "augmented"}
"""The control that differs from a source by the generator alone."""


def mixing_tables() -> Iterator[Table]:
    """Gains over real images alone, and over the control."""
    page = "docs/results/synthetic-nuclei.md"
    largest: Cells = {}
    for m in gains_of("synthetic_ratio"):
        if m.ratio == 4:
            row = largest.setdefault((str(m.labels),), {})
            row[COLUMNS[m.source]] = interval_text(m.gain, signed=True)
    yield Table(page, "# ", "labelled images", largest)
    beside: Cells = {}
    for m in gains_over_control("synthetic_ratio"):
        row = beside.setdefault((str(m.labels), COLUMNS[m.source]), {})
        row[f"{m.ratio:g}"] = interval_text(m.gain, signed=True)
    yield Table(page, "## Over its own control", "labelled images", beside, keys=2)
    of_hearts: Cells = {}
    for m in gains_of("synthetic_ratio_acdc"):
        row = of_hearts.setdefault((COLUMNS[m.source],), {})
        row[f"{m.ratio:g}"] = interval_text(m.gain, signed=True)
    yield Table("docs/results/synthetic-acdc.md", "# ", "synthetic per real", of_hearts)


def gains_of(name: str) -> list[Mix]:
    """Over real images alone, at every budget and ratio: one family."""
    rows = [
        (source_title(arm), arm, labels, subset, seed, ratio, score)
        for arm, labels, subset, seed, ratio, score in _mixing_rows(name)
    ]
    return table_mixes(rows, annotated_of(name))


def gains_over_control(name: str) -> list[Mix]:
    """Over the control with as many images, at every budget and ratio: one family."""
    rows: list[tuple[str, str, int, str, Any, float, float]] = []
    for source, control in CONTROL_OF.items():
        for arm, labels, subset, seed, ratio, score in _mixing_rows(name):
            # a run stands beside the control of its ratio, which takes the place of real images
            replica = (source, seed, ratio)
            if ratio and arm == source:
                rows.append((source_title(arm), source, labels, subset, replica, ratio, score))
            elif ratio and arm == control:
                rows.append((source_title(arm), control, labels, subset, replica, 0.0, score))
    return table_mixes(rows, annotated_of(name))


def _mixing_rows(name: str) -> list[tuple[str, int, str, int, float, float]]:
    with (RESULTS / f"{name}.csv").open(newline="") as file:
        return [
            (
                row["arm"],
                int(row["labels"]),
                row["label_subset"],
                int(row["seed"]),
                float(row["ratio"]),
                float(row["val_dice"]),
            )
            for row in csv.DictReader(file)
        ]


def annotated_of(name: str) -> int:
    """Annotated training subjects of the data set that a table of mixes is of."""
    if name.endswith("_acdc"):
        return read_facts(RESULTS / DATA_SETS)["acdc"].annotated
    return embedded_facts().annotated


# ------------------------------------------------------------------ networks and steps
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


# ------------------------------------------------------------------ results
def read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / name).read_text())


def studied(name: str, split: str = "test") -> Study:
    return study(load_runs(RESULTS / f"{name}.csv"), split=split)


def interval(s: Study, arm: str, labels: int) -> str:
    return interval_text(s.cells[arm, labels].interval, s.metric)


def dice(value: float, places: int = 2) -> str:
    return f"{value:.{places}f}"


def mean_of(run: Any, metric: str) -> float:
    (value,) = run.scores.per_subject(metric, "test", "last").values()
    return value
