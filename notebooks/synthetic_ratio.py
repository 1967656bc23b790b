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
# # How much synthetic data should stand beside how much real data?
#
# This notebook reads the committed runs of `experiments/synthetic_ratio.py`: label budgets × synthetic
# images per real one × sources of the images, all with the same number of steps. The images of a run
# are made from the annotations of its own label budget. Three sources are controls without a
# generator: `duplicated` shows the real pairs again, `augmented` bends them, `copy_paste` moves objects
# between them. A generator is useful where it beats these controls, not where it beats nothing.

# %%
from pathlib import Path

import pandas as pd
from IPython.display import display

from semiseg.analysis.mixes import table_mixes
from semiseg.analysis.statistics import holm, mean_interval, mean_test
from semiseg.report.figures import synthetic_gain
from semiseg.report.format import interval_text, p_text
from semiseg.synthetic_sources import source_title

results = (
    Path("experiments/results") if Path("experiments").exists() else Path("../experiments/results")
)
same = ["labels", "label_subset", "seed"]


def read(file):
    """A row a run: arm, budget, label subset, seed, ratio and the Dice of its last checkpoint on
    the validation split.
    """
    runs = pd.read_csv(file).rename(columns={"val_dice": "dice"})[["arm", *same, "ratio", "dice"]]
    print(
        f"{file.name}: {len(runs)} runs; {len(runs[['label_subset', 'seed']].drop_duplicates())} "
        f"pairs of label subset and seed"
    )
    return runs


sets = {"nuclei": results / "synthetic_ratio.csv", "ACDC": results / "synthetic_ratio_acdc.csv"}
sets = {name: read(file) for name, file in sets.items() if file.exists()}
for runs in sets.values():
    display(runs.pivot_table(index=["labels", "arm"], columns="ratio", values="dice").round(3))

# %% [markdown]
# ## The gain over real data alone
# Each run minus the run on real data alone with the same annotations and seed; then the mean with
# its 95 % interval over these pairs (a file of run means holds no subjects), and a test of "no gain",
# corrected by Holm for all cells of the table.


# %%
def paired(runs, other):
    """Mean difference to ``other`` (same annotations, same seed) for each budget, arm and ratio."""
    both = runs.merge(
        other, on=[c for c in (*same, "ratio") if c in other], suffixes=("", "_other")
    )
    rows = []
    for (labels, arm, ratio), cell in both.groupby(["labels", "arm", "ratio"]):
        difference, subsets = (
            (cell["dice"] - cell["dice_other"]).to_numpy()[:, None],
            cell["label_subset"].tolist(),
        )
        i = mean_interval(difference, subsets)
        rows.append(
            (
                labels,
                arm,
                ratio,
                i.mean,
                i.low,
                i.high,
                interval_text(i, signed=True),
                mean_test(difference, subsets),
                len(cell),
                i.covers,
            )
        )
    table = pd.DataFrame(
        rows,
        columns=[
            "labels",
            "arm",
            "ratio",
            "mean",
            "low",
            "high",
            "difference",
            "p",
            "runs",
            "covers",
        ],
    )
    return table.assign(p_holm=holm(table["p"].to_numpy()))


gains = {}
for name, runs in sets.items():
    real = runs[runs["ratio"] == 0].drop_duplicates(same)[[*same, "dice"]]
    gains[name] = gain = paired(runs[runs["ratio"] > 0], real)
    display(gain.pivot(index=["labels", "arm"], columns="ratio", values="difference"))
    significant = gain[gain["p_holm"] < 0.05]
    print(
        f"{name}: of {len(gain)} cells, {(significant['low'] > 0).sum()} gain significantly and "
        f"{(significant['high'] < 0).sum()} lose."
    )

# %% [markdown]
# ## How the gain depends on the ratio
# A panel a budget; bars are the intervals of the tables above, controls are dashed.

# %%
for runs in sets.values():
    columns = [runs["arm"].map(source_title), *(runs[c] for c in ("arm", *same, "ratio", "dice"))]
    display(synthetic_gain.gains(table_mixes(zip(*(c.tolist() for c in columns))), size=(10.5, 4.4)))

# %% [markdown]
# ## Which ratio, and is it the generator?
# The best ratio of each source was chosen because it is the largest, so its gain is too large on
# average: read the interval of a neighbour before you believe it.

# %%
for gain in gains.values():
    best = gain.loc[
        gain.groupby(["labels", "arm"])["mean"].idxmax(),
        ["labels", "arm", "ratio", "difference", "p_holm"],
    ]
    display(
        best.assign(p_holm=[p_text(p) for p in best["p_holm"]]).set_index(["labels", "arm"])
    )

# %% [markdown]
# Each source minus the control that differs from it by the generator alone, at the same ratio:
# synthetic images on real masks against the real pairs again, synthetic images on varied masks against
# real pairs bent the same way (on ACDC that control was not run).

# %%
controls = {
    "spade_real_masks": "duplicated",
    "spade": "augmented",
    "pix2pix_real_masks": "duplicated",
    "pix2pix": "augmented",
}
for runs in sets.values():
    tables, mixed = [], runs[runs["ratio"] > 0]
    for arm, control in controls.items():
        chosen, other = mixed[mixed["arm"] == arm], mixed[mixed["arm"] == control]
        if len(chosen) and len(other):
            tables.append(paired(chosen, other[[*same, "ratio", "dice"]]).assign(control=control))
    if tables:
        display(
            pd.concat(tables).pivot(
                index=["labels", "arm", "control"], columns="ratio", values="difference"
            )
        )

# %% [markdown]
# ## Limits

# %%
for name, gain in gains.items():
    most = gain.loc[gain["mean"].idxmax()]
    print(
        f"- {name}: the largest gain of {len(gain)} is {most['difference']}; with so many cells one "
        f"of them is high by chance."
    )
    print(
        f"- {name}: {gain['runs'].min()} paired runs a cell; the intervals are over "
        f"{most['covers']}, and say nothing of other images."
    )
print("- Scores are of the validation split and the last checkpoint: no run chose anything by it.")
print(
    "- All runs of a budget and label subset share one generator: where there is one label subset, "
    "the intervals hold for that generator alone."
)
print(
    (
        "- The steps are equal for all arms: with more synthetic images each real one is seen less "
        "often, which is part of what a ratio does."
    )
)
print(
    (
        "- A generator's fit sees the training images outside the budget, too, without their labels; "
        "real data alone and the controls do not."
    )
)
