"""From what is in a data set to a network and a batch that fit it and a memory budget: the rules of
nnU-Net, written down.

``semiseg data describe NAME --plan FILE [--dims 3]`` writes the plan of :func:`plan` as a YAML file
that ``semiseg train --config FILE`` takes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from semiseg.data.frame import FIT, NATIVE, STRETCH
from semiseg.nets.network import block_sizes
from semiseg.nets.resenc_unet import ResEncUNet
from semiseg.nets.sizing import LEAST, Encoder, memory, network


@dataclasses.dataclass(frozen=True)
class Plan:
    """What :func:`plan` decided, and why.

    Attributes:
      patch: size of the network's input along each axis, pixels.
      pool: median size of the images as a network sees them, pixels.
      spacing: of their pixels: millimetres, one number an axis, ``fit`` or ``native``.
      intensity: rule by which numbers become grey values.
      batch: images a step.
      net: the network.
      batch_dice: whether Dice is taken over the batch, because some class is missing in many
        images.
      mirrors: whether images are mirrored and turned by right angles, because no two classes lie in
        one direction in nearly all subjects.
      memory: estimate of a training step's, GB.
      reasons: one line a decision.
    """

    patch: tuple[int, ...]
    pool: tuple[int, ...]
    spacing: str
    intensity: str
    batch: int
    net: ResEncUNet
    batch_dice: bool
    mirrors: bool
    memory: float
    reasons: tuple[str, ...]


# ------------------------------------------------------------------ the plan
class _Facts(NamedTuple):
    """What the plan needs of a fingerprint.

    Attributes:
      size: median size of the images along each axis, in pixels that the network sees.
      sides: of such a pixel, along each axis.
      spacing: of them, as the frame has it.
      spacing_reason: why.
      unit: of the sides.
      records: images (volumes) of the training split.
      presence: share of the images that each class is in.
      one_way: pairs of classes that lie in one direction in nearly all subjects.
      channels: of the images.
      classes: their number.
    """

    size: list[float]
    sides: list[float]
    spacing: str
    spacing_reason: str
    unit: str
    records: int
    presence: Mapping[str, float]
    one_way: Mapping[str, Any]
    channels: int
    classes: int

    @property
    def noun(self) -> str:
        """``images`` or ``volumes``."""
        return "images" if len(self.size) == 2 else "volumes"

    @property
    def pixels(self) -> str:
        """``pixels`` or ``voxels``."""
        return "pixels" if len(self.size) == 2 else "voxels"


def plan(
    fingerprint: Mapping[str, Any],
    memory_gb: float = 8.0,
    *,
    width: int = 32,
    encoder: Encoder = "residual",
    dims: int = 2,
) -> Plan:
    """Patch, network and batch for a data set.

    Images get the spacing that the frame decides for the set. The patch holds the median image
    if that fits with two images in a batch: as many pixels more as the network's strides need.
    Else the depth or the plane, whichever has shrunk less, shrinks until it does. What memory is
    left goes to the batch, up to 5 % of the training split's pixels.

    Args:
      fingerprint: what ``semiseg.data.describe.describe`` returns; its training split must be
        there.
      memory_gb: what a training step may take, GB.
      width: channels of the finest stage; nnU-Net's 32. Less for a CPU.
      encoder: ``residual`` or ``plain``.
      dims: 2 for pictures and the slices of volumes, 3 for volumes.

    Raises:
      ValueError: no training split, no volumes, stretched images, or a budget that no patch fits.

    Example:
      >>> train = {"spacing_median": [1.0, 1.0], "class_presence": {"nucleus": 0.99}}
      >>> seen = {"spacing": "fit", "spacing_reason": "", "size_median": [60, 64]}
      >>> fingerprint = {
      ...     "classes": ["background", "nucleus"],
      ...     "channels": 3,
      ...     "counts": {"train": {"images": 400}},
      ...     "splits": {"train": train},
      ...     "frame": {"2d": seen, "intensity": "zscore", "intensity_reason": ""},
      ... }
      >>> decided = plan(fingerprint, memory_gb=2.0, width=16)
      >>> decided.patch, decided.batch, decided.net.widths
      ((64, 64), 20, (16, 32, 64, 128))
      >>> print(decided.reasons[3])
      patch: 64×64, the whole image
    """
    facts = _facts(fingerprint, dims)
    pool = tuple(max(1, round(pixels)) for pixels in facts.size)
    if facts.spacing == FIT:
        pool = _at_least_the_window(pool, facts, width, encoder)
    patch, net = _largest_patch(pool, facts, memory_gb, width, encoder)
    frame = fingerprint["frame"]

    empty = memory(net, patch, 0, facts.channels, facts.classes)
    image = memory(net, patch, 1, facts.channels, facts.classes) - empty
    room = int((memory_gb - empty) // image)
    share = int(0.05 * facts.records * max(1.0, math.prod(pool) / math.prod(patch)))
    batch = max(2, min(room, share, 64))

    rare = {name: part for name, part in facts.presence.items() if part < 0.9}
    reasons = (
        _data_reason(facts),
        _spacing_reason(facts),
        f"intensity: {frame['intensity']}; {frame['intensity_reason']}",
        _patch_reason(patch, pool),
        _depth_reason(net),
        _batch_reason(batch, room, share, facts),
        _dice_reason(rare),
        _mirrors_reason(facts.one_way),
        "normalisation: instance norm, since a batch is small",
        "labels: class shares and directions were counted over every annotated training subject; "
        "in a study of fewer labels, give the same network, loss and mirrors to all methods",
    )
    return Plan(
        patch=patch,
        pool=pool,
        spacing=facts.spacing,
        intensity=frame["intensity"],
        batch=batch,
        net=net,
        batch_dice=bool(rare),
        mirrors=not facts.one_way,
        memory=memory(net, patch, batch, facts.channels, facts.classes),
        reasons=reasons,
    )


def _facts(fingerprint: Mapping[str, Any], dims: int) -> _Facts:
    """What the plan needs of a fingerprint, of its slices or (``dims`` 3) of their volumes."""
    if "train" not in fingerprint.get("splits", {}):
        raise ValueError("plan: the data set has no training split to plan for")
    train = fingerprint["splits"]["train"]
    counts = fingerprint["counts"]["train"]
    seen = fingerprint["frame"][f"{dims}d"]
    if seen is None:
        raise ValueError("plan: the set has 2D images, which make no volumes; plan for 2D")
    if seen["spacing"] == STRETCH:
        raise ValueError("plan: stretched images are not planned for; leave --spacing out")
    records = counts["images"]
    presence = train.get("class_presence", {})
    if dims == 3:
        # how often a class is present is known of slices, not of volumes
        records = counts["volumes"]
        presence = {}
    sides = train["spacing_median"][-dims:]
    if seen["spacing"] not in (FIT, NATIVE):
        sides = [float(side) for side in seen["spacing"].split()]
    return _Facts(
        size=seen["size_median"],
        sides=sides,
        spacing=seen["spacing"],
        spacing_reason=seen["spacing_reason"],
        unit=fingerprint.get("unit", "voxel"),
        records=records,
        presence=presence,
        one_way=train.get("one_way", {}),
        channels=fingerprint["channels"],
        classes=len(fingerprint["classes"]),
    )


def _fit(
    size: Sequence[int],
    facts: _Facts,
    width: int,
    encoder: Encoder,
) -> tuple[tuple[int, ...], ResEncUNet]:
    """The network for a size, and the size with what the network's strides lack (nnU-Net)."""
    net = network(size, facts.sides, width=width, encoder=encoder)
    fitting = []
    for pixels, block in zip(size, block_sizes(net), strict=True):
        fitting.append(block * math.ceil(pixels / block))
    return tuple(fitting), net


