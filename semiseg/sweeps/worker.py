"""``python -m semiseg.sweeps.worker OUT SESSION OPTIONS [with-parent]``: one of the processes of
``semiseg sweep --jobs``, or a task on a cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from typing import Any

from semiseg.environment import ended
from semiseg.errors import DiskError, UserError
from semiseg.sweeps.work import Options, work
from semiseg.train.loop import Interrupted

FULL = 28
"""Exit code of a worker that cannot write."""
WITH_PARENT = "with-parent"
"""Argument of a worker that stops when its stdin closes, see :func:`stop_with_parent`."""


def main() -> int:
    out, session, options, *words = sys.argv[1:]
    if WITH_PARENT in words:
        stop_with_parent()
    try:
        work(out, session, Options(**json.loads(options)), say=lambda line: print(line, flush=True))
    except Interrupted as stopped:
        print(stopped, flush=True)
        return 130
    except UserError as error:
        with contextlib.suppress(OSError):  # the log may be what nothing can be written to
            print(f"semiseg: error: {error}", flush=True)
        return FULL if isinstance(error, DiskError) else 2
    return 0


def stop_with_parent() -> None:
    """Ask this process to stop, as SIGTERM does, when whoever started it is gone.

    A sweep that is killed cannot end its workers: they would train on, and hold their trials.
    """

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def task(out: str, session: str, options: Options) -> str:
    """One worker as a task of a cluster's engine.

    An engine wraps an exception in a long traceback. So what ended the worker early is returned,
    not raised.

    Args:
      out: the sweep's folder.
      session: names this call of ``semiseg sweep``.
      options: of the sweep.

    Returns:
      The message of what ended the worker early; "" if there is no work left.
    """
    try:
        work(out, session, options)
    except (Interrupted, UserError) as error:
        return str(error)
    return ""


def again(*given: Any) -> Any:
    """The task that submitit puts back into Slurm's queue when the job's time is over or its
    machine is taken away: the same task, which resumes.
    """
    from submitit.helpers import DelayedSubmission

    return DelayedSubmission(task, *given)


task.checkpoint = again  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(ended(main()))
