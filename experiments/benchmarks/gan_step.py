"""A training step of the generator beside the same networks in PyTorch (NCHW), interleaved; and how
many samples a second are written.

Command: python experiments/benchmarks/gan_step.py
    --json experiments/results/bench_gan.json
(pip install "semiseg[peer]")

Both sides: reduced SPADE with its encoder, two-scale spectral PatchGAN for pairs and another for
images alone, hinge, DiffAugment by interpolation matrices, feature matching, L1, KL, latent and
mode-seeking terms, Adam, average of the generator, R1 of both discriminators every 16 steps.
PyTorch's batch is drawn beforehand, ours inside the step. Weights need not agree: shapes and work
do.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import operator
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from semiseg import devices
from semiseg.generators import fit, sample, settings
from semiseg.generators import gan_program as program
from semiseg.generators.budget import data_of, read_budget


def ours(size: int, batch: int, inner: int) -> Callable[[], None]:
    """A call that trains ``inner`` steps on the built-in nuclei."""
    given = settings.Settings(labels=32, image_size=size, batch=batch)
    budget = read_budget(given)
    p = fit.program_of(
        given,
        budget.images.shape[-1],
        len(budget.classes),
    )
    knobs = jax.tree.map(
        jnp.float32,
        dataclasses.replace(given.train, steps=1e6),
    )
    state, data = jax.device_put(
        (program.start(p, jnp.uint32(0)), data_of(budget)), devices.copied(p.mesh())
    )
    held = [state]

    def run() -> None:
        state = held[0]
        held[0], metrics = program.chunk(
            p,
            knobs,
            jnp.uint32(0),
            data,
            state,
            state.step + inner,
        )
        jax.block_until_ready((held[0], metrics))

    return run


def peer(size: int, batch: int, inner: int) -> Callable[[], None]:
    """The same in PyTorch."""
    import torch
    import torch.nn.functional as F
    from torch import nn
    from torch.nn.utils.parametrizations import spectral_norm

    classes = 2
    channels = 1
    z = 16
    hidden = 16
    noise = 8
    widths = (128, 64, 32, 16)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            w = (channels, 16, 32, 48, 64)
            self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in itertools.pairwise(w))
            self.code = nn.Linear(64 + 2 * channels * classes, 2 * z)

        def forward(self, image: Any, mask: Any) -> Any:
            x = image
            for c in self.convs:
                x = F.leaky_relu(c(x), 0.2)
            area = mask.sum((2, 3)) + 1e-3
            mean = torch.einsum("bkhw,bchw->bkc", mask, image) / area[..., None]
            square = torch.einsum("bkhw,bchw->bkc", mask, image**2) / area[..., None]
            facts = torch.cat(
                [
                    (mean + 1).clamp(min=0).add(1e-3).sqrt(),
                    2 * ((square - mean**2).clamp(min=0) + 1e-4).sqrt(),
                ],
                -1,
            ).flatten(1)
            mean, logvar = self.code(torch.cat([x.mean((2, 3)), facts], 1)).chunk(2, 1)
            return mean, logvar.clamp(-8, 4)

    class Block(nn.Module):
        def __init__(self, before: int, width: int) -> None:
            super().__init__()
            self.mask = nn.Conv2d(classes, hidden, 3, 1, 1)
            self.style = nn.Linear(z, hidden)
            self.norm0 = nn.Conv2d(hidden, 2 * before, 3, 1, 1)
            self.norm1 = nn.Conv2d(hidden, 2 * width, 3, 1, 1)
            self.conv0 = nn.Conv2d(before, width, 3, 1, 1, bias=False)
            self.conv1 = nn.Conv2d(width, width, 3, 1, 1)
            self.skip = nn.Conv2d(before, width, 1, bias=False)
            self.strength = nn.Parameter(torch.randn(1, width, 1, 1) * 0.1)

        def forward(self, x: Any, mask: Any, code: Any, fresh: Any) -> Any:
            features = F.leaky_relu(
                self.mask(mask) + self.style(code)[:, :, None, None],
                0.2,
            )

            def spade(norm: Any, x: Any) -> Any:
                gamma, beta = norm(features).chunk(2, 1)
                return F.instance_norm(x) * (1 + gamma) + beta

            y = self.conv0(F.leaky_relu(spade(self.norm0, x), 0.2)) + self.strength * fresh
            return self.skip(x) + self.conv1(F.leaky_relu(spade(self.norm1, y), 0.2))

    class Spade(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = Encoder()
            self.first = nn.Conv2d(classes + noise, widths[0], 3, 1, 1)
            self.first_style = nn.Linear(z, widths[0])
            self.blocks = nn.ModuleList(
                Block(a, b) for a, b in zip((widths[0], *widths[:-1]), widths, strict=True)
            )
            self.last = nn.Conv2d(widths[-1], channels, 3, 1, 1)

        def forward(self, mask: Any, code: Any, fresh: Any) -> Any:
            x = (
                self.first(torch.cat([F.avg_pool2d(mask, 8), fresh[0]], 1))
                + self.first_style(code)[:, :, None, None]
            )
            for i, block in enumerate(self.blocks):
                if i:
                    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
                x = block(
                    x,
                    F.avg_pool2d(mask, 8 >> i) if i < 3 else mask,
                    code,
                    fresh[i + 1],
                )
            return torch.tanh(self.last(F.leaky_relu(x, 0.2)))

    class Patch(nn.Module):
        def __init__(self, inputs: int) -> None:
            super().__init__()
            w = (inputs, 32, 64, 128)

            def layer(i: int) -> Any:
                return spectral_norm(nn.Conv2d(w[i], w[i + 1], 4, 2, 1, bias=i == 0))

            self.scales = nn.ModuleList()
            for _ in range(2):
                layers = [layer(i) for i in range(3)]
                self.scales.append(nn.ModuleList([*layers, nn.Conv2d(128, 1, 3, 1, 1)]))

        def forward(self, x: Any) -> Any:
            logits = []
            features = []
            for s, layers in enumerate(self.scales):
                y = x = F.avg_pool2d(x, 2) if s else x
                for i in range(3):
                    y = layers[i](y)  # type: ignore[index]
                    y = F.leaky_relu(F.instance_norm(y) if i else y, 0.2)
                    features.append(y)
                logits.append(layers[3](y))  # type: ignore[index]
            return logits, features

    torch.manual_seed(0)
    g = Spade()
    d = Patch(classes + channels)
    u = Patch(channels)
    average = [p.detach().clone() for p in g.parameters()]
    opt_g = torch.optim.Adam(g.parameters(), 3e-4, (0.0, 0.9))
    opt_d = torch.optim.Adam(
        [*d.parameters(), *u.parameters()],
        6e-4,
        (0.0, 0.9),
    )
    image, other = torch.rand(2, batch, channels, size, size) * 2 - 1
    label = (
        torch.randint(
            0,
            classes,
            (batch, size // 8, size // 8),
        )
        .repeat_interleave(8, 1)
        .repeat_interleave(8, 2)
    )
    mask = F.one_hot(label, classes).permute(0, 3, 1, 2).float()
    own = batch // 2
    free = batch // 4
    sides = [
        size // 8,
        *(size // 8 << i for i in range(4)),
    ]
    nothing = mask[:, :0]
    apart = (image - image.roll(1, 0)).abs().mean()

    def how() -> Any:
        v = torch.rand(batch, 7) * 2 - 1
        x = torch.arange(size) - (size - 1) / 2

        def matrix(flip: Any, shift: Any) -> Any:
            scale = torch.where(flip < 0, -1.0, 1.0) * 1.15 ** v[:, 0]
            at = (scale[:, None] * x + shift[:, None] / 8 * size + (size - 1) / 2).clamp(
                0, size - 1
            )
            return (1 - (at[..., None] - torch.arange(size)).abs()).clamp(min=0)

        return (
            matrix(v[:, 1], v[:, 2]),
            matrix(v[:, 3], v[:, 4]),
            1.3 ** v[:, 5, None, None, None],
            0.2 * v[:, 6, None, None, None],
        )

    def changed(h: Any, mask: Any, image: Any) -> Any:
        n = len(image)
        both = torch.einsum(
            "bij,bcjw->bciw",
            h[0][:n],
            torch.cat([mask, image], 1),
        )
        both = torch.einsum("bkw,bciw->bcik", h[1][:n], both)
        k = mask.shape[1]
        m = both[:, :k]
        x = both[:, k:]
        mean = x.mean((1, 2, 3), keepdim=True)
        return m, (x - mean) * h[2][:n] + mean + h[3][:n]

    def hinge(real: list[Any], generated: list[Any]) -> Any:
        pairs = zip(real, generated, strict=True)
        return sum(F.relu(1 - a).mean() + F.relu(1 + b).mean() for a, b in pairs) / len(real)

    def twice(x):
        return torch.cat(
            [
                x[:own],
                x[own : own + free].repeat_interleave(2, 0),
            ]
        )

    count = [0]

    def step() -> None:
        fresh = [torch.randn(batch, noise if i == 0 else 1, s, s) for i, s in enumerate(sides)]
        fresh = [twice(f) for f in fresh]
        mean, logvar = g.encoder(image[:own], mask[:own])
        code = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
        code = torch.cat(
            [
                code,
                torch.stack(
                    [torch.randn(free, z), code[:free].detach()],
                    1,
                ).flatten(0, 1),
            ]
        )
        masks = twice(mask)
        fake = g(masks, code, fresh)
        h = how()
        h_other = how()
        # discriminators
        opt_d.zero_grad(set_to_none=True)
        rm, ri = changed(h, mask, image)
        fm, fi = changed(h, masks, fake.detach())
        _, oi = changed(h_other, nothing, other)
        logits, _ = d(
            torch.cat(
                [
                    torch.cat([rm, ri], 1),
                    torch.cat([fm, fi], 1),
                ]
            )
        )
        loss: Any = hinge(
            [y[:batch] for y in logits],
            [y[batch:] for y in logits],
        )
        logits, _ = u(torch.cat([oi, fi]))
        loss = loss + hinge(
            [y[:batch] for y in logits],
            [y[batch:] for y in logits],
        )
        if count[0] % 16 == 0:
            for net, x, m in ((d, image, mask), (u, other, nothing)):
                x = x.clone().requires_grad_()
                score = sum(y.mean((1, 2, 3)) for y in net(torch.cat([m, x], 1))[0]) / 2
                (slope,) = torch.autograd.grad(score.sum(), x, create_graph=True)
                loss = loss + 16 * 0.5 * slope.square().sum() / batch
        loss.backward()
        opt_d.step()
        # generator
        opt_g.zero_grad(set_to_none=True)
        for p in (*d.parameters(), *u.parameters()):
            p.requires_grad_(False)
        fm, fi = changed(h, masks, fake)
        logits, features = d(
            torch.cat(
                [
                    torch.cat([fm, fi], 1),
                    torch.cat([rm, ri], 1)[:own],
                ]
            )
        )
        total: Any = (
            -sum(y[:batch].mean() for y in logits) / 2 - 0.5 * sum(y.mean() for y in u(fi)[0]) / 2
        )
        total = total + 10 * sum(
            (f[batch:].detach() - f[:own]).abs().mean() for f in features
        ) / len(features)
        difference = (fake[:own] - image[:own]).abs()
        area = mask[:own].sum((2, 3))
        total = total + 10 * ((difference * mask[:own]).sum((2, 3)) / area.clamp(min=1)).mean()
        total = total + 0.02 * 0.5 * (logvar.exp() + mean**2 - 1 - logvar).sum(1).mean()
        # the style is recovered through the encoder as it is, which learns nothing from it
        for p in g.encoder.parameters():
            p.requires_grad_(False)
        total = (
            total + 0.5 * (g.encoder(fake[own:], masks[own:])[0] - code[own:].detach()).abs().mean()
        )
        for p in g.encoder.parameters():
            p.requires_grad_(True)
        front = masks[own::2, 1:].sum(1, keepdim=True)
        far = (fake[own::2] - fake[own + 1 :: 2]).abs()

        def part(w):
            return (far * w).sum((1, 2, 3)) / (w.sum((1, 2, 3)) + 1)

        total = total + 2 * F.relu(1 - 0.5 * (part(front) + part(1 - front)) / (0.5 * apart)).mean()
        total.backward()
        opt_g.step()
        for p in (*d.parameters(), *u.parameters()):
            p.requires_grad_(True)
        with torch.no_grad():
            for a, p in zip(average, g.parameters(), strict=True):
                a.lerp_(p, 0.001)
        count[0] += 1

    def run() -> None:
        for _ in range(inner):
            step()

    def size_of(net: nn.Module) -> int:
        return sum(p.numel() for p in net.parameters())

    run.parameters = (size_of(g), size_of(d), size_of(u))  # type: ignore[attr-defined]
    return run


def sampling(size: int, n: int) -> float:
    """Samples a second, masks varied, painted and written as PNG, of a set of ``n``; the second
    set, so that nothing compiles.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        fit.fit(
            settings.Settings(labels=32, image_size=size, steps=1, log_every=1, grid_every=1),
            place / "g",
            progress=False,
        )
        fitted = sample.load(place / "g")
        sample.sample_set(fitted, place / "warm", 16, progress=False)
        began = time.perf_counter()
        sample.sample_set(fitted, place / "set", n, progress=False)
        return n / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--inner", type=int, default=16, help="steps a round: one of 16 has the gradient penalty"
    )
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    contenders = {
        "jax": ours(args.size, args.batch, args.inner),
        "pytorch_nchw": peer(args.size, args.batch, args.inner),
    }
    p = fit.program_of(
        settings.Settings(image_size=args.size, batch=args.batch),
        1,
        2,
    )
    state = jax.eval_shape(lambda: program.start(p, jnp.uint32(0)))

    def size_of(tree: Any) -> int:
        return sum(x.size for x in jax.tree.leaves(tree))

    sizes = (
        size_of(state.g),
        size_of(state.d.weights),
        size_of(state.u.weights),
    )
    sizes_of_peer = contenders["pytorch_nchw"].parameters  # type: ignore[attr-defined]
    assert sizes == sizes_of_peer, (sizes, sizes_of_peer)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
    for _ in range(args.repeats):
        for name, run in contenders.items():
            began = time.perf_counter()
            run()
            seconds[name].append((time.perf_counter() - began) / args.inner)
    found = {
        "command": "python experiments/benchmarks/gan_step.py",
        "parameters": {
            "generator": sizes[0],
            "pair_discriminator": sizes[1],
            "image_discriminator": sizes[2],
        },
        "step_s": {name: statistics.median(s) for name, s in seconds.items()},
        "jax / pytorch_nchw": statistics.median(map(operator.truediv, *seconds.values())),
        "samples_per_s_at_96": sampling(96, args.samples),
        "size": args.size,
        "batch": args.batch,
        "repeats": args.repeats,
        "inner": args.inner,
        "goals": {"jax / pytorch_nchw": 1.3, "samples_per_s_at_96": 50},
        "versions": {name: version(name) for name in ("jax", "jaxlib", "torch")},
        "cores": len(jax.devices()),
        "processor": platform.machine(),
    }
    print(json.dumps(found, indent=1))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
