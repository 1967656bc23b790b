"""What the guards share: commands in a process with a fixed environment, and comparing weights.

Bits of a float32 result depend on the compiler's flags, the versions of JAX, the CPU, and the
number of its cores. So the guards run commands in a child process with an environment of their own,
independent of tests/conftest.py, on one core. A result is compared bit by bit only where
:func:`machine` equals the recorded one; elsewhere it is compared within a tolerance.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
MADE = HERE / "made_by_53dd379"
"""Folders that the code at commit 53dd379 wrote; see make_fixtures.py."""
RTOL = 2e-3
ATOL = 2e-4
"""Weights after 20 steps on another machine. Adam divides a gradient by its own size, so rounding
in a gradient near 0 moves a weight by a share of the learning rate, 0.01."""

NET = ["--net.widths=4,8", "--image-size=24"]
FRAME = ["--spacing=stretch", "--intensity=slice", "--draw-by=images", "--foreground=0"]
"""What 53dd379 showed a network of an image, and how it drew."""
CUTOUTS = ["--augment.under-cutouts=taught"]
"""What it taught of pixels under a cut-out."""
TRAIN = [
    "--data=discs",
    *NET,
    *FRAME,
    *CUTOUTS,
    "--labels=4",
    "--steps=20",
    "--batch=4",
    "--lr=0.01",
    "--log-every=5",
    "--eval-every=10",
    "--quiet",
]
FIT = [
    "--data=discs",
    "--labels=4",
    "--image-size=32",
    *FRAME[:2],
    "--steps=20",
    "--batch=4",
    "--log-every=5",
    "--grid-every=20",
    "--generator.widths=8,4",
    "--generator.hidden=4",
    "--generator.noise=2",
    "--generator.style=4",
    "--discriminator.widths=4,8",
    "--discriminator.scales=1",
    "--quiet",
]
"""Flags of a tiny run and of a tiny generator."""

CHILD = """
import json, os, random, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})
from semiseg.cli.main import main
import contextlib, io, time
results = []
for argv in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    began = time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(argv)
        except SystemExit as stop:
            code = stop.code or 0
    if os.environ.get("GUARD_TIMES"):
        print(round(time.monotonic() - began, 1), argv[:2], file=sys.stderr)
    results.append([code, out.getvalue(), err.getvalue()])
json.dump(results, open(sys.argv[1], "w"))
"""


def environment(stores: Path) -> dict[str, str]:
    """The environment of a child: one device, no optimisation that costs compile time, no flag, and
    ledgers of its own: an import says where else the same test images stand.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JAX_", "XLA_", "SEMISEG_", "WANDB_"))
    }
    return kept | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(Path(tempfile.gettempdir()) / "semiseg-guard-programs"),
        "SEMISEG_DATA": str(stores),
        "XDG_STATE_HOME": str(stores.parent.with_name(f"{stores.parent.name}-state")),
        "COLUMNS": "200",
        "MPLBACKEND": "agg",
    }


def commands(argvs: list[list[str]], cwd: Path, stores: Path) -> list[tuple[int, str, str]]:
    """Exit code, output and error output of each ``semiseg`` command, run in one child process."""
    file = cwd / "child.json"
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(file)],
        input=json.dumps(argvs),
        cwd=cwd,
        env=environment(stores),
        text=True,
        capture_output=True,
    )
    print(child.stderr, file=sys.stderr)
    assert child.returncode == 0, child.stderr[-4000:]
    results = json.loads(file.read_text())
    file.unlink()
    return [(code, out, err) for code, out, err in results]


def machine() -> dict[str, str]:
    """What bits depend on: versions, CPU type and its vector instructions."""
    facts = {p: version(p) for p in ("jax", "jaxlib", "flax", "optax", "numpy")}
    facts["platform"] = f"{platform.system()} {platform.machine()}"
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    for name in ("vendor_id", "cpu family", "model", "stepping", "cache size"):
        match = re.search(rf"^{name}\s*: (.*)$", text, re.M)
        facts[name] = match[1] if match else "unknown"
    flags = re.search(r"^flags\s*: (.*)$", text, re.M)
    words = flags[1].split() if flags else []
    facts["vector instructions"] = " ".join(sorted(w for w in words if re.match("avx|fma|sse", w)))
    return facts


def weights(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file by their key."""
    from safetensors.numpy import load

    return load(path.read_bytes())


def digest(arrays: dict[str, np.ndarray]) -> str:
    """sha256 of keys, types, shapes and bytes, in the order of the keys."""
    sha = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        sha.update(f"{key} {array.dtype} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def assert_same_weights(path: Path, recorded: Path, made_on: dict[str, str]) -> None:
    """Equal but for rounding on the machine type that made ``recorded``, since pixels are gathered
    in another order now; else equal within a tolerance.
    """
    new = weights(path)
    old = weights(recorded)
    assert sorted(new) == sorted(old)
    is_close = {"rtol": RTOL, "atol": ATOL}
    if made_on == machine():
        is_close = {"rtol": 1e-4, "atol": 1e-6}
    for key in old:
        np.testing.assert_allclose(new[key], old[key], **is_close, err_msg=key)


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
