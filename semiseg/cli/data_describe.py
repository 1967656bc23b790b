"""``semiseg data describe``: what a data set holds, and what a network sees of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import tyro

from semiseg.cli.arguments import write_json, write_output
from semiseg.data import store
from semiseg.errors import UserError


@dataclasses.dataclass(frozen=True)
class Describe:
    """Counts, sizes, intensities and class frequencies of a data set, what a network sees of it,
    and the network that fits.
    """

    name: tyro.conf.Positional[str]
    """An imported data set."""
    root: Path | None = None
    """Where data sets live; default: SEMISEG_DATA, else the user's cache folder."""
    plan: Path | None = None
    """Also write a network, patch and batch for this set to this YAML file, for `semiseg train
    --config` …
    """
    memory: float = 8.0
    """… whose training step takes at most this much memory, GB …"""
    width: int = 32
    """… with so many channels in its finest stage (nnU-Net: 32; fewer for a CPU) …"""
    encoder: Literal["residual", "plain"] = "residual"
    """… and this encoder …"""
    dims: Literal[2, 3] = 2
    """… for slices, or for the volumes they make."""
    spacing: str = "auto"
    """As `train --spacing`: what the network sees as one pixel."""
    intensity: str = "auto"
    """As `train --intensity`: which numbers become black and white."""
    folds: int = 0
    """Also say what each of so many folds of a cross-validation holds out (`train --folds`)."""
    labels: int = 0
    """Also compare the labelled subjects of `train --labels` with the rest: poses, sizes, grey
    values …
    """
    label_subset: int = 0
    """… of this label subset."""
    preview: Path | None = None
    """Also draw what a network sees of the smallest, the middle and the largest training scan, to
    this PNG …
    """
    image_size: int | None = None
    """… through windows of this size, pixels, to which a fitted spacing scales; default: the plan's
    with --plan, else train's …
    """
    depth: int | None = None
    """… and, with --dims 3, of so many slices."""
    json: Path | None = None
    """Also write it to this file."""


def run_describe(args: Describe) -> int:
    from semiseg import config
    from semiseg.data import describe

    if args.folds:
        config.check_fold(args.folds, 0)
    given = {"image_size": args.image_size, "depth": args.depth}
    given = {name: number for name, number in given.items() if number is not None}
    image_size: int | None = config.override(config.Trial(), given).image_size
    if args.plan and args.image_size is None:
        image_size = None  # the plan is for slices as they are
    facts = describe.describe(
        args.name,
        args.root,
        spacing=args.spacing,
        intensity=args.intensity,
        image_size=image_size,
        folds=args.folds,
        labels=args.labels,
        label_subset=args.label_subset,
    )
    print(describe.table(facts))
    write_json(args.json, facts)
    planned = None
    if args.plan:
        planned, text = _plan(args, facts)
        _write_plan(args.plan, text)
        comments = [line[2:] for line in text.splitlines() if line.startswith("# ")]
        print("\n" + "\n".join(comments))
    if args.preview:
        _preview(args, args.preview, planned)
        print(f"\npreview: {args.preview}")
    return 0


def _plan(args: Describe, facts: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The fields of a trial with a network that fits the set, and its YAML with the reasons."""
    from semiseg import plan

    try:
        planned = plan.plan(
            facts, args.memory, width=args.width, encoder=args.encoder, dims=args.dims
        )
        return plan.trial(planned, args.name), plan.to_yaml(planned, args.name)
    except ValueError as error:
        raise UserError(str(error)) from None


def _preview(args: Describe, file: Path, planned: dict[str, Any] | None) -> None:
    """Draw the scans through the frame of the flags, else of the plan, else of ``train``."""
    from semiseg import config
    from semiseg.data.preview import preview

    info = store.info(args.name, args.root)
    if not info.number("train"):
        raise UserError(f"data set {args.name!r} has no training split to draw")
    trial = config.Trial(spacing=args.spacing, intensity=args.intensity)
    if planned is not None:
        trial = config.override(trial, planned, "--plan")
    depth = 0
    if args.dims == 3:
        depth = args.depth or trial.depth
    frame = dataclasses.replace(trial.frame, depth=depth)
    if args.image_size is not None:
        frame = dataclasses.replace(frame, image_size=args.image_size, width=0)
    preview(info, store.read_split(args.name, "train", args.root), frame, file)


def _write_plan(path: Path, text: str) -> None:
    try:
        write_output(path, text)
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", where=path, remedy="choose another --plan"
        ) from error
