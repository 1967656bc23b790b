"""One training step of the U-Net: alone, inside a compiled loop, and in PyTorch; same network,
batch and loss, interleaved in one run.
"""

from __future__ import annotations

import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.environment import usable_cores, versions
from semiseg.errors import UserError
from semiseg.losses import CEDice
from semiseg.nets import UNet

LR, MOMENTUM = 0.01, 0.9


def measure(
    width: int, batch: int, size: int, norm: str, repeats: int, inner: int, peer: bool
) -> dict[str, Any]:
    """Seconds of a step (forward, backward, SGD with momentum; CE + Dice, 1 channel, 4 classes),
    medians over interleaved repeats.

    Args:
      width: channels of the first of five levels.
      repeats: rounds; in each every contender is timed once.
      inner: steps inside the compiled loops.
      peer: also time PyTorch, in its default (NCHW) and in channels_last memory.
    """
    net = UNet(widths=tuple(width * 2**i for i in range(5)), norm=norm)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    image = rng.normal(size=(batch, size, size, 1)).astype(np.float32)
    label = rng.integers(0, 4, (batch, size, size)).astype(np.int32)
    found: dict[str, Any] = {
        "parameters": 0,
        "width": width,
        "batch": batch,
        "size": size,
        "norm": norm,
        "repeats": repeats,
        "inner": inner,
    }
    timed, found["compile_s"], found["temporary_mib"] = _jax_contenders(
        net, image, label, inner, found
    )
    if peer:
        timed |= _torch_contenders(net, image, label, found["parameters"])
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(repeats):
        for name, (run, steps) in timed.items():
            began = time.perf_counter()
            run()
            seconds[name].append((time.perf_counter() - began) / steps)
    for name, values in seconds.items():
        found[f"{name}_step_s"] = statistics.median(values)
    ratio = lambda a, b: statistics.median(x / y for x, y in zip(seconds[a], seconds[b]))
    found["ratios"] = {
        "scan / single": ratio("scan", "single"),
        "loop / single": ratio("loop", "single"),
    }
    if peer:
        for form in ("peer_nchw", "peer_channels_last"):
            found["ratios"][f"scan / {form}"] = ratio("scan", form)
    unit = 1024 if sys.platform != "darwin" else 1024**2
    found["peak_rss_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)
    packages = ["jax", "jaxlib", "flax", *(["torch"] if peer else [])]
    device = jax.devices()[0]
    return found | {
        "versions": versions(*packages),
        "device": f"{device.platform}: {device.device_kind}",
        "processor": platform.processor(),
    }


def _jax_contenders(
    net: UNet, image: np.ndarray, label: np.ndarray, inner: int, found: dict[str, Any]
) -> Any:
    mesh, criterion = devices.mesh(len(image)), CEDice()
    found["devices"] = mesh.size
    x, y = jax.device_put((image, label), devices.copied(mesh))
    params = net.init(jax.random.key(0), x, 4)
    found["parameters"] = sum(p.size for p in jax.tree.leaves(params.weights))

    def step(carry: Any, x: jax.Array, y: jax.Array) -> Any:
        params, velocity = carry
        x, y = devices.cut((x, y), mesh)

        def loss(weights: Any) -> Any:
            out = net.apply(params._replace(weights=weights), x, train=True)
            return criterion(out.logits, y), out.new_state

        gradient, state = jax.grad(loss, has_aux=True)(params.weights)
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
        return devices.copy(
            (
                params._replace(
                    weights=jax.tree.map(lambda w, v: w - LR * v, params.weights, velocity),
                    state=state,
                ),
                velocity,
            ),
            mesh,
        )

    programs: dict[str, tuple[Callable[..., Any], int]] = {
        "single": (step, 1),
        "scan": (
            lambda c, x, y: jax.lax.scan(lambda c, _: (step(c, x, y), None), c, None, length=inner)[
                0
            ],
            inner,
        ),
        "loop": (lambda c, x, y, n: jax.lax.fori_loop(0, n, lambda _, c: step(c, x, y), c), inner),
    }
    carry = jax.device_put(
        (params, jax.tree.map(jnp.zeros_like, params.weights)), devices.copied(mesh)
    )
    timed: dict[str, tuple[Callable[[], Any], int]] = {}
    compile_s, memory = {}, {}
    for name, (program, steps) in programs.items():
        began = time.perf_counter()
        extra = (
            (jnp.int32(inner),) if name == "loop" else ()
        )  # a traced trip count, as training has it
        compiled = jax.jit(program).lower(carry, x, y, *extra).compile()
        compile_s[name] = round(time.perf_counter() - began, 2)
        analysis = compiled.memory_analysis()
        memory[name] = round(analysis.temp_size_in_bytes / 2**20) if analysis else None
        run = lambda compiled=compiled, extra=extra: jax.block_until_ready(
            compiled(carry, x, y, *extra)
        )
        run()
        timed[name] = (run, steps)
    return timed, compile_s, memory


def _torch_contenders(
    net: UNet, image: np.ndarray, label: np.ndarray, parameters: int
) -> dict[str, tuple[Callable[[], Any], int]]:
    try:
        import torch
        from torch import nn
        from torch.nn import functional as F
    except ImportError:
        raise UserError('the peer is not installed: pip install "semiseg[peer]"') from None

    norms: dict[str, Callable[[int], nn.Module]] = {
        "batch": nn.BatchNorm2d, "instance": lambda c: nn.InstanceNorm2d(c, affine=True),
        "group": lambda c: nn.GroupNorm(net.groups, c), "none": lambda c: nn.Identity(),
    }  # fmt: skip

    def block(a: int, b: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for i in range(net.convs):
            layers += [
                nn.Conv2d(a if i == 0 else b, b, 3, padding=1, bias=net.norm == "none"),
                norms[net.norm](b),
                nn.LeakyReLU(0.01, inplace=True),
            ]
        return nn.Sequential(*layers)

    class Peer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            w = net.widths
            self.down = nn.ModuleList(block(1 if i == 0 else w[i - 1], c) for i, c in enumerate(w))
            self.join = nn.ModuleList(
                nn.ConvTranspose2d(w[i + 1], w[i], 2, 2) for i in range(len(w) - 1)
            )
            self.up = nn.ModuleList(block(2 * w[i], w[i]) for i in range(len(w) - 1))
            self.head = nn.Conv2d(w[0], 4, 1)

        def forward(self, x: Any) -> Any:
            skips = []
            for i, down in enumerate(self.down):
                x = down(F.max_pool2d(x, 2) if i else x)
                skips.append(x)
            for i in reversed(range(len(self.join))):
                x = self.up[i](torch.cat([skips[i], self.join[i](x)], 1))
            return self.head(x)

    torch.set_num_threads(usable_cores())
    timed: dict[str, tuple[Callable[[], Any], int]] = {}
    for name, layout in (
        ("peer_nchw", torch.contiguous_format),
        ("peer_channels_last", torch.channels_last),
    ):
        model = Peer().to(memory_format=layout)  # type: ignore[call-overload]
        count = sum(p.numel() for p in model.parameters())
        if count != parameters:
            raise RuntimeError(
                f"the peer has {count} parameters, the U-Net {parameters}: not the same network"
            )
        x = torch.from_numpy(image).permute(0, 3, 1, 2).contiguous(memory_format=layout)
        y = torch.from_numpy(label).long()
        optimiser = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)

        def run(model: Any = model, x: Any = x, y: Any = y, optimiser: Any = optimiser) -> None:
            optimiser.zero_grad()
            logits = model(x)
            p, onehot = logits.softmax(1), F.one_hot(y, 4).permute(0, 3, 1, 2).float()
            dice = (2 * (p * onehot).sum((0, 2, 3)) + 1e-5) / (
                p.sum((0, 2, 3)) + onehot.sum((0, 2, 3)) + 1e-5
            )
            (0.5 * F.cross_entropy(logits, y) + 0.5 * (1 - dice.mean())).backward()
            optimiser.step()

        run()
        timed[name] = (run, 1)
    return timed
