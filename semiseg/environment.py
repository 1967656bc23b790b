"""Settings that must stand before NumPy and JAX are first imported; the user's own environment
wins.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path


def prepare() -> None:
    """Called by ``import semiseg``.

    - NumPy's BLAS threads spin against XLA's for the same cores (small products took 20 times
      longer beside a training program): one thread.
    - Cores are JAX devices of their own, at most eight, see :mod:`semiseg.devices`.
    - Compiled programs are kept between processes.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "semiseg" / "programs"
    )
    settings = {
        "OPENBLAS_NUM_THREADS": 1,
        "JAX_NUM_CPU_DEVICES": min(8, 2 ** (cores.bit_length() - 1)),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0,
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": -1,
    }
    own = [name for name in settings if name not in os.environ]
    os.environ.update({name: str(settings[name]) for name in own})
    if (
        "jax" in sys.modules
    ):  # which has read its environment, but has no devices yet unless it was already used
        import jax

        for name in own:
            if name.startswith("JAX_"):
                with contextlib.suppress(RuntimeError):
                    jax.config.update(name.lower(), settings[name])
