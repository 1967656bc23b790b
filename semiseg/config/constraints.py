"""What a trial may be: each field within the range it declares, and fields that fit together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from semiseg.config.choices import name_of
from semiseg.config.trial import Trial
from semiseg.data.rotating import bytes_of
from semiseg.errors import UserError
from semiseg.fields import check_fields
from semiseg.pretrain import Weights

SYNTHETIC = ("synthetic_schedule", "synthetic_weight", "synthetic_as", "synthetic_softness")
"""Fields that mean nothing without a synthetic set."""


def check(trial: Trial, where: str = "") -> Trial:
    """``trial``, if its values make sense.

    Args:
      trial: the trial.
      where: what a message starts with, e.g. a file.

    Raises:
      UserError: naming the field and its range.
    """
    check_fields(trial, where=where)
    if trial.slices % 2 == 0:
        what = f"slices is {trial.slices}: it must be odd, so that one is in the middle"
        raise UserError(what, where=where, field="slices")
    if trial.init == Weights():
        what = (
            "init.path is empty: name a run's folder or a .safetensors file, as in "
            "--init runs/first"
        )
        raise UserError(what, where=where, field="init.path")
    if trial.batch < 2 and trial.method.uses_unlabelled:
        what = (
            f"batch is 1: {name_of('method', trial.method)} needs at least one labelled and one "
            f"unlabelled image"
        )
        raise UserError(what, where=where, field="batch")
    check_fold(trial.folds, trial.fold, where)
    if trial.pool_memory is not None:
        bytes_of(trial.pool_memory, where)
    return trial


def check_fold(folds: int, fold: int, where: str = "") -> None:
    """Refuse a number of folds, or of a fold, that there is not.

    Raises:
      UserError: naming the field and its range.

    >>> check_fold(folds=5, fold=5)
    Traceback (most recent call last):
    ...
    semiseg.errors.UserError: fold is 5: 5 folds have the numbers 0 to 4
    """
    if folds == 1:
        what = "folds is 1: give 2 or more, or 0 for the val split of the data set"
        raise UserError(what, where=where, field="folds")
    if not folds and fold:
        what = f"fold is {fold}, but folds is 0: give their number, too, as in --folds 5"
        raise UserError(what, where=where, field="fold")
    if folds and fold >= folds:
        what = f"fold is {fold}: {folds} folds have the numbers 0 to {folds - 1}"
        raise UserError(what, where=where, field="fold")


def check_volumes(trial: Trial, where: str = "") -> None:
    """Refuse what a trial's networks cannot see together, or a 3D one at all.

    Raises:
      UserError: naming the field and a value that fits.
    """
    net = name_of("net", trial.net)
    dims = trial.net.dims
    for other in trial.method.architectures(trial.net):
        if other.dims != dims:
            what = (
                f"method.other is a {other.dims}D network and {net} a {dims}D one: set "
                f"--method.other.dims {dims}"
            )
            raise UserError(what, where=where, field="method.other")
    if dims == 2:
        return
    if trial.slices > 1:
        what = (
            f"slices is {trial.slices}, but {net} is 3D and takes volumes: set --slices 1, or "
            f"choose a 2D network (--net.dims 2)"
        )
        raise UserError(what, where=where, field="slices")
    sides = zip(
        ("depth", "image_size", "image_size"),
        trial.frame.window,
        _blocks(trial.net.block, dims),
        strict=True,
    )
    for field, side, block in sides:
        if side % block:
            what = (
                f"{field} is {side}: {net} takes multiples of {block}; set one, or give the "
                f"network fewer levels"
            )
            raise UserError(what, where=where, field=field)


def check_pseudo(trial: Trial, where: str = "") -> None:
    """Refuse masks from elsewhere that the trial cannot have, and settings of none.

    Raises:
      UserError: naming the field and what it needs.
    """
    if trial.pseudo is not None and trial.pool_memory is not None:
        what = (
            f"pseudo is {trial.pseudo} and pool_memory {trial.pool_memory}: masks from elsewhere "
            f"need all scans on the device; leave --pool-memory out"
        )
        raise UserError(what, where=where, field="pseudo")
    for field in dataclasses.fields(Trial):
        value = getattr(trial, field.name)
        unused = field.name.startswith("pseudo_") and value != field.default
        if trial.pseudo is None and unused:
            what = f"{field.name} is {value}, but there are no masks: give --pseudo DIR"
            raise UserError(what, where=where, field=field.name)


def check_synthetic(trial: Trial, where: str = "") -> None:
    """Refuse a mix of synthetic images that the trial cannot have.

    Raises:
      UserError: naming the field and what it needs.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(Trial)}
    for name in SYNTHETIC:
        value = getattr(trial, name)
        if trial.synthetic is None and value != defaults[name]:
            what = (
                f"{name} is {value}, but there is no synthetic set: give --synthetic NAME (an "
                f"imported one) and --ratio"
            )
            raise UserError(what, where=where, field=name)
    if trial.synthetic_as == "unlabelled" and not trial.method.uses_unlabelled:
        what = (
            f"synthetic_as is unlabelled, but {name_of('method', trial.method)} uses no unlabelled "
            f"images: choose labelled or soft, or another method"
        )
        raise UserError(what, where=where, field="synthetic_as")


def _blocks(block: int | Sequence[int], dims: int) -> Sequence[int]:
    """What the sides of an image must be multiples of, one an axis."""
    return (block,) * dims if isinstance(block, int) else block
