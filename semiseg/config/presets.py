"""Published recipes, quirks included: each quirk is a field of its own that the preset switches on,
and the default does it right.

    preset("ssl4mis", "mean_teacher")       semiseg train --preset ssl4mis --method mean_teacher …

A recipe is a mapping of dotted names to values on top of the defaults; what it does not name stays
as it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from semiseg.augment import ssl4mis
from semiseg.config.changes import override
from semiseg.config.trial import Trial
from semiseg.errors import UserError, nearest

Recipe = dict[str, Any]

_CRITERION: Recipe = {
    "method.criterion": "ce_dice",
    "method.criterion.dice.squared": True,
    "method.criterion.dice.batch": True,
    "method.criterion.dice.background": True,
    "method.criterion.dice.smooth": 1e-5,
    "method.criterion.ce_weight": 0.5,
    "method.criterion.dice_weight": 0.5,
}

# The 2D benchmark most methods of this field are compared on (Luo, SSL4MIS 2020). What differs from
# its code and has no field here:
# - biases and norms decay there as well;
# - labelled and unlabelled images are normalised together, here each kind by its own batch;
# - the critic of DAN steps after the segmenter;
# - the auxiliary decoders of CCT also learn from labels, and its target has a gradient;
# - the divergence of URPC is KL(mean || p_s);
# - entropy minimisation takes the entropy of labelled images, too;
# - the transformer of cross-teaching begins with the weights of ImageNet, and its Dice is squared;
# - ICT mixes one half of the unlabelled images with the other.
_SSL4MIS: Recipe = {
    "net": "unet",
    "net.widths": (16, 32, 64, 128, 256),
    "net.norm": "batch",
    "net.dropout": (0.05, 0.1, 0.2, 0.3, 0.5),
    "net.head": 3,
    "batch": 24,
    "steps": 30_000,
    "image_size": 256,
    "spacing": "stretch",  # its code scales every slice to 256 × 256
    "intensity": "slice",
    "draw_by": "images",
    "foreground": 0.0,
    "lr": 0.01,
    "optimiser": "sgd",
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "schedule": "poly",
    "warmup": 0.0,
    "clip": 0.0,
    **_CRITERION,
}
# Quirks of its code: the ramp ends with the training, statistics are not averaged, a teacher
# normalises by its batch and keeps its dropout, the student is evaluated, there is no strong view.
_SSL4MIS_SEMI: Recipe = {
    **_SSL4MIS,
    "method.decay": 0.99,
    "method.weight": 0.1,
    "method.ramp": 1.0,
    "method.statistics": "all",
    "method.average_state": False,
    "method.teacher_train": True,
    "method.evaluate": "student",
}
_SWIN_TINY: Recipe = {
    "method.other.features": 96,
    "method.other.heads": (3, 6, 12, 24),
    "method.other.window": 7,
    "method.other.drop_path": 0.2,
}
_WEAK: Recipe = {"method.student_view": "weak"}
# Their 0.1 is added to ACDC's slices in [0, 1], whose standard deviation is 0.146; ours to
# standardised ones.
_NOISY_TEACHER: Recipe = {**_WEAK, "method.noise": 0.1 / 0.146}

# Yu et al. 2019 on the left atrium: a V-Net on windows of 112 × 112 × 80, two labelled and two
# unlabelled, a tenth of the rate every 2500 of 6000 steps, quarter turns and mirrors, at the scan's
# own resolution. What differs:
# - their V-Net has no residual sums, drops channels at its coarsest and finest level (ours at the
#   two coarsest) and is evaluated over windows 18, 18 and 4 voxels apart (ours: half a window).
_LA: Recipe = {
    "net": "vnet",
    "net.kernel": 3,
    "net.activation": "relu",
    "net.norm": "batch",
    "net.dropout": 0.5,
    "image_size": 112,
    "depth": 80,
    "spacing": "native",
    "foreground": 0.0,
    "batch": 4,
    "steps": 6_000,
    "lr": 0.01,
    "optimiser": "sgd",
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "schedule": "step",
    "warmup": 0.0,
    "clip": 0.0,
    "augment.geometry.rotate_p": 0.0,
    "augment.geometry.exclusive": False,
    **_CRITERION,
    "method.criterion.dice.background": False,
}

# Bai et al. 2023: 10,000 steps of pre-training and 30,000 of self-training. Quirks: a constant
# rate, half of the pairs each way, the sum of both losses, a teacher that normalises by its batch,
# and the student is evaluated.
_BCP_ACDC: Recipe = {
    **_SSL4MIS,
    "steps": 40_000,
    "schedule": "constant",
    "method.pretrain": 0.25,
    "method.side": 2 / 3,
    "method.weight": 0.5,
    "method.decay": 0.99,
    "method.largest_component": True,
    "method.statistics": "all",
    "method.pairs": "halves",
    "method.total": "sum",
    "method.teacher_train": True,
    "method.evaluate": "student",
}

PRESETS: dict[str, dict[str, Recipe]] = {
    "ssl4mis": {
        "supervised": {**_SSL4MIS, "method.decay": 0.0},
        "mean_teacher": {**_SSL4MIS_SEMI, **_NOISY_TEACHER, "method.start": 1000 / 30_000},
        # their mean over four classes is twice ours
        "uamt": {
            **_SSL4MIS_SEMI,
            **_NOISY_TEACHER,
            "method.weight": 0.2,
            "method.largest_entropy": "binary",
        },
        "ict": _SSL4MIS_SEMI,
        # cross-entropy plus Dice, where their other scripts have half of the sum
        "fixmatch": {
            **_SSL4MIS_SEMI,
            "method.threshold": 0.8,
            "method.rejected": "background",
            "method.pixel_loss": "ce_dice",
            "method.least": 0.0,
            "method.criterion.ce_weight": 1.0,
            "method.criterion.dice_weight": 1.0,
        },
        "entropy_minimisation": _SSL4MIS_SEMI,
        "cps": _SSL4MIS_SEMI,
        "cross_teaching": {
            **_SSL4MIS_SEMI,
            "method.other": "swin_unet",
            **_SWIN_TINY,
            "batch": 16,
            "image_size": 224,
        },
        "urpc": _SSL4MIS_SEMI,
        "cct": _SSL4MIS_SEMI,
        "dan": {**_SSL4MIS_SEMI, "method.critic_width": 64},
    },
    "uamt-la": {
        "supervised": {**_LA, "method.decay": 0.0},
        "uamt": {
            **_LA,
            **_WEAK,
            "method.noise": 0.1,  # their volumes are standardised, too
            "method.decay": 0.99,
            "method.weight": 0.1,
            "method.ramp": 1.0,
            "method.statistics": "all",
            "method.average_state": False,
            "method.teacher_train": True,
            "method.evaluate": "student",
            "method.largest_entropy": "binary",
        },
    },
    "bcp-acdc": {"bcp": _BCP_ACDC},
    # Chi et al. 2024, on BCP: its recipe, 12 labelled and 12 unlabelled slices, with two students.
    # Quirks: those of `bcp-acdc`, and a Dice against the other network that a single pixel teaches.
    # Their strong view has other brightness and contrast, and half of the time a cut-out whose
    # pixels are labelled as background.
    "abd-acdc": {
        "abd": {
            **_BCP_ACDC,
            "method.cross": 1.0,
            "method.patches": 4,
            "method.candidates": 4,
            "method.nearest": 0.5,
            "method.least": 0.0,
        },
    },
    # Hu et al. 2025, on BCP with a smaller box. Quirks: those of `abd-acdc`. Their low frequencies
    # are from -30 to 29 periods, ours from -30 to 30.
    "beta-fft-acdc": {
        "beta_fft": {
            **_BCP_ACDC,
            "method.side": 0.6,
            "method.ramp": 1.0,
            "method.cross": 1.0,
            "method.least": 0.0,
            "method.share": 30 / 256,
            "method.exchange": "parts",
            "method.extra": 1.0,
            "method.interpolation": 0.5,
            "method.alpha": 0.1,
        },
    },
    # Song & Wang 2024, on BCP: 100 epochs of the labelled slices in batches of 12, then 400, i.e.
    # 1,100 + 4,400 steps with 7 patients (500 + 2,000 with 3: `--steps`), with Adam. Quirks: those
    # of `bcp-acdc`. Their second mix shows 12 other pairs; here each pair is pasted both ways.
    "sdcl-acdc": {
        "sdcl": {
            **_BCP_ACDC,
            "steps": 5_500,
            "optimiser": "adam",
            "lr": 1e-3,
            "weight_decay": 0.0,
            "method.other": "residual_unet",
            "method.other.widths": (16, 32, 64, 128, 256),
            "method.other.norm": "batch",
            "method.pretrain": 0.2,
            "method.correct": 0.5,
            "method.unsure": 0.05,
            "method.pairs": "both",
        },
    },
    # Liu et al. 2024: the ramp has 40 epochs of the labelled slices in batches of 12, i.e. 440 of
    # 50,000 steps with 7 patients (200 with 3). Quirks: a slice that is smaller than the window is
    # moved by at most one pixel (85 % of them by none), a single pixel teaches its class's Dice,
    # and the students are evaluated (the better one; here the first).
    "tracoco-acdc": {
        "tracoco": {
            **_SSL4MIS,
            "steps": 50_000,
            "lr": 0.065,
            "method.weight": 1.0,
            "method.ramp": 440 / 50_000,
            "method.threshold": 0.65,
            "method.negative_threshold": 0.1,
            "method.translation": 0.1,
            "method.entropy": 0.01,
            "method.shift": 1 / 256,
            "method.noise": 0.05 / 0.146,
            "method.cutmix": 1.0,
            "method.least": 0.0,
            "method.statistics": "all",
            "method.evaluate": "student",
        },
    },
    # Yang et al. 2023: 300 epochs of the unlabelled slices in batches of 12, i.e. 30,900 steps with
    # 3 patients (29,400 with 7: `--steps`). Their loss is half of ours: half the rate and twice the
    # decay are the same descent. Quirks: Dice of confident pixels as the pixel loss, no ramp, the
    # student is evaluated; both strong views are jitter and blur.
    "unimatch-acdc": {
        "unimatch": {
            **_SSL4MIS,
            "steps": 30_900,
            "lr": 0.005,
            "weight_decay": 2e-4,
            "method.threshold": 0.95,
            "method.weight": 1.0,
            "method.ramp": 0.0,
            "method.strong_weight": 0.25,
            "method.feature_weight": 0.5,
            "method.drop": 0.5,
            "method.statistics": "all",
            "method.jitter": 0.8,
            "method.blur": 0.5,
            "method.cutmix": 0.5,
            "method.pixel_loss": "dice",
            "method.least": 0.0,
            "method.student_view": "jitter",
            "method.evaluate": "student",
        },
    },
    # Zhao et al. 2024: what is a share of the steps in the defaults is its code's number at 30,000.
    # Quirks: one threshold for all classes, no supervised start, a Dice that a single accepted
    # pixel teaches, and the student is evaluated.
    "admt-acdc": {
        "ad_mt": {
            **_SSL4MIS,
            "method.weight": 2.0,
            "method.ramp": 0.25,
            "method.decay": 0.99,
            "method.period": 50,
            "method.start": 0.0,
            "method.threshold": 0.95,
            "method.quantile": 1.0,
            "method.cutmix": 1.0,
            "method.statistics": "all",
            "method.jitter": 0.8,
            "method.blur": 0.2,
            "method.least": 0.0,
            "method.evaluate": "student",
        },
    },
}


def preset(name: str, method: str = "supervised") -> Trial:
    """The trial of a published recipe; a recipe of one method needs no second word.

    Raises:
      UserError: there is no such preset, or it has no such method.

    >>> preset("ssl4mis", "mean_teacher").steps
    30000
    """
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}{nearest(name, PRESETS)}", field="preset")
    method = _method_of(name, method)
    if method not in PRESETS[name]:
        methods = ", ".join(PRESETS[name])
        raise UserError(f"preset {name!r} has no {method!r}: it has {methods}", field="method")
    start = dataclasses.replace(Trial(), augment=ssl4mis())
    return override(start, {"method": method, **PRESETS[name][method]})


@contextlib.contextmanager
def naming_preset(name: str | None, method: str, given: Iterable[str]) -> Iterator[None]:
    """Add to an error about a field that the preset has set, and not the user, that it has.

    Args:
      name: of the preset; None for none.
      method: the name of the method.
      given: dotted names of the fields that the user has set.
    """
    try:
        yield
    except UserError as error:
        if not isinstance(name, str) or name not in PRESETS:
            raise
        field = error.field
        recipe = PRESETS[name].get(_method_of(name, method), {})
        overridden = {key.replace("-", "_") for key in given} - {"method"}
        # --net NAME drops all that the recipe has set of the network
        if field not in recipe or overridden & {field, field.partition(".")[0]}:
            raise
        value = _as_flag(recipe[field])
        raise UserError(
            str(error),
            remedy=f"the preset {name} sets {field} = {value}: give --{field} as well",
            field=field,
        ) from None


def _method_of(name: str, method: str) -> str:
    """The method that is meant: a preset of one method needs no second word."""
    if len(PRESETS[name]) == 1 and method == "supervised":
        return next(iter(PRESETS[name]))
    return method


def _as_flag(value: Any) -> str:
    """A value as one writes it after a flag.

    >>> _as_flag((0.1, 0.2)), _as_flag(0.9)
    ('0.1,0.2', '0.9')
    """
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
