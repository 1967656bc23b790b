"""A training step of a U-Net on an accelerator, here or in PyTorch: same widths, batch, loss and
optimiser (CE + Dice, SGD with momentum), images and labels on the device.

Command: python experiments/benchmarks/gpu_step.py semiseg --width 16 --batch 24 --size 256
         python experiments/benchmarks/gpu_step.py torch --width 16 --batch 24 --size 256 --compile
         (--dims 3, --norm instance, --precision bfloat16)

PyTorch has channels-last memory, TF32, its benchmark of convolutions, autocast for bfloat16.
Prints JSON: milliseconds of a step (median of seven stretches of ten), seconds until the first ten
were done, MiB. `--ready FILE` lets several of them compile together and be timed one by one: the
file is written when all is compiled, and the timing begins when it is gone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLASSES = 4
LEVELS = {2: 5, 3: 4}
STEPS = 10
STRETCHES = 7


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("which", choices=["semiseg", "torch"])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--dims", type=int, default=2, choices=[2, 3])
    parser.add_argument("--norm", default="batch", choices=["batch", "instance"])
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--ready", type=Path)
    args = parser.parse_args()
    began = time.perf_counter()
    run, memory, device = {"semiseg": _semiseg, "torch": _torch}[args.which](args)
    run()
    warm = time.perf_counter() - began
    if args.ready:
        args.ready.touch()
        while args.ready.exists():
            time.sleep(0.05)
    seconds = []
    for _ in range(STRETCHES):
        began = time.perf_counter()
        run()
        seconds.append((time.perf_counter() - began) / STEPS)
    result = {
        "step_ms": round(1000 * statistics.median(seconds), 3),
        "warm_up_s": round(warm, 1),
        "memory_mib": round(memory()),
        "device": device,
    }
    print(json.dumps(result))


Made = tuple[Callable[[], None], Callable[[], float], str]
"""What runs ten steps and waits for them, what says MiB, and the device."""


def _widths(args: argparse.Namespace) -> list[int]:
    return [args.width * 2**level for level in range(LEVELS[args.dims])]


def _semiseg(args: argparse.Namespace) -> Made:
    import jax
    import jax.numpy as jnp

    from semiseg.losses import CEDice
    from semiseg.nets import UNet

    widths = tuple(_widths(args))
    net = UNet(widths=widths, norm=args.norm, dtype=args.precision, dims=args.dims)
    criterion = CEDice()
    shape = (args.batch, *[args.size] * args.dims)
    image = jax.random.normal(jax.random.key(0), (*shape, 1))
    label = jax.random.randint(jax.random.key(1), shape, 0, CLASSES)
    params = net.init(jax.random.key(2), image, CLASSES)
    velocity = jax.tree.map(jnp.zeros_like, params.weights)

    def step(carry: Any, _: None) -> tuple[Any, None]:
        params, velocity = carry

        def loss(weights: Any) -> tuple[jax.Array, Any]:
            out = net.apply(params._replace(weights=weights), image, train=True)
            return criterion(out.logits.astype(jnp.float32), label), out.new_state

        gradient, state = jax.grad(loss, has_aux=True)(params.weights)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradient)
        weights = jax.tree.map(lambda w, v: w - 0.01 * v, params.weights, velocity)
        return (params._replace(weights=weights, state=state), velocity), None

    def steps(carry: Any) -> Any:
        return jax.lax.scan(step, carry, None, length=STEPS)[0]

    carry = (params, velocity)
    program = jax.jit(steps).lower(carry).compile()
    analysis = program.memory_analysis()

    def run() -> None:
        jax.block_until_ready(program(carry))

    def memory() -> float:
        return analysis.temp_size_in_bytes / 2**20 if analysis else 0.0

    return run, memory, jax.devices()[0].device_kind


def _torch(args: argparse.Namespace) -> Made:
    import torch
    from torch.nn import functional

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[args.dims]
    model = _torch_unet(args).to(device).to(memory_format=layout)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    shape = (args.batch, *[args.size] * args.dims)
    image = torch.randn(args.batch, 1, *shape[1:], device=device).to(memory_format=layout)
    label = torch.randint(0, CLASSES, shape, device=device)
    space = tuple(range(2, 2 + args.dims))

    def loss() -> Any:
        half = args.precision == "bfloat16"
        with torch.autocast(device, torch.bfloat16, enabled=half):
            logits = model(image)
        logits = logits.float()
        probability = logits.softmax(1)
        truth = functional.one_hot(label, CLASSES).movedim(-1, 1).float()
        both = (probability * truth).sum((0, *space))
        total = (probability + truth).sum((0, *space))
        dice = (2 * both[1:] + 1e-5) / (total[1:] + 1e-5)
        return 0.5 * functional.cross_entropy(logits, label) + 0.5 * (1 - dice.mean())

    compiled = torch.compile(loss) if args.compile else loss

    def run() -> None:
        for _ in range(STEPS):
            optimiser.zero_grad(set_to_none=True)
            compiled().backward()
            optimiser.step()
        if device == "cuda":
            torch.cuda.synchronize()

    def memory() -> float:
        return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0.0

    return run, memory, torch.cuda.get_device_name() if device == "cuda" else "cpu"


def _torch_unet(args: argparse.Namespace) -> Any:
    """The same network: two convolutions, norm and leaky ReLU a level, a transposed one upwards."""
    import torch
    from torch import nn

    flat = args.dims == 2
    conv = nn.Conv2d if flat else nn.Conv3d
    grow = nn.ConvTranspose2d if flat else nn.ConvTranspose3d
    pool = nn.MaxPool2d if flat else nn.MaxPool3d
    batch = nn.BatchNorm2d if flat else nn.BatchNorm3d
    instance = nn.InstanceNorm2d if flat else nn.InstanceNorm3d
    widths = _widths(args)

    def norm(channels: int) -> Any:
        return batch(channels) if args.norm == "batch" else instance(channels, affine=True)

    def block(inside: int, outside: int) -> Any:
        layers: list[Any] = []
        for channels in (inside, outside):
            layers.append(conv(channels, outside, 3, padding=1, bias=False))
            layers += [norm(outside), nn.LeakyReLU(0.01, inplace=True)]
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            pairs = list(zip(widths, widths[1:], strict=False))
            self.first = block(1, widths[0])
            self.down = nn.ModuleList([block(fine, coarse) for fine, coarse in pairs])
            self.grow = nn.ModuleList([grow(coarse, fine, 2, 2) for fine, coarse in pairs])
            self.up = nn.ModuleList([block(2 * fine, fine) for fine, _ in pairs])
            self.pool = pool(2)
            self.head = conv(widths[0], CLASSES, 1)

        def forward(self, x: Any) -> Any:
            x = self.first(x)
            skips = []
            for down in self.down:
                skips.append(x)
                x = down(self.pool(x))
            for level in reversed(range(len(skips))):
                x = self.up[level](torch.cat([skips[level], self.grow[level](x)], 1))
            return self.head(x)

    return UNet()


if __name__ == "__main__":
    main()
