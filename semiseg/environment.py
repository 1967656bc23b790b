"""What must be set before NumPy and JAX are first imported (the user's own environment wins), and
what is recorded of the environment.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

SAFE_PATH = "PYTHONSAFEPATH"
"""Python's environment variable for ``-P``."""
PATIENCE = 2.0
"""Seconds for which the threads of a library may outlive an error."""
WANDB_SETTINGS = ("wandb/settings", ".wandb/settings")
"""Where W&B looks for settings in the working folder."""


def prepare() -> None:
    """Set up NumPy and JAX; ``import semiseg`` calls it.

    - NumPy's BLAS threads spin against XLA's for the same cores (small products took 20 times
      longer beside a training program): one thread.
    - Cores are JAX devices of their own, at most eight, see :mod:`semiseg.devices`.
    - Compiled programs are stored, and other processes read them.
    """
    settings = {
        "OPENBLAS_NUM_THREADS": 1,
        "JAX_NUM_CPU_DEVICES": devices_for(usable_cores()),
        "JAX_COMPILATION_CACHE_DIR": str(_cache_folder()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0,
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": -1,
    }
    unset = [name for name in settings if name not in os.environ]
    os.environ.update({name: str(settings[name]) for name in unset})
    if "jax" not in sys.modules:
        return
    # JAX has read its environment, but has no devices yet unless it was already used
    import jax

    for name in unset:
        if name.startswith("JAX_"):
            with contextlib.suppress(RuntimeError):
                jax.config.update(name.lower(), settings[name])


@contextlib.contextmanager
def safe_path() -> Iterator[None]:
    """Python processes that are started meanwhile search no module in their working folder."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(SAFE_PATH, None)
        else:
            os.environ[SAFE_PATH] = before


@contextlib.contextmanager
def apart_from_the_working_folder() -> Iterator[None]:
    """What lies in the working folder, which a stranger may have packed, decides nothing meanwhile:
    no module of a child process, no settings of matplotlib, which are expressions that it
    evaluates, and none of W&B, which say where its key is sent.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(safe_path())
        if Path("matplotlibrc").exists():
            with contextlib.chdir(Path(__file__).parent):  # it reads them when it is imported
                importlib.import_module("matplotlib")
        if "WANDB_DIR" not in os.environ and any(Path(name).exists() for name in WANDB_SETTINGS):
            os.environ["WANDB_DIR"] = str(_cache_folder().parent)
            stack.callback(os.environ.pop, "WANDB_DIR", None)
        yield


def ended(code: int) -> int:
    """``code``, for the end of a process; where it is an error that threads of a library outlive,
    the process ends here. Python would wait for them: threads of Orbax whose save has failed wait
    for each other.
    """
    end = time.monotonic() + PATIENCE
    while code and _others():
        if time.monotonic() > end:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        time.sleep(0.02)
    return code


def _others() -> list[threading.Thread]:
    """Threads beside this one that Python waits for at its end."""
    here = threading.current_thread()
    threads = threading.enumerate()
    return [thread for thread in threads if thread is not here and not thread.daemon]


def devices_for(cores: int) -> int:
    """Number of JAX devices for a number of CPU cores: a power of two, at most eight.

    >>> [devices_for(cores) for cores in (1, 2, 3, 6, 64)]
    [1, 2, 2, 4, 8]
    """
    return min(8, 2 ** (cores.bit_length() - 1))


def usable_cores() -> int:
    """Number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions(*packages: str) -> dict[str, str]:
    """Installed versions by package.

    Raises:
      importlib.metadata.PackageNotFoundError: one is not installed.
    """
    from importlib.metadata import version  # 20 ms, and `import semiseg` imports this module

    return {package: version(package) for package in packages}


def _cache_folder() -> Path:
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(user) / "semiseg" / "programs"
