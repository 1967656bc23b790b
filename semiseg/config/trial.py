"""A trial: everything that names one run."""

from __future__ import annotations

import dataclasses
from typing import Any

from semiseg.augment import Augmentation
from semiseg.data.frame import Frame
from semiseg.data.size_limits import LARGEST_SIDE
from semiseg.fields import choice, count, number, static, traced
from semiseg.methods import Supervised
from semiseg.nets import UNet
from semiseg.pretrain import Fresh
from semiseg.train import draw, given
from semiseg.train.optimiser import OPTIMISERS, SCHEDULES
from semiseg.types import Method, Net


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run.

    A field declared with ``traced=False`` changes the compiled program; all others are values a
    sweep varies without compiling anew.

    Attributes:
      data: name of an imported data set (``semiseg data list``), or ``nuclei``, which is built in.
      root: folder of the stores; default: SEMISEG_DATA, else the user's cache folder.
      method: training method.
      net: network.
      augment: augmentation.
      labels: number of annotated subjects whose masks the method may use; 0 for all.
      label_subset: the order of subjects whose first ones are the budget; 0 is the published one,
        if any.
      folds: cross-validation: the annotated subjects outside the test split are dealt into so many
        folds, of which one is held out and scored as val at the end; 0 for the set's own val split.
      fold: the fold that is held out, from 0.
      seed: of initialisation, batches, augmentation and dropout.
      steps: optimiser steps.
      init: where the weights begin: at random, pre-trained on the images of the run's training pool
        without a label, or a path (a run's folder or a file of the same network); the last layer is
        fresh.
      init_steps: optimiser steps of the pre-training, on top of ``steps``.
      image_size: side of the network's square input, pixels.
      zoom: with the spacing fit, the longest side of a slice gets zoom × image_size pixels, and the
        network is trained on windows of image_size.
      view: what it sees in evaluation: the whole scaled scan (an image of up to 1024 pixels a side
        at once, anything else in windows that overlap), or its centre window (then it is trained on
        that alone), where the object is known to lie there.
      slices: 2.5D: how many adjacent slices of a scan, an odd number, the network sees as channels;
        it segments the middle one.
      depth: slices of a 3D network's input.
      depth_zoom: slices of a volume in units of depth, with the spacing stretch.
      width: of the network's input, pixels, where it is no square; 0: as image_size.
      spacing: what the network sees as one pixel: millimetres (one number, or one an axis), median
        (of the set), fit (the longest side of a slice gets zoom × image_size pixels), native
        (each scan's own pixels), stretch (every slice becomes a square, as in runs from before
        there was a choice), or auto: the median where millimetres are known, else fit.
      intensity: which numbers become black and white, one rule for a whole scan: ct, ct-soft,
        ct-lung, ct-bone or window LOW HIGH (Hounsfield units), percentile, zscore, none, slice (a
        slice's own extremes, as in runs from before there was a choice), or auto: ct where volumes
        hold Hounsfield units, percentile for other volumes, zscore for pictures.
      draw_by: subjects (each weighs the same, then each of its scans, then each slice), or images
        (all slices alike).
      pool_memory: what the scans may take on the device, as 4GB or 500MB; a set that is larger
        rotates through it. None: all of them are on the device.
      foreground: share of the labelled windows that are centred on a voxel of a class.
      batch: images a step takes a gradient on, labelled and unlabelled together.
      lr: peak learning rate.
      optimiser: sgd, nesterov, adam or adamw.
      momentum: of sgd and nesterov; the first decay rate of adam and adamw.
      weight_decay: of kernels, not of biases and norms.
      schedule: of the learning rate: poly, cosine, step (tenths) or constant.
      warmup: share of the steps in which the learning rate rises linearly.
      clip: largest norm of a network's gradient; 0 for no limit.
      average_last: share of the training, at its end, whose weights are averaged evenly (stochastic
        weight averaging) to what is evaluated, those of the trained network and not of its teacher;
        0 for what the method evaluates.
      ratio: synthetic images per real one in the labelled part of a batch.
      synthetic: name of the imported synthetic set.
      synthetic_schedule: when its images are seen: constant (in every step alike), pretrain (alone
        at first, then real ones alone) or decay (ever fewer, linearly to none at the end); how many
        in all depends on the ratio alone.
      synthetic_weight: by which the gradient of the labelled loss is multiplied in their pixels (a
        Dice over the batch still has them in its sums).
      synthetic_as: what they are taken for: labelled; soft (the target is (1 - s) · mask + s · what
        the network's average predicts, the latter by cross-entropy; costs a pass of both over the
        labelled images of a batch); or unlabelled (their masks are not used, and ratio is to the
        real unlabelled images).
      synthetic_softness: s of soft images, from 0 (their masks alone) to 1 (the average's
        predictions alone).
      pseudo: a folder of masks from elsewhere for unlabelled training images, named after their
        scans (of `semiseg predict`, MedSAM, TotalSegmentator, nnU-Net …): their loss, the method's
        loss of labelled images, is added to that of any method.
      pseudo_weight: of that loss at the start.
      pseudo_schedule: how the weight falls: linear (1 - t), cosine (half a wave), or constant, with
        t from 0 to 1 up to pseudo_until.
      pseudo_until: share of the training after which the weight is 0.
      pseudo_batch: images with such masks in a step, on top of batch.
      eval_every: steps between validations; 0 for five in a run. Their annotations count as labels
        used.
      log_every: steps a line of metrics.jsonl averages over.
      checkpoint_seconds: least time between two checkpoints.
    """

    data: str = static(default="nuclei")
    root: str | None = None
    method: Method = traced(default=Supervised())
    net: Net = static(default=UNet())
    augment: Augmentation = traced(default=Augmentation())
    labels: int = count(0)
    label_subset: int = count(0)
    folds: int = count(0)
    fold: int = count(0)
    seed: int = count(0, at_least=0, at_most=2**32 - 1)
    steps: int = count(1500, at_least=1, traced=True)
    init: Any = Fresh()
    init_steps: int = count(2000, at_least=1)
    image_size: int = count(128, at_least=8, at_most=LARGEST_SIDE, traced=False)
    zoom: float = number(1.0, at_least=1, at_most=100, traced=False)
    view: str = choice("whole", ("whole", "centre"), traced=False)
    slices: int = count(1, at_least=1, traced=False)
    depth: int = count(16, at_least=1, at_most=LARGEST_SIDE, traced=False)
    depth_zoom: float = number(1.0, at_least=1, at_most=100, traced=False)
    width: int = count(0, at_most=LARGEST_SIDE, traced=False)
    spacing: str = static(default="auto")
    intensity: str = static(default="auto")
    draw_by: str = choice("subjects", draw.DRAWS, traced=False)
    pool_memory: str | None = static(default=None)
    foreground: float = number(1 / 3, at_least=0, at_most=1, traced=True)
    batch: int = count(8, at_least=1, traced=False)
    lr: float = number(0.003, at_least=0, traced=True)
    optimiser: str = choice("adamw", OPTIMISERS, traced=False)
    momentum: float = number(0.9, at_least=0, at_most=1, traced=True)
    weight_decay: float = number(0.01, at_least=0, traced=True)
    schedule: str = choice("poly", SCHEDULES, traced=False)
    warmup: float = number(0.02, at_least=0, at_most=1, traced=True)
    clip: float = number(1.0, at_least=0, traced=True)
    average_last: float = number(0.0, at_least=0, at_most=1, traced=True)
    ratio: float = number(0.0, at_least=0, traced=True)
    synthetic: str | None = None
    synthetic_schedule: str = choice("constant", draw.SCHEDULES, traced=True)
    synthetic_weight: float = number(1.0, at_least=0, traced=True)
    synthetic_as: str = choice("labelled", draw.ROLES, traced=False)
    synthetic_softness: float = number(0.5, at_least=0, at_most=1, traced=True)
    pseudo: str | None = None
    pseudo_weight: float = number(1.0, at_least=0, traced=True)
    pseudo_schedule: str = choice("linear", given.SCHEDULES, traced=True)
    pseudo_until: float = number(0.5, above=0, at_most=1, traced=True)
    pseudo_batch: int = count(4, at_least=1, traced=False)
    eval_every: int = count(0)
    log_every: int = count(10, at_least=1)
    checkpoint_seconds: float = number(60.0, at_least=0)

    @property
    def frame(self) -> Frame:
        """Geometry between a scan and the network's input."""
        depth = self.depth if self.net.dims == 3 else 0
        depth_zoom = self.depth_zoom if self.net.dims == 3 else 1.0
        return Frame(
            self.image_size,
            self.zoom,
            self.view,
            self.slices,
            depth,
            depth_zoom,
            self.spacing,
            self.intensity,
            self.width,
        )
