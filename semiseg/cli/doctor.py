"""``semiseg doctor``: what works on this machine, what does not, and what to do about it, in plain
words.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import nothing_left, parse, take

USAGE = """usage: semiseg doctor [--json FILE]

Check this installation: versions, devices, a small computation, folders, optional parts, W&B. Exit code 1 if something must be mended.

  --json                         also write the findings to this file
"""
SUPPORTED = {
    "jax": ("0.10", "0.13"),
    "numpy": ("2.0", "99"),
    "flax": ("0.12", "99"),
    "optax": ("0.2.8", "99"),
}
EXTRAS = {
    "submitit": "slurm",
    "ray": "ray",
    "jupytext": "notebooks",
    "dicom2nifti": "dicom",
    "grain": "stream",
}

Finding = tuple[str, str, str]
"""``ok``, ``note`` or ``bad``; what was looked at; what was found."""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if flags.pop("help", False):
        print(USAGE)
        return 0
    own = take(flags, "doctor", {"json": None})
    nothing_left(flags, positional, "doctor", own)
    found = [*_versions(), *_devices(), *_folders(), *_extras(), *_wandb()]
    for level, what, words in found:
        print(f"{ {'ok': ' ok ', 'note': 'note', 'bad': 'BAD '}[level] }  {what:14} {words}")
    if own["json"]:
        rows: list[dict[str, Any]] = [dict(zip(("level", "what", "found"), f)) for f in found]
        Path(own["json"]).write_text(json.dumps(rows, indent=1) + "\n")
    bad = sum(level == "bad" for level, _, _ in found)
    print(
        f"{bad} thing{'s' if bad > 1 else ''} to mend" if bad else "all is well: try `semiseg demo`"
    )
    return 1 if bad else 0


def _versions() -> list[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    import semiseg

    found: list[Finding] = [
        (
            "ok",
            "semiseg",
            (
                f"{semiseg.__version__}, Python {platform.python_version()}, "
                f"{platform.platform(terse=True)}"
            ),
        )
    ]
    for name, (low, high) in SUPPORTED.items():
        try:
            have = version(name)
        except PackageNotFoundError:
            found.append(("bad", name, "is missing: pip install semiseg"))
            continue
        fits = _parts(low) <= _parts(have) < _parts(high)
        wanted = f"{low} or newer" if high == "99" else f"{low} to below {high}"
        found.append(
            ("ok", name, have)
            if fits
            else (
                "bad",
                name,
                f"{have}, but {wanted} is needed: pip install '{name}>={low},<{high}'",
            )
        )
    return found


def _devices() -> list[Finding]:
    try:
        import jax
        import jax.numpy as jnp

        devices = jax.devices()
        total = float(jax.jit(lambda x: (x @ x).sum())(jnp.ones((64, 64))))
    except Exception as error:  # a driver's trouble comes in many kinds
        return [
            (
                "bad",
                "JAX",
                (
                    f"cannot compute: {' '.join(str(error).split())[:140]}; set JAX_PLATFORMS=cpu to "
                    f"go on without the accelerator"
                ),
            )
        ]
    kinds = sorted({f"{d.platform}: {d.device_kind}" for d in devices})
    words = (
        f"{len(devices)} ({', '.join(kinds)}), computes"
        if total == 64**3
        else f"gave {total} instead of {64**3}"
    )
    found: list[Finding] = [("ok" if total == 64**3 else "bad", "devices", words)]
    if devices[0].platform == "cpu":
        gpu = shutil.which("nvidia-smi")
        remedy = (
            "an NVIDIA driver is here, but JAX has no CUDA: pip install 'semiseg[gpu]'"
            if gpu
            else "no accelerator; small sets and the demo are fine"
        )
        found.append(("note", "accelerator", remedy))
    return found


def _folders() -> list[Finding]:
    from semiseg.data import set_folder

    found: list[Finding] = []
    for what, place in (
        ("data", set_folder.default_root()),
        ("programs", Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", ""))),
    ):
        near = next((p for p in (place, *place.parents) if p.exists()), Path("/"))
        if not os.access(near, os.W_OK):
            found.append(
                (
                    "bad",
                    what,
                    (
                        f"{place}: cannot be written; set "
                        f"{'SEMISEG_DATA' if what == 'data' else 'XDG_CACHE_HOME'} to a folder that "
                        f"can"
                    ),
                )
            )
            continue
        free = shutil.disk_usage(near).free / 2**30
        size = (
            sum(p.stat().st_size for p in place.rglob("*") if p.is_file()) / 2**30
            if place.exists()
            else 0.0
        )
        found.append(
            (
                "note" if free < 5 else "ok",
                what,
                f"{place}: {size:.1f} GiB used, {free:.0f} GiB free"
                + (", which is little" if free < 5 else ""),
            )
        )
    return found


def _extras() -> list[Finding]:
    from importlib.util import find_spec

    missing = {extra for module, extra in EXTRAS.items() if find_spec(module) is None}
    have = sorted(set(EXTRAS.values()) - missing)
    found: list[Finding] = [("ok", "optional", f"installed: {', '.join(have) or 'none'}")]
    if missing:
        found.append(
            (
                "note",
                "optional",
                (
                    f"not installed: {', '.join(sorted(missing))}; when needed: pip install "
                    f"'semiseg[NAME]'"
                ),
            )
        )
    return found


def _wandb() -> list[Finding]:
    from semiseg.track.weights_and_biases import has_key, mode

    words = (
        "logged in"
        if has_key()
        else "no key, so runs would be mirrored offline: `wandb login` changes that"
    )
    tracked = os.environ.get("SEMISEG_TRACK", "none")
    return [
        (
            "ok",
            "W&B",
            (
                f"{words}; mode {mode()}; runs are mirrored "
                f"{'only with --track wandb' if tracked == 'none' else 'by default (SEMISEG_TRACK)'}"
            ),
        )
    ]


def _parts(version: str) -> tuple[int, ...]:
    return tuple(
        int("".join(c for c in part if c.isdigit()) or 0) for part in version.split(".")[:3]
    )
