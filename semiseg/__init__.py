"""semiseg: label-efficient medical image segmentation on JAX.

Three ways in: the command line (``semiseg --help``), this Python API, and the experiment files of
the repository::

    import semiseg
    run = semiseg.run(semiseg.Trial(data="nuclei", labels=16, steps=300), out="runs/first")
    runs = semiseg.load_runs("runs")
    runs.to_pandas()
"""

import importlib
from typing import TYPE_CHECKING, Any

from semiseg.environment import prepare

prepare()
__version__ = "0.1.0"
__all__ = [
    "Ensemble",
    "Predictor",
    "Trial",
    "UserError",
    "load_plugin",
    "load_runs",
    "register",
    "run",
    "sweep",
]

# Imported on first use: `semiseg --help` and the data commands must not wait for JAX.
_HOME = {
    "Trial": "semiseg.config",
    "run": "semiseg.runner",
    "Predictor": "semiseg.runner.predictor",
    "Ensemble": "semiseg.runner.ensemble",
    "sweep": "semiseg.sweeps",
    "load_runs": "semiseg.analysis.load",
    "UserError": "semiseg.errors",
    "register": "semiseg.plugins",
    "load_plugin": "semiseg.plugins",
}

if TYPE_CHECKING:
    from semiseg.analysis.load import load_runs
    from semiseg.config import Trial
    from semiseg.errors import UserError
    from semiseg.plugins import load_plugin, register
    from semiseg.runner import run
    from semiseg.runner.ensemble import Ensemble
    from semiseg.runner.predictor import Predictor
    from semiseg.sweeps import sweep


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'semiseg' has no attribute {name!r}")
