"""A training step and an inference of every network at equal input, beside the same network in
PyTorch where MONAI has it.
"""

from __future__ import annotations

import dataclasses
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.bench import network_table
from semiseg.bench.timing import Contender, median_ratio, medians, timed
from semiseg.environment import usable_cores, versions
from semiseg.errors import UserError
from semiseg.nets import NETS
from semiseg.types import Net

CLASSES = 4
LR = 0.01

LEAST = 3
"""Rounds that a network is given however long they take."""

WIDTHS = (32, 32, 64, 128, 256)
"""Channels of the levels of MONAI's basic U-Nets."""
NARROW = (16, 32, 64, 128, 256)


class Peer(NamedTuple):
    """A network of ours that is a MONAI class; each is proved equal by a test of its weights.

    Attributes:
      fields: of our network.
      make: the class of ``monai.networks.nets`` for a side of the images.
    """

    fields: dict[str, Any]
    make: Callable[[Any, int], Any]


def _basic_unet(nets: Any, size: int) -> Any:
    return nets.BasicUNet(2, 1, CLASSES, (*WIDTHS, 32))


def _basic_unet_plus_plus(nets: Any, size: int) -> Any:
    return nets.BasicUNetPlusPlus(2, 1, CLASSES, (*WIDTHS, 32))


def _attention_unet(nets: Any, size: int) -> Any:
    return nets.AttentionUnet(2, 1, CLASSES, NARROW, (2, 2, 2, 2))


def _segresnet(nets: Any, size: int) -> Any:
    return nets.SegResNet(2, 16, 1, CLASSES)


def _vnet(nets: Any, size: int) -> Any:
    return nets.VNet(2, 1, CLASSES)


def _unetr(nets: Any, size: int) -> Any:
    return nets.UNETR(1, CLASSES, (size, size), spatial_dims=2)


def _swin_unetr(nets: Any, size: int) -> Any:
    return nets.SwinUNETR(1, CLASSES, feature_size=24, spatial_dims=2)


BASIC = {"widths": WIDTHS, "norm": "instance", "slope": 0.1}
ATTENTION = {
    "widths": NARROW,
    "norm": "batch",
    "gating": "fine",
    "down": "stride",
    "up": "transpose3",
    "activation": "relu",
    "one_merge": True,
}
VNET = {
    "convs": (1, 1, 2, 3, 2),
    "ups": (2, 2, 1, 1),
    "activation": "elu",
    "head": "conv",
    "dims": 2,
}
PEERS: dict[str, Peer] = {
    "unet": Peer(BASIC, _basic_unet),
    "unet_plus_plus": Peer(BASIC, _basic_unet_plus_plus),
    "attention_unet": Peer(ATTENTION, _attention_unet),
    "segresnet": Peer({"dims": 2, "width": 16}, _segresnet),
    "vnet": Peer(VNET, _vnet),
    "unetr": Peer({"taps": (4, 7, 10), "dims": 2}, _unetr),
    "swin_unetr": Peer({"dims": 2, "features": 24, "flat_bias": True}, _swin_unetr),
}
"""Networks of ours that have a peer, by name."""


class Prepared(NamedTuple):
    """A network, ready to be timed.

    Attributes:
      row: what is known of it without timing.
      contenders: what is timed, by name.
    """

    row: dict[str, Any]
    contenders: dict[str, Contender]


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
    nets: dict[str, Net] = {}
    for name in names or NETS:
        fields: dict[str, Any] = {}
        if name in PEERS:
            fields = PEERS[name].fields
        net: Any = NETS[name](**fields)
        if net.dims == 3:
            net = dataclasses.replace(net, dims=2)
        nets[name] = net
    return nets


