"""What a run was computed with: versions, device and commit, for env.json."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from semiseg.environment import versions

PACKAGES = ("semiseg", "jax", "jaxlib", "flax", "optax", "numpy", "scipy")


def environment() -> dict[str, Any]:
    """Versions, device and commit."""
    device = jax.devices()[0]
    return {
        "versions": versions(*PACKAGES),
        "python": ".".join(map(str, sys.version_info[:3])),
        "device": f"{device.platform}: {device.device_kind}",
        "devices": jax.device_count(),
        "cores": os.cpu_count(),
        "commit": commit(),
    }


def commit() -> str:
    """The commit of the code's checkout; "" where it is none, or there is no git."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
