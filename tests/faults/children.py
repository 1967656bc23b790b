"""Commands in forked children of a process that has imported everything: a child starts at once.

JAX may not have been used before: its threads do not survive a fork.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import dataclasses
import faulthandler
import fcntl
import importlib
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from injection import AT_A_SIZE, Fault, Hook, limit_sizes

NONE = Fault()
PATIENCE = 300.0
"""Seconds until a command counts as one that never ends."""
NEVER = -1000
"""Its exit code."""
A_MINUTE = 60.0
PR_SET_CHILD_SUBREAPER = 36
"""Of prctl(2)."""
THREADED = ("wandb", "sentry_sdk", "pandas", "pyarrow")
"""Packages that start a thread when they are imported."""
PAUSE = 0.003
PIPE = 2**20


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
      code: exit code; minus the number of the signal that ended it.
      stdout, stderr: what it wrote.
      changes: a line for each change of the file system.
      modules: that it has imported, unless it was killed.
      seconds: of CPU time.
    """

    code: int
    stdout: str
    stderr: str
    changes: tuple[str, ...]
    modules: tuple[str, ...]
    seconds: float


def import_all(jax: bool = True) -> None:
    """What the commands import when they run, once for all children; JAX gets no device yet.

    Args:
      jax: also what commands import that train and predict.
    """

    import semiseg.cli.data
    import semiseg.cli.main
    import semiseg.data.importing
    import semiseg.runner.external

    if not jax:
        return

    import semiseg.analysis.load
    import semiseg.generators.quality_report
    import semiseg.generators.ratio
    import semiseg.report.page
    import semiseg.runner.ensemble
    import semiseg.sweeps  # noqa: F401


def import_modules(names: Sequence[str]) -> None:
    """Import what a command imports only when it runs, so that the next one starts at once.

    Raises:
      RuntimeError: one of them starts JAX or a thread, which do not survive a fork.
    """
    for name in names:
        package = name.partition(".")[0]
        if name not in sys.modules and package not in THREADED and not name.startswith("__"):
            with contextlib.suppress(Exception):  # made by hand, or for another system
                importlib.import_module(name)
    threads = len(os.listdir("/proc/self/task"))
    bridge = sys.modules.get("jax._src.xla_bridge")
    if threads > 1 or bridge and bridge._backends:
        raise RuntimeError(f"a module starts JAX or a thread ({threads} threads)")


class Child:
    """A command that runs in a folder of its own.

    Args:
      words: of the command line, without ``semiseg``.
      world: the folder.
      fault: that it meets.
      call: instead of ``main``, for what prepares a world.
      prepare: is called before it.
    """

    def __init__(
        self,
        words: Sequence[str],
        world: Path,
        fault: Fault = NONE,
        call: Callable[[list[str]], int] | None = None,
        prepare: Callable[[], None] | None = None,
    ):
        self.pipes = {kind: _pipe() for kind in ("stdout", "stderr", "changes", "modules")}
        self.before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.began = time.monotonic()
        self.status: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                if prepare:
                    prepare()
                code = self._run(list(words), world, fault, call)
            finally:
                os._exit(code)

    def _run(
        self,
        words: list[str],
        world: Path,
        fault: Fault,
        call: Callable[[list[str]], int] | None,
    ) -> int:
        os.dup2(self.pipes["stdout"][1], 1)
        os.dup2(self.pipes["stderr"][1], 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        faulthandler.enable()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(world)
        os.environ.update(environment(world))
        from semiseg.cli.main import main
        from semiseg.environment import ended

        sys.addaudithook(Hook(fault, world, self.pipes["changes"][1]))
        if fault.kind in AT_A_SIZE:
            limit_sizes(fault)
        try:
            code = (call or main)(words)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
            code = 1
        code = ended(code)
        os.write(self.pipes["modules"][1], "\n".join(sys.modules).encode())
        # as at the end of Python: threads that do not end keep the process
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        return code

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, patience: float = PATIENCE) -> Ended:
        """How it ended; it is killed when ``patience`` is over."""
        code = NEVER
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                break
            if time.monotonic() - self.began > patience:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                break
            time.sleep(PAUSE)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - self.before.ru_utime - self.before.ru_stime
        texts = [_content(*ends) for ends in self.pipes.values()]
        changes, modules = (tuple(text.splitlines()) for text in texts[2:])
        return Ended(code, texts[0], texts[1], changes, modules, seconds)


def _pipe() -> tuple[int, int]:
    """A pipe that takes a megabyte before somebody reads,."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE)
    return reader, writer


def _content(reader: int, writer: int) -> str:
    """What was written into a pipe, which is closed."""
    os.close(writer)
    os.set_blocking(reader, False)
    parts = []
    with contextlib.suppress(BlockingIOError):
        while part := os.read(reader, PIPE):
            parts.append(part)
    os.close(reader)
    return b"".join(parts).decode(errors="replace")


def adopt_orphans() -> None:
    """What a command starts and leaves behind becomes a child of this process (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux" and libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot adopt orphans")


def outlived(patience: float = A_MINUTE) -> list[str]:
    """The command lines of processes that outlive their command, which are killed.

    Args:
      patience: seconds that they have to end by themselves.
    """
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(PAUSE)
        except ChildProcessError:
            return []
    names = []
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        names.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:200])
        os.kill(int(pid), signal.SIGKILL)
        os.waitpid(int(pid), 0)
    return names


def environment(world: Path) -> dict[str, str]:
    """Nothing of a command goes elsewhere than into its world."""
    home = world / "home"
    return {
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "SEMISEG_DATA": str(world / "stores"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
