"""One training step of the U-Net: alone, inside a compiled loop, and in PyTorch; same network,
batch and loss, interleaved in one run.
"""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.bench.timing import Contender, median_ratio, medians, timed
from semiseg.environment import usable_cores, versions
from semiseg.errors import UserError
from semiseg.losses import CEDice
from semiseg.nets import UNet
from semiseg.types import Params, PyTree

LR = 0.01
MOMENTUM = 0.9
CLASSES = 4
LEVELS = 5
PEERS = ("peer_nchw", "peer_channels_last")


class Carry(NamedTuple):
    """What a step changes.

    Attributes:
      params: of the network.
      velocity: of the gradient descent with momentum, one a weight.
    """

    params: Params
    velocity: PyTree


class Compiled(NamedTuple):
    """The programs of JAX, ready to be timed.

    Attributes:
      contenders: by name.
      compile_s: seconds that each took to compile.
      temporary_mib: what XLA sets aside for each beside its arguments.
    """

    contenders: dict[str, Contender]
    compile_s: dict[str, float]
    temporary_mib: dict[str, int | None]


def measure(
    width: int, batch: int, size: int, norm: str, repeats: int, inner: int, peer: bool
) -> dict[str, Any]:
    """Seconds of a step (forward, backward, SGD with momentum; CE + Dice, 1 channel, 4 classes),
    medians over interleaved repeats.

    Args:
      width: channels of the first of five levels.
      batch: images of a step.
      size: side of an image, pixels.
      norm: of the U-Net.
      repeats: rounds; in each every contender is timed once.
      inner: steps inside the compiled loops.
      peer: also time PyTorch, in its default (NCHW) and in channels_last memory.
    """
    widths = tuple(width * 2**level for level in range(LEVELS))
    fields: dict[str, Any] = {"widths": widths, "norm": norm}
    net = UNet(**fields)
    rng = np.random.default_rng(0)
    image = rng.normal(size=(batch, size, size, 1)).astype(np.float32)
    label = rng.integers(0, CLASSES, (batch, size, size)).astype(np.int32)
    mesh = devices.mesh(batch)
    x, y = jax.device_put((image, label), devices.copied(mesh))
    params = net.init(jax.random.key(0), x, CLASSES)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params.weights))
    compiled = _compiled(net, params, x, y, inner)
    contenders = dict(compiled.contenders)
    if peer:
        contenders |= _torch_contenders(net, image, label, parameters)
    seconds = timed(contenders, repeats)
    result = {
        "parameters": parameters,
        "width": width,
        "batch": batch,
        "size": size,
        "norm": norm,
        "repeats": repeats,
        "inner": inner,
        "devices": mesh.size,
        "compile_s": compiled.compile_s,
        "temporary_mib": compiled.temporary_mib,
    }
    result |= {f"{name}_step_s": median for name, median in medians(seconds).items()}
    return result | {
        "ratios": _ratios(seconds, peer),
        "peak_rss_mib": _peak_memory(),
        **_environment(peer),
    }


def _ratios(seconds: dict[str, list[float]], peer: bool) -> dict[str, float]:
    """Medians over rounds of the ratios that the table shows."""
    pairs = [("scan", "single"), ("loop", "single")]
    if peer:
        pairs += [("scan", form) for form in PEERS]
    return {f"{a} / {b}": median_ratio(seconds[a], seconds[b]) for a, b in pairs}


def _peak_memory() -> int:
    """Largest resident memory of this process so far, MiB."""
    unit = 1024
    if sys.platform == "darwin":
        unit = 1024**2
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def _environment(peer: bool) -> dict[str, Any]:
    packages = ["jax", "jaxlib", "flax"]
    if peer:
        packages.append("torch")
    device = jax.devices()[0]
    return {
        "versions": versions(*packages),
        "device": f"{device.platform}: {device.device_kind}",
        "processor": platform.processor(),
    }


# ------------------------------------------------------------------ JAX
def _compiled(net: UNet, params: Params, x: jax.Array, y: jax.Array, inner: int) -> Compiled:
    """The step alone, in a scan, and in a loop whose length is traced, as training has it."""
    mesh = devices.mesh(len(x))
    step = _step_of(net, mesh)

    def scan(carry: Carry, x: jax.Array, y: jax.Array) -> Carry:
        def body(carry: Carry, _: None) -> tuple[Carry, None]:
            return step(carry, x, y), None

        return jax.lax.scan(body, carry, None, length=inner)[0]

    def loop(carry: Carry, x: jax.Array, y: jax.Array, length: jax.Array) -> Carry:
        def body(_: jax.Array, carry: Carry) -> Carry:
            return step(carry, x, y)

        return jax.lax.fori_loop(0, length, body, carry)

    velocity = jax.tree.map(jnp.zeros_like, params.weights)
    carry = jax.device_put(Carry(params, velocity), devices.copied(mesh))
    length = jnp.int32(inner)
    compiled = Compiled({}, {}, {})
    _add(compiled, "single", step, (carry, x, y), 1)
    _add(compiled, "scan", scan, (carry, x, y), inner)
    _add(compiled, "loop", loop, (carry, x, y, length), inner)
    return compiled


