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
# # Your own images: from a folder to a first answer
#
# A folder `images/` and a folder `labels/` with the same file names are enough. This notebook makes a
# small one, so that it runs anywhere. Put your own path in `source` instead.

# %%
import tempfile
from pathlib import Path

import numpy as np
from skimage import io

import semiseg
from semiseg.data import importing
from semiseg.nets import UNet
from semiseg.report.figures.label_efficiency import label_efficiency
from semiseg.report.figures.overlays import overlays

place = Path(tempfile.mkdtemp())
source = place / "mine"
rng = np.random.default_rng(0)
rows, cols = np.mgrid[:40, :40]
for kind in ("images", "labels"):
    (source / kind).mkdir(parents=True)
for i in range(24):
    row, col = rng.integers(12, 28, 2)
    disc = (rows - row) ** 2 + (cols - col) ** 2 < rng.integers(40, 110)
    picture = np.clip(90 + 60 * disc + rng.normal(0, 25, disc.shape), 0, 255).astype(np.uint8)
    io.imsave(source / "images" / f"p{i:02d}.png", picture, check_contrast=False)
    io.imsave(source / "labels" / f"p{i:02d}.png", disc.astype(np.uint8), check_contrast=False)

# %% [markdown]
# ## Import
# Subjects are split 70/10/20 into train, validation and test. A file `subjects.csv` says which images
# are of one patient, see `docs/how-to/your-own-data.md`.

# %%
info = importing.import_set("folder", source, "mine", root=place / "stores", progress=False)
{split: count["subjects"] for split, count in info.counts.items()}

# %% [markdown]
# ## Train with two budgets
# The network is tiny, so that this takes seconds. A real study has 1500 steps or more, images of 128
# pixels or more, three label subsets and three seeds.

# %%
for labels in (2, 8):
    for subset in (0, 1):
        trial = semiseg.Trial(
            data="mine",
            root=str(place / "stores"),
            labels=labels,
            label_subset=subset,
            image_size=32,
            net=UNet(widths=(4, 8)),
            steps=60,
            batch=4,
            eval_every=60,
            lr=0.01,
        )
        result = semiseg.run(trial, place / "runs" / f"n{labels}-j{subset}", progress=False)
        dice = result.summary["last"]["val"]["dice"]
        print(f"{labels} annotated, subset {subset}: validation Dice {dice:.2f}")

# %%
runs = semiseg.load_runs(place / "runs")
label_efficiency(runs)

# %% [markdown]
# ## What it gets wrong

# %%
overlays(runs, labels=8)

# %% [markdown]
# ## Segment new images

# %%
predictor = semiseg.Predictor.load(place / "runs" / "n8-j0")
new = io.imread(source / "images" / "p00.png")[..., None]
mask = predictor.predict(new)
print(mask.shape, mask.dtype, "classes:", np.unique(mask))
