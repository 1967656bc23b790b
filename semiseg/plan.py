"""From what is in a data set to a network and a batch that fit it and a memory budget: the rules of
nnU-Net, written down.

``semiseg data describe NAME --plan FILE [--dims 3]`` writes the plan of :func:`plan` as a YAML file
that ``semiseg train --config FILE`` takes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from semiseg.nets.resenc_unet import ResEncUNet

LEAST = 4
"""Side of the coarsest feature map, pixels (Isensee et al. 2021, supplementary note 2)."""

BLOCKS = (1, 3, 4, 6, 6, 6, 6, 6)
"""Residual blocks of each stage (Isensee et al. 2024)."""

KEPT = 3.0
"""Arrays of a convolution's output size that a training step holds at once: its input, output and a
gradient. Measured with XLA's own account (``memory_analysis``) of a training step on a CPU: 2.0 to
2.5 for 2D networks of five and six stages at 64² and 128².
"""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What :func:`plan` decided, and why.

    Attributes:
      patch: size of the network's input along each axis.
      pool: size that images are scaled to.
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
    batch: int
    net: ResEncUNet
    batch_dice: bool
    mirrors: bool
    memory: float
    reasons: tuple[str, ...]


def topology(size: Sequence[int], spacing: Sequence[float]) -> tuple[int, int]:
    """(stages, flat stages) of a network for images of ``size`` pixels with ``spacing``, the thick
    axis of a volume first.

    Stages: as many as leave :data:`LEAST` pixels along the shortest axis of the plane. A volume's
    first axis is left alone by the finest ``flat`` stages: as long as its spacing is more than
    twice the plane's, and where it is too short to be halved as often.
    """
    plane = size[-2:]
    stages = 1 + max(0, math.floor(math.log2(min(plane) / LEAST)))
    if len(size) == 2:
        return stages, 0
    thick = spacing[0] / min(spacing[-2:])
    by_spacing = math.ceil(math.log2(thick)) - 1 if thick > 2 else 0
    by_size = stages - 1 - max(0, math.floor(math.log2(size[0] / LEAST)))
    return stages, min(max(by_spacing, by_size, 0), stages - 1)


def network(
    patch: Sequence[int], spacing: Sequence[float], *, width: int = 32, encoder: str = "residual"
) -> ResEncUNet:
    """nnU-Net's network for a patch: widths doubling from ``width`` up to 512 (volumes: 320) times
    ``width / 32``.
    """
    stages, flat = topology(patch, spacing)
    top = width * (16 if len(patch) == 2 else 10)
    widths = tuple(min(width * 2**i, top) for i in range(stages))
    blocks = tuple(BLOCKS[min(i, 7)] for i in range(stages)) if encoder == "residual" else 2
    convs = 1 if encoder == "residual" else 2
    return ResEncUNet(widths, blocks, convs, encoder, flat, True, dims=len(patch))  # type: ignore[arg-type]


def activations(net: ResEncUNet, patch: Sequence[int]) -> int:
    """Numbers in the outputs of all convolutions for one image."""
    total, pixels = 0, math.prod(patch)
    for i, (width, count) in enumerate(zip(net.widths, net.counts())):
        if i:
            pixels //= 2 ** (net.dims - (1 if i <= net.flat else 0))
        layers = count if net.encoder == "plain" else 2 * count + 1  # the projection, or the stem
        up = net.convs + 1 if i < len(net.widths) - 1 else 0
        total += pixels * width * (layers + up)
    return total


def parameters(net: ResEncUNet, channels: int, classes: int) -> int:
    """Number of weights, without those of norms."""
    total, previous = 0, channels
    k = lambda i: 3**net.dims // (3 if i < net.flat else 1)
    for i, (width, count) in enumerate(zip(net.widths, net.counts())):
        if net.encoder == "residual":
            total += k(i) * width * (
                (channels if i == 0 else previous) + (2 * count - (1 if i else 0)) * width
            ) + (previous * width if i else 0)
        else:
            total += k(i) * width * (previous + (count - 1) * width)
        if i:
            low = net.widths[i - 1]
            total += 2 ** (net.dims - (1 if i <= net.flat else 0)) * width * low + k(
                i - 1
            ) * low * (2 * low + (net.convs - 1) * low)
        previous = width
    return total + net.widths[0] * classes


def memory(net: ResEncUNet, patch: Sequence[int], batch: int, channels: int, classes: int) -> float:
    """Estimate of a training step's memory in GB: activations, and weights with their gradient, two
    moments and an average, float32.
    """
    return (
        4 * (KEPT * batch * activations(net, patch) + 5 * parameters(net, channels, classes)) / 1e9
    )


def plan(
    fingerprint: Mapping[str, Any],
    memory_gb: float = 8.0,
    *,
    width: int = 32,
    encoder: str = "residual",
    dims: int = 2,
) -> Plan:
    """Patch, network and batch for a data set.

    Args:
      fingerprint: what ``semiseg.data.describe.describe`` returns; its training split must be
        there.
      memory_gb: what a training step may take.
      width: channels of the finest stage; nnU-Net's 32. Less for a CPU.
      encoder: ``residual`` or ``plain``.
      dims: 3 for the volumes that the set's slices make, 2 for the slices; of no effect on volumes
        that are stored whole.

    Images keep their median size. The patch is all of it if that fits with two images in a batch,
    else the depth or the plane, whichever has shrunk less, shrinks until it does. What memory is
    left goes to the batch, up to 5 % of the training split's pixels.

    Raises:
      ValueError: no training split, no volumes, or a budget that no patch fits.
    """
    if "train" not in fingerprint.get("splits", {}):
        raise ValueError("plan: the data set has no training split to plan for")
    seen, records = fingerprint["splits"]["train"], fingerprint["counts"]["train"]["records"]
    channels, classes = fingerprint["channels"], len(fingerprint["classes"])
    sizes, spacing, presence = (
        list(seen["size_median"]),
        list(seen["spacing_median"]),
        seen.get("class_presence", {}),
    )
    if dims == 3 and len(sizes) == 2:
        if not seen.get("slices_median"):
            raise ValueError("plan: the set has 2D images, which make no volumes; plan for 2D")
        sizes, records, presence = (
            [seen["slices_median"], *sizes],
            fingerprint["counts"]["train"]["volumes"],
            {},
        )  # presence is that in slices
    median = [
        *map(round, sizes[:-2]),
        *[max(map(round, sizes[-2:]))] * 2,
    ]  # the frame is square: the longer side keeps its resolution
    reasons = [f"{'images' if len(median) == 2 else 'volumes'}: " f"{'×'.join(f'{n:g}' for n in sizes)} in " f"the median, "
               f"spacing {' × '.join(f'{s:g}' for s in spacing)} {fingerprint.get('unit', 'voxel')}, {records} of them"]  # fmt: skip

    def fit(size: Sequence[int]) -> tuple[tuple[int, ...], ResEncUNet]:
        net = network(size, spacing, width=width, encoder=encoder)
        blocks = (net.block,) * net.dims if isinstance(net.block, int) else net.block
        return tuple(max(b, b * round(n / b)) for n, b in zip(size, blocks)), net

    pool, net = fit(median)
    patch, size = pool, list(median)
    while memory(net, patch, 2, channels, classes) > memory_gb:
        deep = len(size) == 3 and size[0] > LEAST and size[0] / median[0] > size[1] / median[1]
        for axis in [0] if deep else range(len(size) - 2, len(size)):
            size[axis] = math.floor(size[axis] * 0.9)
        if min(size[-2:]) < 2 * LEAST:
            raise ValueError(
                f"plan: {memory_gb:g} GB hold no patch of a network of width {width}; give more "
                f"--memory or a smaller --width"
            )
        patch, net = fit(size)
    pool = tuple(
        map(max, pool, patch)
    )  # with coarser stages gone, a size is rounded to a finer multiple
    one = memory(net, patch, 1, channels, classes) - memory(net, patch, 0, channels, classes)
    room = int((memory_gb - memory(net, patch, 0, channels, classes)) // one)
    share = int(0.05 * records * math.prod(pool) / math.prod(patch))
    batch = max(2, min(room, share, 64))
    whole = patch == pool
    reasons.append(
        f"patch: {'×'.join(map(str, patch))}, "
        + (
            "the whole image"
            if whole
            else f"of images scaled to {'×'.join(map(str, pool))}: what fits"
        )
    )
    reasons.append(
        f"depth: {len(net.widths)} stages leave at least {LEAST} pixels"
        + (f"; {net.flat} do not look across thick slices" if net.flat else "")
    )
    what = "images" if len(median) == 2 else "volumes"
    why = {
        2: "the least",
        64: "the most",
        share: f"5 % of the pixels of {records} training {what}, labelled or not",
        room: "all that the memory holds",
    }
    holds = "" if batch == room else f" (the memory holds {max(room, 2)})"
    reasons.append(
        f"batch: {batch}; {why[batch]}{holds}; a semi-supervised method fills half of it with "
        f"unlabelled {what}"
    )
    rare = {name: p for name, p in presence.items() if p < 0.9}
    reasons.append(
        "Dice over the batch: "
        + ", ".join(f"{n} is in {p:.0%} of the images" for n, p in rare.items())
        if rare
        else "Dice of each image"
    )
    ways = seen.get("one_way", {})
    lies = [
        (
            f"{pair.replace(', ', ' and ')} lie one way in nearly all subjects (mean direction "
            f"{way['r']:.2f} of 1)"
        )
        for pair, way in ways.items()
    ]
    reasons.append(
        f"no mirrors and quarter turns: {lies[0]}"
        if lies
        else "mirrors and quarter turns: no two classes lie one way in nearly all subjects"
    )
    reasons.append(
        "normalisation: instance norm, since a batch is small; every image is standardised by "
        "its own mean and deviation"
    )
    return Plan(
        patch,
        pool,
        batch,
        net,
        bool(rare),
        not ways,
        memory(net, patch, batch, channels, classes),
        tuple(reasons),
    )


def trial(decided: Plan, name: str) -> dict[str, Any]:
    """The fields of a :class:`semiseg.config.Trial` that carry out a plan."""
    net = {f.name: getattr(decided.net, f.name) for f in dataclasses.fields(decided.net)}
    depth = (
        {"depth": decided.patch[0], "depth_zoom": round(decided.pool[0] / decided.patch[0], 4)}
        if len(decided.patch) == 3
        else {}
    )
    return {
        "data": name,
        "image_size": decided.patch[-1],
        "zoom": round(decided.pool[-1] / decided.patch[-1], 4),
        **depth,
        "batch": decided.batch,
        "method": {"criterion": {"dice": {"batch": decided.batch_dice}}},
        **({} if decided.mirrors else {"augment": {"geometry": {"flip": 0.0, "rot90": 0.0}}}),
        "net": {
            "name": "resenc_unet",
            **{k: list(v) if isinstance(v, tuple) else v for k, v in net.items()},
        },
    }


def to_yaml(decided: Plan, name: str) -> str:
    """:func:`trial` as YAML, each decision a comment."""
    import yaml

    lines = [
        (
            f"# Plan for {name}, about {decided.memory:.1f} GB a training step. Run it: semiseg "
            f"train --config THIS --out RUN"
        ),
        *decided.reasons,
    ]
    return (
        "\n# ".join(lines)
        + "\n"
        + yaml.safe_dump(trial(decided, name), sort_keys=False, default_flow_style=None)
    )