def _at_least_the_window(
    size: tuple[int, ...],
    facts: _Facts,
    width: int,
    encoder: Encoder,
) -> tuple[int, ...]:
    """A size scaled up until its longest side is that of the window's rows: no trial has a zoom
    below 1.
    """
    patch, _ = _fit(size, facts, width, encoder)
    while max(size[-2:]) < patch[-2]:
        scale = patch[-2] / max(size[-2:])
        size = (*size[:-2], *(round(pixels * scale) for pixels in size[-2:]))
        patch, _ = _fit(size, facts, width, encoder)
    return size


def _largest_patch(
    median: Sequence[int],
    facts: _Facts,
    memory_gb: float,
    width: int,
    encoder: Encoder,
) -> tuple[tuple[int, ...], ResEncUNet]:
    """The largest patch of which two fit the memory, and its network."""
    size = list(median)
    patch, net = _fit(size, facts, width, encoder)
    while memory(net, patch, 2, facts.channels, facts.classes) > memory_gb:
        for axis in _axes_to_shrink(size, median):
            size[axis] = math.floor(size[axis] * 0.9)
        if min(size[-2:]) < 2 * LEAST:
            raise ValueError(
                f"plan: {memory_gb:g} GB hold no patch of a network of width {width}; give more "
                f"--memory or a smaller --width"
            )
        patch, net = _fit(size, facts, width, encoder)
    return patch, net


def _axes_to_shrink(size: Sequence[int], median: Sequence[int]) -> tuple[int, ...]:
    """The depth of a volume if it has shrunk less than the plane, else the plane."""
    if len(size) == 2:
        return (0, 1)
    if size[0] > LEAST and size[0] / median[0] > size[1] / median[1]:
        return (0,)
    return (1, 2)


