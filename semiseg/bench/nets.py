"""A training step and an inference of every network at equal input, beside the same network in PyTorch where MONAI has it."""

from __future__ import annotations

import dataclasses
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.errors import UserError
from semiseg.nets import NETS
from semiseg.types import Net

CLASSES, LR = 4, 0.01

# Configurations of ours that are a MONAI class, each proved equal by a test of its weights, and how that class is made (from monai.networks.nets).
WIDTHS = (32, 32, 64, 128, 256)
PEERS: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "unet": ({"widths": WIDTHS, "norm": "instance", "slope": 0.1}, lambda nets: nets.BasicUNet(2, 1, CLASSES, (*WIDTHS, 32))),
    "unet_plus_plus": ({"widths": WIDTHS, "norm": "instance", "slope": 0.1}, lambda nets: nets.BasicUNetPlusPlus(2, 1, CLASSES, (*WIDTHS, 32))),
    "attention_unet": (
        {"widths": (16, 32, 64, 128, 256), "norm": "batch", "gating": "fine", "down": "stride", "up": "transpose3", "activation": "relu", "one_merge": True},
        lambda nets: nets.AttentionUnet(2, 1, CLASSES, (16, 32, 64, 128, 256), (2, 2, 2, 2)),
    ),
    "segresnet": ({"dims": 2, "width": 16}, lambda nets: nets.SegResNet(2, 16, 1, CLASSES)),
    "swin_unetr": ({"dims": 2, "features": 24, "flat_bias": True}, lambda nets: nets.SwinUNETR(1, CLASSES, feature_size=24, spatial_dims=2)),
}


def contenders(names: list[str]) -> dict[str, Net]:
    """The networks to measure, in 2D where they can be: those with a peer as it is, the others by default.

    Raises:
      UserError: a name that is none.
    """
    unknown = [n for n in names if n not in NETS]
    if unknown:
        raise UserError(f"semiseg bench nets: there is no net called {unknown[0]!r}: choose of {', '.join(NETS)}")
    found: dict[str, Net] = {}
    for name in names or NETS:
        net: Any = NETS[name](**PEERS[name][0] if name in PEERS else {})
        found[name] = dataclasses.replace(net, dims=2) if net.dims == 3 else net
    return found


def measure(
    nets: Mapping[str, Net], batch: int, size: int, repeats: int, peer: bool, say: Callable[[dict[str, Any]], None] = lambda row: None
) -> dict[str, Any]:
    """Seconds of a step (forward, backward, gradient descent; cross-entropy, 1 channel, 4 classes) and of an inference, medians over rounds
    in which every contender of a network is timed once.

    ``temporary_mib`` is what XLA sets aside for the step beside its arguments; ``peer_kept_mib`` what PyTorch's graph keeps for the backward pass.
    ``say`` is called with every finished row.
    """
    rng = np.random.default_rng(0)
    image = rng.normal(size=(batch, size, size, 1)).astype(np.float32)
    label = rng.integers(0, CLASSES, (batch, size, size)).astype(np.int32)
    rows = []
    for name, net in nets.items():
        row, timed = _ours(net, image, label)
        row = {"name": name, **row}
        if peer and name in PEERS:
            more, theirs = _theirs(name, image, label)
            row, timed = row | more, timed | theirs
        seconds: dict[str, list[float]] = {key: [] for key in timed}
        for _ in range(repeats):
            for key, run in timed.items():
                began = time.perf_counter()
                run()
                seconds[key].append(time.perf_counter() - began)
        row |= {f"{key}_s": statistics.median(values) for key, values in seconds.items()}
        for key in ("step", "inference"):
            if f"peer_{key}" in seconds:
                row[f"{key}_ratio"] = statistics.median(a / b for a, b in zip(seconds[key], seconds[f"peer_{key}"]))
        rows.append(row)
        say(row)
    packages = ["jax", "jaxlib", "flax", *(["torch", "monai"] if peer else [])]
    where = {"device": f"{jax.devices()[0].platform}: {jax.devices()[0].device_kind}", "processor": platform.processor()}
    return {"batch": batch, "size": size, "repeats": repeats, "versions": {p: version(p) for p in packages}, **where, "nets": rows}


def _ours(net: Any, image: np.ndarray, label: np.ndarray) -> tuple[dict[str, Any], dict[str, Callable[[], Any]]]:
    mesh = devices.mesh(len(image))
    x, y = jax.device_put((image, label), devices.copied(mesh))
    params = jax.device_put(net.init(jax.random.key(0), x, CLASSES), devices.copied(mesh))

    def step(params: Any, x: jax.Array, y: jax.Array) -> Any:
        x, y = devices.cut((x, y), mesh)

        def loss(weights: Any) -> Any:
            out = net.apply(params._replace(weights=weights), x, train=True)
            return -jnp.take_along_axis(jax.nn.log_softmax(out.logits), y[..., None], -1).mean(), out.new_state

        gradient, state = jax.grad(loss, has_aux=True)(params.weights)
        weights = jax.tree.map(lambda w, g: w - LR * g, params.weights, gradient)
        return devices.copy(params._replace(weights=weights, state=state), mesh)

    def inference(params: Any, x: jax.Array) -> jax.Array:
        return net.apply(params, devices.cut(x, mesh), train=False).logits

    began = time.perf_counter()
    trained = jax.jit(step).lower(params, x, y).compile()
    evaluated = jax.jit(inference).lower(params, x).compile()
    row = {"parameters": sum(p.size for p in jax.tree.leaves(params.weights)), "compile_s": round(time.perf_counter() - began, 2)}
    for key, compiled in (("temporary_mib", trained), ("inference_temporary_mib", evaluated)):
        analysis = compiled.memory_analysis()
        row[key] = round(analysis.temp_size_in_bytes / 2**20, 1) if analysis else None  # type: ignore[assignment]
    runs = {"step": lambda: jax.block_until_ready(trained(params, x, y)), "inference": lambda: jax.block_until_ready(evaluated(params, x))}
    for run in runs.values():
        run()
    return row, runs


def _theirs(name: str, image: np.ndarray, label: np.ndarray) -> tuple[dict[str, Any], dict[str, Callable[[], Any]]]:
    try:
        import monai.networks.nets
        import torch
    except ImportError:
        raise UserError('the peers are not installed: pip install "semiseg[peer]"') from None
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    model = PEERS[name][1](monai.networks.nets).to(memory_format=torch.channels_last)
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
    row = {"peer": type(model).__name__, "peer_parameters": sum(p.numel() for p in model.parameters())}
    row["peer_kept_mib"] = round(sum(size for place, size in kept.items() if place not in weights) / 2**20, 1)
    return row, {"peer_step": step, "peer_inference": inference}
