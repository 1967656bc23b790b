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
# # Which method, and would other annotated images have changed the answer?
#
# A ranking from one choice of annotated images may be chance. This notebook compares each method with
# the baseline, corrects for the number of comparisons, and ranks the methods again for each choice of
# annotated images.

# %%
from pathlib import Path

import pandas as pd

import semiseg
from semiseg.analysis import spread
from semiseg.analysis.study import study
from semiseg.report import summary
from semiseg.report.figures.label_efficiency import label_efficiency
from semiseg.report.format import interval_text, number, p_text

results = (
    Path("experiments/results") if Path("experiments").exists() else Path("../experiments/results")
)
file = next(f for f in (results / "methods.csv", results / "demo.csv") if f.exists())
runs = semiseg.load_runs(file)
s = study(runs, split="test")
print(summary.claim(s))

# %% [markdown]
# ## Every method against the baseline
# All comparisons are one family: `p` is that of its test, corrected with Holm's method. `detectable` is
# the difference that a study with this spread would have found with a power of 80 % after that
# correction: a smaller one that is not significant is undecided, not absent.

# %%
rows = [
    {
        "method": c.arm,
        "labels": c.labels,
        "difference": interval_text(c.difference, s.metric, signed=True),
        "p (Holm)": p_text(c.p_holm),
        "detectable": number(c.detectable, s.metric, signed=True),
        "significant": c.significant,
    }
    for c in s.comparisons
]
pd.DataFrame(rows)

# %% [markdown]
# ## Is the ranking stable?
# Kendall's τ between the rankings of two choices of annotated images, and the share of choices in
# which a method comes first.

# %%
for labels in s.budgets:
    order = spread.ranking(s, labels)
    if order is not None:
        arms = [arm for arm in s.arms if (arm, labels) in s.cells]
        first = ", ".join(
            f"{arm} {share:.0%}" for arm, share in zip(arms, order.first, strict=True)
        )
        print(f"{labels:4} annotated: τ = {order.tau:.2f}, W = {order.w:.2f}; first: {first}")

# %% [markdown]
# ## Other metrics
# Distances may rank differently from overlap.

# %%
frame = runs.to_pandas()
last = frame[(frame.checkpoint == "last") & (frame["class"] == "mean") & (frame.split == "test")]
last[last.metric.isin(["dice", "hd95", "assd"])].pivot_table(
    index="method", columns=["metric", "labels"], values="mean"
).round(2)

# %%
label_efficiency(runs, metric="hd95", split="test")
