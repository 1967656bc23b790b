"""What convolving volumes by their planes gains on a CPU: convolutions and training steps of 3D
networks in two checkouts, in turn.

Command: git clone . ../base && git -C ../base checkout COMMIT
         taskset -c 0 python experiments/benchmarks/volume_step.py --base ../base
             --json experiments/results/volume_step.json
(four minutes on one core; exit 1 above --goal)
Seconds are those of the processor, so that other work beside them counts little; give one core
(taskset -c 0). A ratio is the median over rounds of this checkout's seconds over the base's in the
same round.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import checkouts

CHILD = """
import json, time
import jax, jax.numpy as jnp
from jax import lax
from semiseg import nets
from semiseg.nets.layers import conv


def seconds(work, *arguments):
    # the median of three loops of three
    @jax.jit
    def loop(arguments):
        def turn(carry, _):
            moved = jax.tree.map(lambda a: a + 1e-9 * carry, arguments)
            return sum(jnp.mean(leaf) for leaf in jax.tree.leaves(work(*moved))), None
        return lax.scan(turn, jnp.float32(0), None, length=3)[0]

    jax.block_until_ready(loop(arguments))
    times = []
    for _ in range(3):
        began = time.process_time()
        jax.block_until_ready(loop(arguments))
        times.append((time.process_time() - began) / 3)
    return sorted(times)[1]


def gradients(x, w, g):
    return jax.vjp(conv, x, w)[1](g)


seconds_of = {}
for size, channels, out in (((32, 48, 40), 16, 8), ((16, 24, 20), 32, 16), ((8, 12, 10), 64, 32)):
    x = jax.random.normal(jax.random.key(0), (2, *size, channels))
    w = jax.random.normal(jax.random.key(1), (3, 3, 3, channels, out))
    g = jax.random.normal(jax.random.key(2), (2, *size, out))
    name = f"{channels} to {out} channels, 2 x {size[0]} x {size[1]} x {size[2]}"
    seconds_of[name + ", forward"] = seconds(conv, x, w)
    seconds_of[name + ", both gradients"] = seconds(gradients, x, w, g)
chosen = {
    "unet 8-64": nets.UNet(dims=3, widths=(8, 16, 32, 64)),
    "plain_vnet 8-64": nets.PlainVNet(width=8, convs=(1, 2, 2, 2), ups=(2, 2, 1)),
    "segresnet 8-64": nets.SegResNet(width=8, down=(1, 2, 2, 2)),
}
for name, net in chosen.items():
    x = jax.random.normal(jax.random.key(0), (2, 32, 48, 32, 1))
    params = net.init(jax.random.key(1), x, 3)

    def loss(params, x, net=net):
        return jnp.mean(net.apply(params, x, train=True).logits ** 2)

    seconds_of[name + ", step"] = seconds(jax.grad(loss), params, x)
print(json.dumps(seconds_of))
"""


def main() -> int:
    args = checkouts.parser(__doc__, rounds=3, goal=0.67).parse_args()
    seconds: dict[str, dict[str, list[float]]] = {}
    for _, checkout, root in checkouts.in_turn(checkouts.pair(args.base), args.rounds):
        for name, value in measured(root).items():
            of_name = seconds.setdefault(name, {})
            of_name.setdefault(checkout, []).append(value)
    report = {}
    for name, timed in seconds.items():
        report[name] = {
            "ratio": round(checkouts.ratio(timed["this"], timed["base"]), 3),
            "ms": {key: round(1000 * statistics.median(of), 1) for key, of in timed.items()},
        }
        print(f"{name}: {report[name]['ratio']} of the base's seconds")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return int(any(row["ratio"] > args.goal for row in report.values()))


def measured(checkout: Path) -> dict[str, float]:
    """Seconds of everything in a process of a checkout."""
    printed = checkouts.run(checkout, CHILD)
    seconds: dict[str, float] = json.loads(printed.splitlines()[-1])
    return seconds


if __name__ == "__main__":
    sys.exit(main())