def _step_of(net: UNet, mesh: Any) -> Callable[[Carry, jax.Array, jax.Array], Carry]:
    """A training step of the network."""
    criterion = CEDice()

    def step(carry: Carry, x: jax.Array, y: jax.Array) -> Carry:
        params, velocity = carry
        x, y = devices.cut((x, y), mesh)

        def loss(weights: PyTree) -> tuple[jax.Array, PyTree]:
            output = net.apply(params._replace(weights=weights), x, train=True)
            return criterion(output.logits, y), output.new_state

        gradient, state = jax.grad(loss, has_aux=True)(params.weights)
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
        weights = jax.tree.map(lambda w, v: w - LR * v, params.weights, velocity)
        stepped = params._replace(weights=weights, state=state)
        copied: Carry = devices.copy(Carry(stepped, velocity), mesh)
        return copied

    return step


def _add(
    compiled: Compiled, name: str, program: Callable[..., Carry], arguments: Any, steps: int
) -> None:
    """Compile a program and run it once."""
    began = time.perf_counter()
    executable = jax.jit(program).lower(*arguments).compile()
    compiled.compile_s[name] = round(time.perf_counter() - began, 2)
    analysis = executable.memory_analysis()
    compiled.temporary_mib[name] = None
    if analysis:
        compiled.temporary_mib[name] = round(analysis.temp_size_in_bytes / 2**20)

    def run() -> None:
        jax.block_until_ready(executable(*arguments))

    run()
    compiled.contenders[name] = Contender(run, steps)


# ------------------------------------------------------------------ PyTorch
def _torch_contenders(
    net: UNet, image: np.ndarray, label: np.ndarray, parameters: int
) -> dict[str, Contender]:
    """The same network in PyTorch, in both layouts of memory."""
    try:
        import torch
    except ImportError:
        raise UserError('the peer is not installed: pip install "semiseg[peer]"') from None
    torch.set_num_threads(usable_cores())
    layouts = (torch.contiguous_format, torch.channels_last)
    contenders: dict[str, Contender] = {}
    for name, layout in zip(PEERS, layouts, strict=True):
        run = _torch_step(net, image, label, parameters, layout)
        run()
        contenders[name] = Contender(run)
    return contenders


def _torch_step(
    net: UNet, image: np.ndarray, label: np.ndarray, parameters: int, layout: Any
) -> Callable[[], None]:
    """A training step of PyTorch's U-Net."""
    import torch
    from torch.nn import functional as F

    peer: Any = _torch_unet(net)
    model = peer.to(memory_format=layout)
    count = sum(p.numel() for p in model.parameters())
    if count != parameters:
        raise RuntimeError(
            f"the peer has {count} parameters, the U-Net {parameters}: not the same network"
        )
    x = torch.from_numpy(image).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    y = torch.from_numpy(label).long()
    optimiser = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)

    def run() -> None:
        optimiser.zero_grad()
        logits = model(x)
        p = logits.softmax(1)
        onehot = F.one_hot(y, CLASSES).permute(0, 3, 1, 2).float()
        both = (p * onehot).sum((0, 2, 3))
        dice = (2 * both + 1e-5) / (p.sum((0, 2, 3)) + onehot.sum((0, 2, 3)) + 1e-5)
        (0.5 * F.cross_entropy(logits, y) + 0.5 * (1 - dice.mean())).backward()
        optimiser.step()

    return run


def _torch_unet(net: UNet) -> Any:
    """The U-Net as a module of PyTorch."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    def norm(channels: int) -> nn.Module:
        if net.norm == "batch":
            return nn.BatchNorm2d(channels)
        if net.norm == "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        if net.norm == "group":
            return nn.GroupNorm(net.groups, channels)
        return nn.Identity()

    def block(channels: int, width: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for _ in range(net.convs):
            layers += [
                nn.Conv2d(channels, width, 3, padding=1, bias=net.norm == "none"),
                norm(width),
                nn.LeakyReLU(0.01, inplace=True),
            ]
            channels = width
        return nn.Sequential(*layers)

    class Peer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = net.widths
            pairs = list(zip(widths[:-1], widths[1:], strict=True))
            inputs = (1, *widths[:-1])
            self.down = nn.ModuleList(block(a, b) for a, b in zip(inputs, widths, strict=True))
            self.join = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
            self.up = nn.ModuleList(block(2 * a, a) for a, _ in pairs)
            self.head = nn.Conv2d(widths[0], CLASSES, 1)

        def forward(self, x: Any) -> Any:
            skips = []
            for i, down in enumerate(self.down):
                if i:
                    x = F.max_pool2d(x, 2)
                x = down(x)
                skips.append(x)
            for i in reversed(range(len(self.join))):
                x = self.up[i](torch.cat([skips[i], self.join[i](x)], 1))
            return self.head(x)

    return Peer()
