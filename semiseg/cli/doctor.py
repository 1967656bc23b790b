"""``semiseg doctor``: what works on this machine, what does not, and what to do about it, in plain
words.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from semiseg.cli.arguments import (
    Command,
    Flag,
    Flags,
    nothing_left,
    write_json,
)

COMMAND = Command(
    "doctor",
    """Check this installation: versions, devices, a small computation, folders, optional parts,
    W&B. Exit code 1 if something must be fixed.""",
    (Flag("json", "also write the findings to this file", value="FILE"),),
)
NO_LIMIT = "99"
SUPPORTED = {
    "jax": ("0.10", "0.13"),
    "numpy": ("2.0", NO_LIMIT),
    "flax": ("0.12", NO_LIMIT),
    "optax": ("0.2.8", NO_LIMIT),
}
EXTRAS = {
    "submitit": "slurm",
    "ray": "ray",
    "jupytext": "notebooks",
    "pydicom": "dicom",
    "grain": "stream",
    "tensorboardX": "tensorboard",
}
LABELS = {"ok": " ok ", "note": "note", "bad": "BAD "}
SIDE = 64
"""Of the matrix of ones that is multiplied with itself."""
LITTLE = 5
"""Fewer GiB free than these are worth a note."""
GIB = 2**30


class Finding(NamedTuple):
    """A check and its result.

    Attributes:
      level: ``ok``, ``note`` or ``bad``.
      what: what was checked.
      words: its result.
    """

    level: str
    what: str
    words: str


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    return COMMAND.run(argv, _examine)


def _examine(operands: list[str], flags: Flags) -> int:
    options = COMMAND.take(flags)
    nothing_left(flags, operands, "doctor", options)
    findings = [*_versions(), *_readers(), *_devices(), *_folders(), *_extras(), _wandb()]
    for finding in findings:
        print(f"{LABELS[finding.level]}  {finding.what:14} {finding.words}")
    rows: list[dict[str, Any]] = [
        {"level": finding.level, "what": finding.what, "found": finding.words}
        for finding in findings
    ]
    write_json(options["json"], rows)
    bad = sum(finding.level == "bad" for finding in findings)
    if not bad:
        print("all is well: try `semiseg demo`")
        return 0
    print(f"{bad} thing{'s' * (bad > 1)} to fix")
    return 1


def _versions() -> list[Finding]:
    """This package and the packages whose version matters."""
    import semiseg

    system = f"Python {platform.python_version()}, {platform.platform(terse=True)}"
    package = Finding("ok", "semiseg", f"{semiseg.__version__}, {system}")
    return [package, *(_version(name, *limits) for name, limits in SUPPORTED.items())]


def _version(name: str, low: str, high: str) -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version(name)
    except PackageNotFoundError:
        return Finding("bad", name, "is missing: pip install semiseg")
    if _parts(low) <= _parts(installed) < _parts(high):
        return Finding("ok", name, installed)
    needed = f"{low} to below {high}"
    if high == NO_LIMIT:
        needed = f"{low} or newer"
    remedy = f"pip install '{name}>={low},<{high}'"
    return Finding("bad", name, f"{installed}, but {needed} is needed: {remedy}")


def _readers() -> list[Finding]:
    """Packages that read files of strangers, and how much they may ask for."""
    from semiseg.data import reader_versions, size_limits

    findings = []
    for reader, installed in reader_versions.below():
        remedy = f"pip install '{reader.package}>={reader.lowest}'"
        words = f"{installed} reads {reader.reads}, but is not safe: {reader.why}; {remedy}"
        findings.append(Finding("bad", reader.package, words))
    if not findings:
        words = f"{len(reader_versions.READERS)} packages, none below its lowest safe version"
        findings.append(Finding("ok", "readers", words))
    return [*findings, Finding("ok", "limits", "; ".join(size_limits.stated()))]


def _devices() -> list[Finding]:
    """What JAX computes on, and whether it computes right."""
    try:
        import jax
        import jax.numpy as jnp

        devices = jax.devices()
        ones = jnp.ones((SIDE, SIDE))
        total = float(jax.jit(lambda x: (x @ x).sum())(ones))
    except Exception as error:  # a driver's trouble comes in many kinds
        reason = " ".join(str(error).split())[:140]
        remedy = "set JAX_PLATFORMS=cpu to compute without the accelerator"
        return [Finding("bad", "JAX", f"cannot compute: {reason}; {remedy}")]
    if total == SIDE**3:
        kinds = sorted({f"{device.platform}: {device.device_kind}" for device in devices})
        findings = [Finding("ok", "devices", f"{len(devices)} ({', '.join(kinds)}), computes")]
    else:
        findings = [Finding("bad", "devices", f"gave {total} instead of {SIDE**3}")]
    if devices[0].platform == "cpu":
        words = "no accelerator; small sets and the demo are fine"
        if shutil.which("nvidia-smi"):
            words = "an NVIDIA driver is here, but JAX has no CUDA: pip install 'semiseg[gpu]'"
        findings.append(Finding("note", "accelerator", words))
    return findings


def _folders() -> list[Finding]:
    """Where data sets and compiled programs are stored."""
    from semiseg.data import set_folder

    programs = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", ""))
    return [
        _folder("data", set_folder.default_root(), "SEMISEG_DATA"),
        _folder("programs", programs, "XDG_CACHE_HOME"),
    ]


def _folder(what: str, place: Path, variable: str) -> Finding:
    existing = next((path for path in (place, *place.parents) if path.exists()), Path("/"))
    if not os.access(existing, os.W_OK):
        remedy = f"set {variable} to a folder that can"
        return Finding("bad", what, f"{place}: cannot be written; {remedy}")
    free = shutil.disk_usage(existing).free / GIB
    used = 0.0
    if place.exists():
        used = sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) / GIB
    words = f"{place}: {used:.1f} GiB used, {free:.0f} GiB free"
    if free < LITTLE:
        return Finding("note", what, f"{words}, which is little")
    return Finding("ok", what, words)


def _extras() -> list[Finding]:
    """The optional parts of the installation."""
    from importlib.util import find_spec

    missing = {extra for module, extra in EXTRAS.items() if find_spec(module) is None}
    installed = sorted(set(EXTRAS.values()) - missing)
    findings = [Finding("ok", "optional", f"installed: {', '.join(installed) or 'none'}")]
    if missing:
        words = f"not installed: {', '.join(sorted(missing))}"
        remedy = "when needed: pip install 'semiseg[NAME]'"
        findings.append(Finding("note", "optional", f"{words}; {remedy}"))
    return findings


def _wandb() -> Finding:
    """Whether somebody is logged in to W&B, and when runs are mirrored."""
    from semiseg.track.weights_and_biases import has_key, mode

    login = "no key, so runs would be mirrored offline: `wandb login` changes that"
    if has_key():
        login = "logged in"
    mirrored = "by default (SEMISEG_TRACK)"
    if os.environ.get("SEMISEG_TRACK", "none") != "wandb":
        mirrored = "only with --track wandb"
    return Finding("ok", "W&B", f"{login}; mode {mode()}; runs are mirrored {mirrored}")


def _parts(version: str) -> tuple[int, ...]:
    """The first three numbers of a version.

    >>> _parts("0.10.1"), _parts("2.0rc1")
    ((0, 10, 1), (2, 1))
    """
    return tuple(
        int("".join(c for c in part if c.isdigit()) or 0) for part in version.split(".")[:3]
    )
