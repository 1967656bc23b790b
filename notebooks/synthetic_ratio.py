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
# Reads the committed runs of `experiments/synthetic_ratio.py`: label budgets × synthetic images per real one × arms, all with the same number of steps.
# Every arm's images are made from its own budget's annotations alone. Three arms are controls without a generator: `duplicated` shows the real pairs
# again, `augmented` bends them, `copy_paste` moves objects between them. A generator is worth its trouble where it beats these, not where it beats nothing.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from semiseg.analysis import plot, words
from semiseg.analysis.statistics import holm, mean_interval, mean_test

results = Path("experiments/results") if Path("experiments").exists() else Path("../experiments/results")
runs = pd.read_csv(results / "synthetic_ratio.csv")
if "metric" in runs:  # the columns of every results.csv, and the arm: keep the primary score of each run
    split = "test" if "test" in set(runs["split"]) else "val"
    runs = runs[(runs["checkpoint"] == "last") & (runs["class"] == "mean") & (runs["metric"] == "dice") & (runs["split"] == split)]
else:
    split = "val"
runs = runs.rename(columns={"mean": "dice", "val_dice": "dice"})[["arm", "labels", "label_subset", "seed", "ratio", "dice"]]
same = ["labels", "label_subset", "seed"]
print(f"{len(runs)} runs, Dice on {split}; {runs['label_subset'].nunique()} label subsets × {runs['seed'].nunique()} seeds")
runs.pivot_table(index=["labels", "arm"], columns="ratio", values="dice").round(3)

# %% [markdown]
# ## The gain over real data alone
# Each run minus the run on real data alone with the same annotations and seed; then the mean with its 95 % interval over label subsets and seeds (a file
# of run means holds no subjects), and a test of "no gain", corrected by Holm for all cells of the table.


# %%
def paired(runs, other):
    """Mean difference to ``other`` (same annotations, same seed) for each budget, arm and ratio."""
    both = runs.merge(other, on=[c for c in (*same, "ratio") if c in other], suffixes=("", "_other"))
    rows = []
    for (labels, arm, ratio), cell in both.groupby(["labels", "arm", "ratio"]):
        difference, subsets = (cell["dice"] - cell["dice_other"]).to_numpy()[:, None], cell["label_subset"].tolist()
        i = mean_interval(difference, subsets)
        rows.append((labels, arm, ratio, i.mean, i.low, i.high, words.interval_text(i, signed=True), mean_test(difference, subsets), len(cell), i.covers))
    table = pd.DataFrame(rows, columns=["labels", "arm", "ratio", "mean", "low", "high", "difference", "p", "runs", "covers"])
    return table.assign(p_holm=holm(table["p"].to_numpy()))


real = runs[runs["ratio"] == 0].drop_duplicates(same)[[*same, "dice"]]
gain = paired(runs[runs["ratio"] > 0], real)
gain.pivot(index=["labels", "arm"], columns="ratio", values="difference")

# %%
shown = gain[gain["p_holm"] < 0.05]
print(f"Of {len(gain)} cells, {(shown['low'] > 0).sum()} are shown to gain and {(shown['high'] < 0).sum()} to lose.")

# %% [markdown]
# ## How the gain depends on the ratio
# A panel a budget; bars are the intervals of the table above.

# %%
budgets, arms, ratios = (sorted(gain[c].unique()) for c in ("labels", "arm", "ratio"))
figure, panels = plt.subplots(1, len(budgets), figsize=(3.4 * len(budgets), 3.8), sharey=True, squeeze=False, layout="constrained")
for panel, labels in zip(panels[0], budgets):
    for k, arm in enumerate(arms):
        cells = gain[(gain["labels"] == labels) & (gain["arm"] == arm)]
        x = [ratios.index(r) + 0.1 * (k - (len(arms) - 1) / 2) for r in cells["ratio"]]
        panel.vlines(x, cells["low"], cells["high"], color=plot.COLOURS[k], alpha=0.4, lw=2)
        panel.plot(x, cells["mean"], color=plot.COLOURS[k], marker=plot.MARKERS[k], label=arm.replace("_", " "))
    panel.axhline(0, color=plot.SOFT, lw=1, ls="--")
    panel.set_xticks(range(len(ratios)), [f"{r:g}" for r in ratios])
    panel.set(title=f"{labels} annotated", xlabel="synthetic images per real one")
panels[0][0].set_ylabel("Dice beside real data alone")
figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=min(5, len(arms)))
plt.show()

# %% [markdown]
# ## Which ratio, and is it the generator?
# The best ratio of each arm is picked by looking, so its gain is flattered: read the interval of a neighbour before believing it.

# %%
best = gain.loc[gain.groupby(["labels", "arm"])["mean"].idxmax(), ["labels", "arm", "ratio", "difference", "p_holm"]]
best.assign(p_holm=[words.p_text(p) for p in best["p_holm"]]).set_index(["labels", "arm"])

# %% [markdown]
# Each arm minus the control that differs from it by the generator alone, at the same ratio: synthetic images on real masks against the real pairs again,
# synthetic images on varied masks against real pairs bent the same way.

# %%
controls = {"spade_real_masks": "duplicated", "spade": "augmented", "pix2pix_real_masks": "duplicated", "pix2pix": "augmented"}
tables = []
for arm, control in controls.items():
    chosen, other = runs[(runs["arm"] == arm) & (runs["ratio"] > 0)], runs[(runs["arm"] == control) & (runs["ratio"] > 0)]
    if len(chosen) and len(other):
        tables.append(paired(chosen, other[[*same, "ratio", "dice"]]).assign(control=control))
against = pd.concat(tables) if tables else pd.DataFrame(columns=["labels", "arm", "control", "ratio", "difference"])
against.pivot(index=["labels", "arm", "control"], columns="ratio", values="difference")

# %% [markdown]
# ## What to hold against it

# %%
most = gain.loc[gain["mean"].idxmax()]
print(f"- The largest gain of {len(gain)} is {most['difference']}; with so many cells one of them is high by chance.")
print(f"- {gain['runs'].min()} paired runs a cell; the intervals are over {most['covers']}, and say nothing of other images.")
print("- The steps are equal for all arms: with more synthetic images each real one is seen less often, which is part of what a ratio does.")
