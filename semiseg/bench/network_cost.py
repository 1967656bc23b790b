"""A training step and an inference of every network at equal input, beside the same network in
PyTorch where MONAI has it.
"""

from __future__ import annotations

import dataclasses
import math
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.environment import usable_cores, versions
from semiseg.errors import UserError
from semiseg.nets import NETS
from semiseg.types import Net

CLASSES, LR = 4, 0.01

LEAST = 3
"""Rounds that a network is given however long they take."""

SLOW = 1.5
"""From this ratio to its peer on, a network of ours needs a reason."""

REASONS: dict[str, str] = {
    "segresnet": "its convolutions have 16 channels at full resolution, the width that PyTorch's "
    "oneDNN lays out in blocks of 16 and XLA "
    "has no layout for; "
    "norms cost nothing (219 instead of 225 ms a step on one core without any), doubling by "
    "nearest pixels instead of linearly would save 8",
}
"""Why a network's step or inference takes more than :data:`SLOW` times its peer's on a CPU, by
name; stands in the JSON and the table.
"""

# Configurations of ours that are a MONAI class, each proved equal by a test of its weights, and how
# that class is made: from monai.networks.nets, for a size.
WIDTHS = (32, 32, 64, 128, 256)
PEERS: dict[str, tuple[dict[str, Any], Callable[[Any, int], Any]]] = {
    "unet": (
        {"widths": WIDTHS, "norm": "instance", "slope": 0.1},
        lambda nets, size: nets.BasicUNet(2, 1, CLASSES, (*WIDTHS, 32)),
    ),
    "unet_plus_plus": (
        {"widths": WIDTHS, "norm": "instance", "slope": 0.1},
        lambda nets, size: nets.BasicUNetPlusPlus(2, 1, CLASSES, (*WIDTHS, 32)),
    ),
    "attention_unet": (
        {
            "widths": (16, 32, 64, 128, 256),
            "norm": "batch",
            "gating": "fine",
            "down": "stride",
            "up": "transpose3",
            "activation": "relu",
            "one_merge": True,
        },
        lambda nets, size: nets.AttentionUnet(2, 1, CLASSES, (16, 32, 64, 128, 256), (2, 2, 2, 2)),
    ),
    "segresnet": ({"dims": 2, "width": 16}, lambda nets, size: nets.SegResNet(2, 16, 1, CLASSES)),
    "vnet": (
        {
            "convs": (1, 1, 2, 3, 2),
            "ups": (2, 2, 1, 1),
            "activation": "elu",
            "head": "conv",
            "dims": 2,
        },
        lambda nets, size: nets.VNet(2, 1, CLASSES),
    ),
    "unetr": (
        {"taps": (4, 7, 10), "dims": 2},
        lambda nets, size: nets.UNETR(1, CLASSES, (size, size), spatial_dims=2),
    ),
    "swin_unetr": (
        {"dims": 2, "features": 24, "flat_bias": True},
        lambda nets, size: nets.SwinUNETR(1, CLASSES, feature_size=24, spatial_dims=2),
    ),
}


def contenders(names: list[str]) -> dict[str, Net]:
    """The networks to measure, in 2D where they can be: those with a peer as it is, the others by
    default.

    Raises:
      UserError: a name that is none.
    """
    unknown = [n for n in names if n not in NETS]
    if unknown:
        raise UserError(
            f"semiseg bench nets: there is no net called {unknown[0]!r}: choose of "
            f"{', '.join(NETS)}"
        )
    found: dict[str, Net] = {}
    for name in names or NETS:
        net: Any = NETS[name](**PEERS[name][0] if name in PEERS else {})
        found[name] = dataclasses.replace(net, dims=2) if net.dims == 3 else net
    return found


