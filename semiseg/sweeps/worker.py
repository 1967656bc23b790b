"""``python -m semiseg.sweeps.worker OUT SESSION OPTIONS``: one of the processes of ``semiseg sweep
--jobs``, or a task on a cluster.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

from semiseg.errors import DiskError, UserError
from semiseg.sweeps.work import Options, work
from semiseg.train.loop import Interrupted

FULL = 28
"""Exit code of a worker that cannot write."""


def main() -> int:
    out, session, options = sys.argv[1:]
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


def task(out: str, session: str, options: Options) -> str:
    """The same on a cluster: what ended it early in its own words, which an engine would wrap in a
    page of its own; else nothing.
    """
    try:
        work(out, session, options)
    except (Interrupted, UserError) as error:
        return str(error)
    return ""


def again(*given: Any) -> Any:
    """What submitit puts back into Slurm's queue when the job's time is over or its machine is
    taken away: the same, which goes on where it was.
    """
    from submitit.helpers import DelayedSubmission

    return DelayedSubmission(task, *given)


task.checkpoint = again  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
