# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How many annotations does a method save?
#
# This notebook reads a committed `results.csv` (each number is that of a run's last checkpoint). It
# asks how the score grows with annotated images, and how many annotated images a semi-supervised
# method is worth. With your own runs, name their folder: `semiseg.load_runs("runs/")`.

# %%
from pathlib import Path

import semiseg
from semiseg.analysis import worth
from semiseg.analysis.study import study
from semiseg.report import sentences, summary
from semiseg.report.figures.label_efficiency import label_efficiency
from semiseg.report.figures.label_equivalence import label_equivalence
from semiseg.report.format import interval_text

results = (
    Path("experiments/results") if Path("experiments").exists() else Path("../experiments/results")
)
file = next(f for f in (results / "label_efficiency.csv", results / "demo.csv") if f.exists())
runs = semiseg.load_runs(file)
runs

# %% [markdown]
# One row for each run, split, checkpoint, class and metric:

# %%
frame = runs.to_pandas()
primary = frame[
    (frame.checkpoint == "last")
    & (frame["class"] == "mean")
    & (frame.metric == "dice")
    & (frame.split == "test")
]
primary.pivot_table(index="method", columns="labels", values="mean").round(3)

# %% [markdown]
# ## The curve
# A dot is a run, the line is their mean. A `results.csv` holds a mean for each run. Where the scores of
# the subjects stand beside it (`…_subjects.csv`), and with run folders, intervals are over label
# subsets, seeds and subjects; otherwise over label subsets and seeds. Test images that look alike
# (tiles of one picture) count as one, and label subsets of one pool are corrected for their overlap.

# %%
label_efficiency(runs, split="test")

# %%
s = study(runs, split="test")
for sentence in summary.answer(s) + summary.equivalence_sentences(s):
    print("-", sentence)

# %% [markdown]
# ## What a method is worth, in annotated images

# %%
label_equivalence(s)

# %%
for w in worth.worth(s):
    print(f"{w.arm:14} {w.labels:4}  {sentences.equivalence_text(w)}")

# %% [markdown]
# ## The baseline's learning curve, as a power law
# `score(n) = a − b · n^(−c)`. Beyond the largest label budget the curve is an extrapolation.

# %%
budgets = [n for arm, n in sorted(s.cells) if arm == s.baseline]
law, intervals = worth.learning_curve(s, s.baseline, [*budgets, 2 * budgets[-1]])
print(f"a = {law.a:.3f}, b = {law.b:.3f}, c = {law.c:.2f}")
for n, interval in zip([*budgets, 2 * budgets[-1]], intervals, strict=True):
    print(f"{n:5}  {interval_text(interval)}")

# %% [markdown]
# ## Limits

# %%
for caution in summary.cautions(s):
    print("-", caution)