# ------------------------------------------------------------------ its reasons, a sentence each
def _times(numbers: Sequence[float], sign: str = "×") -> str:
    """``64×128``."""
    return sign.join(f"{number:g}" for number in numbers)


def _data_reason(facts: _Facts) -> str:
    return (
        f"{facts.noun}: {_times(facts.size)} {facts.pixels} in the median as the network sees "
        f"them, {facts.records} of them"
    )


def _spacing_reason(facts: _Facts) -> str:
    unit = ""
    if facts.spacing not in (FIT, NATIVE):
        unit = f" {facts.unit}"
    return f"spacing: {facts.spacing.replace(' ', ' × ')}{unit}; {facts.spacing_reason}"


def _patch_reason(patch: tuple[int, ...], pool: tuple[int, ...]) -> str:
    if all(window >= pixels for window, pixels in zip(patch, pool, strict=True)):
        return f"patch: {_times(patch)}, the whole image"
    return f"patch: {_times(patch)} of {_times(pool)}: what fits the memory"


def _depth_reason(net: ResEncUNet) -> str:
    reason = f"depth: {len(net.widths)} stages leave at least {LEAST} pixels a side"
    if net.flat:
        reason += f"; {net.flat} do not look across thick slices"
    return reason


def _batch_reason(batch: int, room: int, share: int, facts: _Facts) -> str:
    bounds = {
        2: "the smallest that trains",
        64: "the largest that is worth it",
        share: f"5 % of the {facts.pixels} of {facts.records} training {facts.noun}, labelled or "
        f"not",
        room: "all that the memory holds",
    }
    holds = ""
    if batch != room:
        holds = f" (the memory holds {max(room, 2)})"
    return (
        f"batch: {batch}; {bounds[batch]}{holds}; a semi-supervised method fills half of it with "
        f"unlabelled {facts.noun}"
    )


def _dice_reason(rare: Mapping[str, float]) -> str:
    if not rare:
        return "Dice loss of each image by itself"
    shares = [f"{name} is in {part:.0%} of the images" for name, part in rare.items()]
    return "Dice over the batch: " + ", ".join(shares)


def _mirrors_reason(one_way: Mapping[str, Any]) -> str:
    if not one_way:
        return "mirrors and quarter turns: no two classes lie one way in nearly all subjects"
    pair, direction = next(iter(one_way.items()))
    return (
        f"no mirrors and quarter turns: {pair.replace(', ', ' and ')} lie one way in nearly all "
        f"subjects (mean direction {direction['r']:.2f} of 1)"
    )


# ------------------------------------------------------------------ as a configuration
def trial(decided: Plan, name: str) -> dict[str, Any]:
    """The fields of a :class:`semiseg.config.Trial` that carry out a plan for a data set.

    >>> net = ResEncUNet((8, 16), (1, 1))
    >>> decided = Plan((64, 96), (100, 128), "fit", "zscore", 8, net, True, True, 0.5, ())
    >>> fields = trial(decided, "nuclei")
    >>> fields["image_size"], fields["width"], fields["zoom"], fields["net"]["widths"]
    (64, 96, 2.0, [8, 16])
    """
    fields: dict[str, Any] = {"data": name, "spacing": decided.spacing}
    if decided.spacing == FIT:
        fields["zoom"] = max(1.0, round(max(decided.pool[-2:]) / decided.patch[-2], 4))
    fields["intensity"] = decided.intensity
    fields["image_size"] = decided.patch[-2]
    fields["width"] = decided.patch[-1]
    if len(decided.patch) == 3:
        fields["depth"] = decided.patch[0]
    fields["batch"] = decided.batch
    fields["method"] = {"criterion": {"dice": {"batch": decided.batch_dice}}}
    if not decided.mirrors:
        fields["augment"] = {"geometry": {"flip": 0.0, "rot90": 0.0}}
    fields["net"] = {"name": "resenc_unet"}
    for field in dataclasses.fields(decided.net):
        value = getattr(decided.net, field.name)
        if isinstance(value, tuple):
            value = list(value)
        fields["net"][field.name] = value
    return fields


def to_yaml(decided: Plan, name: str) -> str:
    """:func:`trial` as YAML, each decision a comment.

    >>> net = ResEncUNet((8, 16), (1, 1))
    >>> reasons = ("Dice of each image",)
    >>> decided = Plan((64, 64), (64, 64), "1 1", "ct", 8, net, True, True, 0.5, reasons)
    >>> print(to_yaml(decided, "nuclei").splitlines()[1])
    # Dice of each image
    """
    title = (
        f"Plan for {name}, about {decided.memory:.1f} GB a training step. Run it: semiseg train "
        f"--config THIS --out RUN"
    )
    comments = "".join(f"# {line}\n" for line in (title, *decided.reasons))
    fields = yaml.safe_dump(trial(decided, name), sort_keys=False, default_flow_style=None)
    return comments + fields