def measure(
    nets: Mapping[str, Net],
    batch: int,
    size: int,
    repeats: int,
    peer: bool,
    say: Callable[[dict[str, Any], dict[str, Any]], None] = lambda row, found: None,
    *,
    seconds: float = math.inf,
    done: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Seconds of a step (forward, backward, gradient descent; cross-entropy, 1 channel, 4 classes)
    and of an inference, medians over rounds in which every contender of a network is timed once.

    ``temporary_mib`` is what XLA sets aside for the step beside its arguments; ``peer_kept_mib``
    what PyTorch's graph keeps for the backward pass.

    Args:
      repeats: rounds of each network.
      say: called with every finished row and all that was found so far.
      seconds: a network that has taken as long is timed no more, but for the first :data:`LEAST`
        rounds.
      done: what an earlier call found; its rows are kept if its settings are those of this call.
    """
    rng = np.random.default_rng(0)
    image = rng.normal(size=(batch, size, size, 1)).astype(np.float32)
    label = rng.integers(0, CLASSES, (batch, size, size)).astype(np.int32)
    packages = ["jax", "jaxlib", "flax", *(["torch", "monai"] if peer else [])]
    found: dict[str, Any] = {
        "batch": batch, "size": size, "repeats": repeats, "seconds": seconds if math.isfinite(seconds) else None,
        "versions": versions(*packages), "processor": platform.processor(), "cores": usable_cores(),
        "device": f"{jax.devices()[0].platform}: {jax.devices()[0].device_kind}", "nets": [],
    }  # fmt: skip
    same = done is not None and all(
        done.get(key) == value for key, value in found.items() if key != "nets"
    )
    kept = {row["name"]: row for row in done["nets"]} if done is not None and same else {}
    for name, net in nets.items():
        if kept.get(name, {}).get("net") == repr(net):
            found["nets"].append(kept[name])
            continue
        row, timed = _ours(net, image, label)
        row = {"name": name, "net": repr(net), **row}
        if peer and name in PEERS:
            more, theirs = _theirs(name, image, label)
            row, timed = row | more, timed | theirs
        taken: dict[str, list[float]] = {key: [] for key in timed}
        start = time.perf_counter()
        for i in range(repeats):
            if i >= LEAST and time.perf_counter() - start > seconds:
                break
            for key, run in timed.items():
                began = time.perf_counter()
                run()
                taken[key].append(time.perf_counter() - began)
        row |= {"rounds": len(taken["step"])} | {
            f"{key}_s": statistics.median(values) for key, values in taken.items()
        }
        for key in ("step", "inference"):
            if f"peer_{key}" in taken:
                row[f"{key}_ratio"] = statistics.median(
                    a / b for a, b in zip(taken[key], taken[f"peer_{key}"])
                )
        found["nets"].append(row)
        say(row, found)
    for row in found["nets"]:  # of kept rows, too: a reason is found after the figures
        row.pop("reason", None)
        row |= {"reason": REASONS.get(row["name"])} if needs_reason(row) else {}
    return found


def needs_reason(row: Mapping[str, Any]) -> bool:
    """Whether a row's step or inference takes more than :data:`SLOW` times its peer's."""
    return max(row.get("step_ratio", 0), row.get("inference_ratio", 0)) > SLOW


def table(found: Mapping[str, Any]) -> str:
    """What :func:`measure` found, as a Markdown table: milliseconds, MiB, and the reasons where
    they are needed.
    """
    lines = [
        (
            "| network | M parameters | step, ms | inference, ms | memory, MiB | peer | step, ms | "
            "inference, ms | memory, MiB | step / peer | inference / peer |"
        ),
        "|---" * 11 + "|",
    ]
    for row in found["nets"]:
        peer = ["–"] * 6
        if "peer" in row:
            peer = [
                row["peer"],
                f"{1e3 * row['peer_step_s']:.0f}",
                f"{1e3 * row['peer_inference_s']:.0f}",
                f"{row['peer_kept_mib']:.0f}",
            ]
            peer += [f"{row['step_ratio']:.2f}", f"{row['inference_ratio']:.2f}"]
        ours = [
            row["name"],
            f"{row['parameters'] / 1e6:.2f}",
            f"{1e3 * row['step_s']:.0f}",
            f"{1e3 * row['inference_s']:.0f}",
            f"{row['temporary_mib'] or 0:.0f}",
        ]
        lines.append(f"| {' | '.join([*ours, *peer])} |")
    reasons = [
        f"- {row['name']}: {row['reason'] or 'no reason is written yet'}"
        for row in found["nets"]
        if needs_reason(row)
    ]
    return (
        "\n".join(
            [
                *lines,
                *([f"\nMore than {SLOW} times the peer's time:\n", *reasons] if reasons else []),
            ]
        )
        + "\n"
    )


def _ours(
    net: Any, image: np.ndarray, label: np.ndarray
) -> tuple[dict[str, Any], dict[str, Callable[[], Any]]]:
    mesh = devices.mesh(len(image))
    x, y = jax.device_put((image, label), devices.copied(mesh))
    params = jax.device_put(net.init(jax.random.key(0), x, CLASSES), devices.copied(mesh))

    def step(params: Any, x: jax.Array, y: jax.Array) -> Any:
        x, y = devices.cut((x, y), mesh)

        def loss(weights: Any) -> Any:
            out = net.apply(params._replace(weights=weights), x, train=True)
            return -jnp.take_along_axis(
                jax.nn.log_softmax(out.logits), y[..., None], -1
            ).mean(), out.new_state

        gradient, state = jax.grad(loss, has_aux=True)(params.weights)
        weights = jax.tree.map(lambda w, g: w - LR * g, params.weights, gradient)
        return devices.copy(params._replace(weights=weights, state=state), mesh)

    def inference(params: Any, x: jax.Array) -> jax.Array:
        return net.apply(params, devices.cut(x, mesh), train=False).logits

    began = time.perf_counter()
    trained = jax.jit(step).lower(params, x, y).compile()
    evaluated = jax.jit(inference).lower(params, x).compile()
    row: dict[str, Any] = {
        "parameters": sum(p.size for p in jax.tree.leaves(params.weights)),
        "compile_s": round(time.perf_counter() - began, 2),
    }
    for key, compiled in (("temporary_mib", trained), ("inference_temporary_mib", evaluated)):
        analysis = compiled.memory_analysis()
        row[key] = round(analysis.temp_size_in_bytes / 2**20, 1) if analysis else None
    runs = {
        "step": lambda: jax.block_until_ready(trained(params, x, y)),
        "inference": lambda: jax.block_until_ready(evaluated(params, x)),
    }
    for run in runs.values():
        run()
    return row, runs


def _theirs(
    name: str, image: np.ndarray, label: np.ndarray
) -> tuple[dict[str, Any], dict[str, Callable[[], Any]]]:
    try:
        import monai.networks.nets
        import torch
    except ImportError:
        raise UserError('the peers are not installed: pip install "semiseg[peer]"') from None
    torch.set_num_threads(usable_cores())
    model = PEERS[name][1](monai.networks.nets, image.shape[1]).to(
        memory_format=torch.channels_last
    )
    x = torch.from_numpy(image).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(label).long()
    optimiser = torch.optim.SGD(model.parameters(), lr=LR)
    kept: dict[int, int] = {}

    def forward() -> Any:
        out = model(x)
        return out[-1] if isinstance(out, list) else out

    def keep(tensor: Any) -> Any:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def step() -> None:
        model.train()
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(forward(), y).backward()
        optimiser.step()

    def inference() -> None:
        model.eval()
        with torch.inference_mode():
            forward()

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    inference()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    row = {
        "peer": type(model).__name__,
        "peer_parameters": sum(p.numel() for p in model.parameters()),
    }
    row["peer_kept_mib"] = round(
        sum(size for place, size in kept.items() if place not in weights) / 2**20, 1
    )
    return row, {"peer_step": step, "peer_inference": inference}