def measure(
    nets: Mapping[str, Net],
    batch: int,
    size: int,
    repeats: int,
    peer: bool,
    say: Callable[[dict[str, Any], dict[str, Any]], None] | None = None,
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
      say: called with every finished row and the result so far.
      seconds: a network that has taken as long is timed no more, but for the first :data:`LEAST`
        rounds.
      done: the result of an earlier call; its rows stay if its settings are those of this call.
    """
    rng = np.random.default_rng(0)
    image = rng.normal(size=(batch, size, size, 1)).astype(np.float32)
    label = rng.integers(0, CLASSES, (batch, size, size)).astype(np.int32)
    setting = _setting(batch, size, repeats, seconds, peer)
    result = {**setting, "nets": []}
    earlier = _rows_of(done, setting)
    for name, net in nets.items():
        if earlier.get(name, {}).get("net") == repr(net):
            result["nets"].append(earlier[name])
            continue
        prepared = _ours(net, image, label)
        row = {"name": name, "net": repr(net), **prepared.row}
        contenders = prepared.contenders
        if peer and name in PEERS:
            theirs = _theirs(name, image, label)
            row |= theirs.row
            contenders = contenders | theirs.contenders
        row |= _times(timed(contenders, repeats, least=LEAST, seconds=seconds))
        result["nets"].append(row)
        if say:
            say(row, result)
    for row in result["nets"]:  # of earlier rows, too: a reason is found after the figures
        row.pop("reason", None)
        if network_table.needs_reason(row):
            row["reason"] = network_table.REASONS.get(row["name"])
    return result


def _setting(batch: int, size: int, repeats: int, seconds: float, peer: bool) -> dict[str, Any]:
    """What the rows of a table have in common."""
    packages = ["jax", "jaxlib", "flax"]
    if peer:
        packages += ["torch", "monai"]
    device = jax.devices()[0]
    limit = None
    if math.isfinite(seconds):
        limit = seconds
    return {
        "batch": batch,
        "size": size,
        "repeats": repeats,
        "seconds": limit,
        "versions": versions(*packages),
        "processor": platform.processor(),
        "cores": usable_cores(),
        "device": f"{device.platform}: {device.device_kind}",
    }


def _rows_of(done: Mapping[str, Any] | None, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Rows by name of an earlier call, if it had the same setting."""
    if done is None or any(done.get(key) != value for key, value in setting.items()):
        return {}
    return {row["name"]: row for row in done["nets"]}


def _times(seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Medians of what was timed, and their ratios to the peer's."""
    times: dict[str, Any] = {"rounds": len(seconds["step"])}
    times |= {f"{name}_s": median for name, median in medians(seconds).items()}
    for name in ("step", "inference"):
        if f"peer_{name}" in seconds:
            times[f"{name}_ratio"] = median_ratio(seconds[name], seconds[f"peer_{name}"])
    return times


# ------------------------------------------------------------------ JAX
def _ours(net: Any, image: np.ndarray, label: np.ndarray) -> Prepared:
    """Compile the step and the inference of a network of ours, and run each once."""
    mesh = devices.mesh(len(image))
    x, y = jax.device_put((image, label), devices.copied(mesh))
    params = jax.device_put(net.init(jax.random.key(0), x, CLASSES), devices.copied(mesh))

    def step(params: Any, x: jax.Array, y: jax.Array) -> Any:
        x, y = devices.cut((x, y), mesh)

        def loss(weights: Any) -> Any:
            output = net.apply(params._replace(weights=weights), x, train=True)
            log_p = jax.nn.log_softmax(output.logits)
            return -jnp.take_along_axis(log_p, y[..., None], -1).mean(), output.new_state

        gradient, state = jax.grad(loss, has_aux=True)(params.weights)
        weights = jax.tree.map(lambda w, g: w - LR * g, params.weights, gradient)
        return devices.copy(params._replace(weights=weights, state=state), mesh)

    def inference(params: Any, x: jax.Array) -> jax.Array:
        logits: jax.Array = net.apply(params, devices.cut(x, mesh), train=False).logits
        return logits

    began = time.perf_counter()
    trained = jax.jit(step).lower(params, x, y).compile()
    evaluated = jax.jit(inference).lower(params, x).compile()
    compile_s = round(time.perf_counter() - began, 2)

    def run_step() -> None:
        jax.block_until_ready(trained(params, x, y))

    def run_inference() -> None:
        jax.block_until_ready(evaluated(params, x))

    run_step()
    run_inference()
    row = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params.weights)),
        "compile_s": compile_s,
        "temporary_mib": _temporary_mib(trained),
        "inference_temporary_mib": _temporary_mib(evaluated),
    }
    return Prepared(row, {"step": Contender(run_step), "inference": Contender(run_inference)})


def _temporary_mib(compiled: Any) -> float | None:
    """What XLA sets aside beside a program's arguments; None where it does not say."""
    analysis = compiled.memory_analysis()
    if not analysis:
        return None
    return round(analysis.temp_size_in_bytes / 2**20, 1)


# ------------------------------------------------------------------ PyTorch
def _theirs(name: str, image: np.ndarray, label: np.ndarray) -> Prepared:
    """The MONAI class of a network in PyTorch, run once."""
    try:
        import monai.networks.nets
        import torch
    except ImportError:
        raise UserError('the peers are not installed: pip install "semiseg[peer]"') from None
    torch.set_num_threads(usable_cores())
    layout = torch.channels_last
    model = PEERS[name].make(monai.networks.nets, image.shape[1]).to(memory_format=layout)
    x = torch.from_numpy(image).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    y = torch.from_numpy(label).long()
    optimiser = torch.optim.SGD(model.parameters(), lr=LR)
    stored: dict[int, int] = {}

    def forward() -> Any:
        output = model(x)
        if isinstance(output, list):
            return output[-1]
        return output

    def store(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        stored[storage.data_ptr()] = storage.nbytes()
        return tensor

    def restore(tensor: Any) -> Any:
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

    with torch.autograd.graph.saved_tensors_hooks(store, restore):
        step()
    inference()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    activations = sum(size for place, size in stored.items() if place not in weights)
    row = {
        "peer": type(model).__name__,
        "peer_parameters": sum(p.numel() for p in model.parameters()),
        "peer_kept_mib": round(activations / 2**20, 1),
    }
    return Prepared(row, {"peer_step": Contender(step), "peer_inference": Contender(inference)})
