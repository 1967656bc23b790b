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

from semiseg.analysis.areas import log_trend
from semiseg.analysis.design import Design
from semiseg.analysis.families import Difference, family_test
from semiseg.analysis.mixes import table_mixes
from semiseg.analysis.statistics import holm, mean_interval, mean_test, spread
from semiseg.report.figures import synthetic_gain
from semiseg.report.format import interval_text, p_text
from semiseg.synthetic_sources import source_title

results = (
    Path("experiments/results") if Path("experiments").exists() else Path("../experiments/results")
)
same = ["labels", "label_subset", "seed"]
pool = {"nuclei": 394, "ACDC": 70}
# annotated training subjects, from which label subsets are drawn: subsets of one pool overlap


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
# its 95 % interval over these pairs (a file of run means holds no subjects), and one test of "no gain"
# for all cells of the table, corrected by Holm. Intervals are not corrected for their number: one of
# many leaves out zero by chance.


# %%
def paired(runs, other, annotated):
    """Mean difference to ``other`` (same annotations, same seed) for each budget, arm and ratio."""
    both = runs.merge(
        other, on=[c for c in (*same, "ratio", "arm") if c in other], suffixes=("", "_other")
    )
    rows = []
    members = []
    for (labels, arm, ratio), cell in both.groupby(["labels", "arm", "ratio"]):
        difference = (cell["dice"] - cell["dice_other"]).to_numpy()[:, None]
        design = Design(cell["label_subset"].tolist(), share=labels / annotated)
        i = mean_interval(difference, design)
        members.append(Difference(spread(difference, design), f"{arm} {ratio}", "", labels))
        rows.append(
            {
                "labels": labels,
                "arm": arm,
                "ratio": ratio,
                "mean": i.mean,
                "low": i.low,
                "high": i.high,
                "difference": interval_text(i, signed=True),
                "p": mean_test(difference, design),
                "runs": len(cell),
                "covers": i.covers,
            }
        )
    table = pd.DataFrame(rows)
    p_holm = holm(family_test(members).p.tolist())
    return table.assign(p_holm=[max(p) for p in zip(p_holm, table["p"], strict=True)])


gains = {}
for name, runs in sets.items():
    real = runs[runs["ratio"] == 0].drop_duplicates(same)[[*same, "dice"]]
    gains[name] = gain = paired(runs[runs["ratio"] > 0], real, pool[name])
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
for name, runs in sets.items():
    columns = [runs["arm"].map(source_title), *(runs[c] for c in ("arm", *same, "ratio", "dice"))]
    mixes = table_mixes(zip(*(c.tolist() for c in columns), strict=True), pool[name])
    display(synthetic_gain.gains(mixes, size=(10.5, 4.4)))

# %% [markdown]
# Does more help more? One test for each source and budget: the slope of Dice for each doubling of the
# ratio, corrected by Holm for all of them.


# %%
def trends(runs, annotated):
    rows = []
    for (labels, arm), cell in runs[runs["ratio"] > 0].groupby(["labels", "arm"]):
        table = cell.pivot_table(index=["label_subset", "seed"], columns="ratio", values="dice")
        design = Design(
            table.index.get_level_values("label_subset").tolist(), share=labels / annotated
        )
        trend = log_trend(
            [table[[ratio]].to_numpy() for ratio in table.columns], design, list(table.columns)
        )
        rows.append((labels, arm, interval_text(trend.slope, signed=True), trend.p))
    table = pd.DataFrame(rows, columns=["labels", "arm", "Dice a doubling", "p"])
    p_holm = [p_text(p) for p in holm(table.pop("p").tolist())]
    return table.assign(p_holm=p_holm).set_index(["labels", "arm"])


for name, runs in sets.items():
    display(trends(runs, pool[name]))

# %% [markdown]
# ## Which ratio, and is it the generator?
# The best ratio of each source was chosen because it is the largest, so its gain is too large on
# average. Its p is that of the family of all ratios, sources and budgets: only that says "a gain".

# %%
for gain in gains.values():
    best = gain.loc[
        gain.groupby(["labels", "arm"])["mean"].idxmax(),
        ["labels", "arm", "ratio", "difference", "p_holm"],
    ]
    display(best.assign(p_holm=[p_text(p) for p in best["p_holm"]]).set_index(["labels", "arm"]))

# %% [markdown]
# Each source minus the control that differs from it by the generator alone, at the same ratio:
# synthetic images on real masks against the real pairs again, synthetic images on varied masks against
# real pairs bent the same way (on ACDC that control was not run). Each interval stands alone; p
# is corrected for all cells of the table.

# %%
controls = {
    "spade_real_masks": "duplicated",
    "spade": "augmented",
    "pix2pix_real_masks": "duplicated",
    "pix2pix": "augmented",
}
for name, runs in sets.items():
    mixed = runs[runs["ratio"] > 0]
    # the control's runs under the name of the source that they stand beside
    of_control = [mixed[mixed["arm"] == c].assign(arm=arm) for arm, c in controls.items()]
    other = pd.concat(of_control)[[*same, "ratio", "arm", "dice"]]
    beside = paired(mixed[mixed["arm"].isin(controls)], other, pool[name])
    beside["control"] = beside["arm"].map(controls)
    display(
        beside.pivot(index=["labels", "arm", "control"], columns="ratio", values="difference")
    )
    print(f"{name}: the smallest p of {len(beside)} cells is {beside['p_holm'].min():.3f}")

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
