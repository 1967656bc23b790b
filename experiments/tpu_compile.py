"""Does the training program fit a TPU v5e? Compiled ahead of time for the chip, without one.

Command: pip install libtpu
         python experiments/tpu_compile.py --csv experiments/results/tpu_compile.csv
         (--only unimatch-acdc,unet3d … for some programs; a second call goes on after the last row)

The program is that of `semiseg train`: a chunk of steps with the draw of its batches, augmentation,
the method and the optimiser, over pools of the shape of ACDC (2D) or of the left atrium (3D). XLA's
own compiler for the chip says what memory a device needs: arguments (weights, optimiser, pools, on
every chip), and temporary arrays (activations of a chip's part of the batch). A row is written as
soon as its program is compiled, each in a process of its own. A program that does not fit gives the
compiler's words.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

COLUMNS = (
    "program",
    "precision",
    "chips",
    "fits",
    "arguments_mib",
    "temporary_mib",
    "needed_mib",
    "compile_s",
    "versions",
    "problem",
)
MEMORY_MIB = 16 * 1024
"""Of a TPU v5e."""
LIMIT_S = 1800
TOPOLOGY = "v5e:2x2"


class Pool(NamedTuple):
    """The shape of a training pool.

    Attributes:
      images: slices, or volumes.
      voxels: of all of them.
      scans: they are of.
      classes: with the background.
    """

    images: int
    voxels: int
    scans: int
    classes: int


ACDC = Pool(images=1312, voxels=1312 * 256 * 216, scans=140, classes=4)
LEFT_ATRIUM = Pool(images=80, voxels=80 * 88 * 272 * 272, scans=80, classes=2)


def _preset(name: str, method: str) -> Callable[[], Any]:
    def trial() -> Any:
        from semiseg.config import preset

        return preset(name, method)

    return trial


def _volumes(net: str, **fields: Any) -> Callable[[], Any]:
    def trial() -> Any:
        from semiseg.config import Trial, override

        size = {"image_size": 96, "depth": 96, "batch": 4, "spacing": "native"}
        options = {f"net.{name}": value for name, value in fields.items()}
        return override(Trial(), {"net": net, "method": "supervised", **size, **options})

    return trial


PROGRAMS: dict[str, tuple[Callable[[], Any], Pool]] = {
    "ssl4mis supervised": (_preset("ssl4mis", "supervised"), ACDC),
    "ssl4mis mean_teacher": (_preset("ssl4mis", "mean_teacher"), ACDC),
    "bcp-acdc": (_preset("bcp-acdc", "bcp"), ACDC),
    "unimatch-acdc": (_preset("unimatch-acdc", "unimatch"), ACDC),
    "uamt-la": (_preset("uamt-la", "uamt"), LEFT_ATRIUM),
    "unet3d": (_volumes("unet", dims=3, widths=(32, 64, 128, 256)), LEFT_ATRIUM),
    "resenc_unet3d": (_volumes("resenc_unet", dims=3), LEFT_ATRIUM),
    "swin_unetr": (_volumes("swin_unetr"), LEFT_ATRIUM),
}


def main() -> int:
    """Compile what the table lacks; returns 1 where the compiler failed for another reason than
    memory.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--only", default=",".join(PROGRAMS))
    parser.add_argument("--chips", default="1,4")
    parser.add_argument("--precision", default="float32,bfloat16")
    parser.add_argument("--here", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        name, precision, chips = args.here
        print(json.dumps(compiled(name, precision, int(chips))))
        return 0
    code = 0
    done = _done(args.csv)
    for name in args.only.split(","):
        for precision in args.precision.split(","):
            for chips in args.chips.split(","):
                if (name, precision, chips) not in done:
                    row = _in_a_process(name, precision, chips)
                    code |= int(row["fits"] == "unknown")
                    _add(args.csv, row)
                    print(row, flush=True)
    return code


def _in_a_process(name: str, precision: str, chips: str) -> dict[str, Any]:
    """A row of the table: libtpu ends the process where it fails."""
    command = [sys.executable, __file__, "--csv", os.devnull, "--here", name, precision, chips]
    # a topology is known without asking for the machine's own chips
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
    row: dict[str, Any] = {"program": name, "precision": precision, "chips": chips}
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, env=environment
        )
    except subprocess.TimeoutExpired:
        return {**row, "fits": "unknown", "problem": f"not compiled in {LIMIT_S} s"}
    if result.returncode == 0:
        return {**row, **json.loads(result.stdout.splitlines()[-1])}
    return {**row, **_problem(result.stderr)}


def _problem(text: str) -> dict[str, Any]:
    """What the compiler says of a program that it does not compile.

    Its words for memory: ``Ran out of memory in memory space hbm. Used 18.23G of 15.75G hbm``.
    """
    used = re.search(r"Used ([\d.]+)([GM]) of ([\d.]+)([GM]) hbm", text)
    if used is None:
        lines = [line for line in text.splitlines() if line.strip()]
        return {"fits": "unknown", "problem": lines[-1][:200] if lines else "no word"}
    needed = float(used[1]) * {"G": 1024, "M": 1}[used[2]]
    words = f"needs {used[1]}{used[2]} of {used[3]}{used[4]}"
    return {"fits": "no", "needed_mib": round(needed), "problem": words}


def compiled(name: str, precision: str, chips: int) -> dict[str, Any]:
    """Compile a training program for some chips of a TPU v5e, and what that says of its memory."""
    import jax
    import jax.numpy as jnp
    import jaxlib
    import libtpu
    from jax.experimental import topologies
    from jax.sharding import AxisType, Mesh

    from semiseg import config, devices
    from semiseg.runner.build import knobs_of, model_for, program_of
    from semiseg.train import program as programs

    make, pool = PROGRAMS[name]
    trial = config.override(make(), {"net.dtype": precision})
    labelled = trial.method.labelled(trial.batch)
    number = devices.largest_divisor((labelled, trial.batch - labelled), chips)
    described = topologies.get_topology_desc(TOPOLOGY, "tpu")
    mesh = Mesh(described.devices[:number], ("data",), axis_types=(AxisType.Auto,))

    class OnChips(programs.Program):
        """The same program over the chips that it is compiled for."""

        def mesh(self, method: Any) -> Mesh:
            return mesh

    model = model_for(trial, 1, pool.classes)
    pools = _pools(pool, len(trial.frame.window))
    model = model._replace(pool=pools.image.voxels)
    program = OnChips(**_fields(program_of(trial, model)))
    knobs = jax.tree.map(jnp.float32, knobs_of(trial))
    seed = jax.ShapeDtypeStruct((), jnp.uint32)
    state = jax.eval_shape(lambda k, s: programs.start(program, k, s), knobs, seed)
    until = jax.ShapeDtypeStruct((), jnp.int32)

    def everywhere(tree: Any) -> Any:
        sharding = devices.copied(mesh)
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    arguments = map(everywhere, (knobs, seed, pools, state, until))
    began = time.perf_counter()
    memory = programs.chunk.lower(program, *arguments).compile().memory_analysis()
    mib = 2**20
    inside = memory.argument_size_in_bytes / mib
    temporary = memory.temp_size_in_bytes / mib
    returned = (memory.output_size_in_bytes - memory.alias_size_in_bytes) / mib
    needed = inside + temporary + max(returned, 0) + memory.generated_code_size_in_bytes / mib
    versions = f"jax {jax.__version__} jaxlib {jaxlib.__version__} libtpu {libtpu.__version__}"
    return {
        "chips": number if number == chips else f"{number} of {chips}",
        "fits": "yes" if needed < MEMORY_MIB else "no",
        "arguments_mib": round(inside),
        "temporary_mib": round(temporary),
        "needed_mib": round(needed),
        "compile_s": round(time.perf_counter() - began),
        "versions": versions,
    }


def _fields(program: Any) -> dict[str, Any]:
    return {field.name: getattr(program, field.name) for field in dataclasses.fields(program)}


def _pools(pool: Pool, axes: int) -> Any:
    """Shapes of the pools of a trial that draws windows anywhere and knows its hidden labels."""
    import jax
    import jax.numpy as jnp

    from semiseg.data import foreground
    from semiseg.types import Choice, Foreground, Images, Pools

    def of(kind: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, kind)

    n = pool.images
    whole, real = jnp.int32, jnp.float32
    image = Images(
        voxels=of(jnp.uint8, 1, pool.voxels, 1),
        page=of(whole, n),
        offset=of(whole, n, 1),
        shape=of(whole, n, axes),
        mean=of(real, n, 1),
        deviation=of(real, n, 1),
    )
    classes = pool.classes - 1
    most = min(foreground.ROOM // (pool.scans * classes), foreground.MOST)
    choice = Choice(of(whole, n), of(whole), of(real, n))
    return Pools(
        image=image,
        label=of(jnp.uint8, 1, pool.voxels),
        labelled=choice,
        unlabelled=choice,
        synthetic_count=of(whole),
        foreground=Foreground(
            of(whole, n),
            of(whole, pool.scans, classes, most, 1 + axes),
            of(whole, pool.scans, classes),
        ),
        hidden=of(jnp.uint8, 1, pool.voxels),
    )


def _done(table: Path) -> set[tuple[str, str, str]]:
    if not table.is_file():
        return set()
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {(r["program"], r["precision"], r["chips"].rsplit(" ", 1)[-1]) for r in rows}


def _add(table: Path, row: dict[str, Any]) -> None:
    fresh = not table.is_file()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    sys.exit(main())
