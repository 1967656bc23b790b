"""One run on several processes, on one machine or on several, by ``jax.distributed``.

Every process holds the pools, takes the same steps on its part of each batch, and ends with the
same weights. The first one writes the files. What it reads from the run's folder, and what is
decided by a clock or a signal, it says to the others.

Each process is started with the same command and

    SEMISEG_COORDINATOR=HOST:PORT   of the first process; ``auto`` asks SLURM or MPI
    SEMISEG_PROCESSES=N
    SEMISEG_PROCESS=0 … N - 1
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

import jax
import numpy as np

from semiseg.errors import UserError

COORDINATOR = "SEMISEG_COORDINATOR"
PROCESSES = "SEMISEG_PROCESSES"
PROCESS = "SEMISEG_PROCESS"
TIMEOUT = "SEMISEG_TIMEOUT"
SECONDS = 120
"""For which processes wait for each other at the start, unless SEMISEG_TIMEOUT says otherwise."""
PAUSE = 0.1
LOST = ("Gloo", "NCCL", "Connection", "coordination", "peer", "heartbeat")
"""Words of the errors of a step that a process is missing in."""

Tree = TypeVar("Tree")


class Group(NamedTuple):
    """What the environment says of the processes.

    Attributes:
      host, port: of the first process.
      number: of processes.
      process: number of this one.
      seconds: for which they wait for each other.
    """

    host: str
    port: int
    number: int
    process: int
    seconds: float


# ------------------------------------------------------------------ the start
def connect(environment: Mapping[str, str] = os.environ) -> None:
    """Join the other processes of this run, where the environment names any.

    Raises:
      UserError: the environment makes no sense, or a process does not come in time.
    """
    if not environment.get(COORDINATOR) or jax.distributed.is_initialized():
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if environment[COORDINATOR] == "auto":
        _initialize()
        return
    group = group_of(environment)
    if group.number == 1:
        return
    meet(group)
    _initialize(
        f"{group.host}:{group.port}",
        group.number,
        group.process,
        initialization_timeout=int(group.seconds) + 10,
        shutdown_timeout_seconds=60,
        cluster_detection_method="deactivate",
    )


def _initialize(*arguments: Any, **options: Any) -> None:
    try:
        jax.distributed.initialize(*arguments, **options)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"the processes of this run cannot be joined ({reason})",
            where=COORDINATOR,
            remedy=f"set {COORDINATOR} to HOST:PORT, {PROCESSES} and {PROCESS}",
        ) from None


def group_of(environment: Mapping[str, str]) -> Group:
    """What the environment says.

    Raises:
      UserError: it makes no sense.

    >>> group_of({COORDINATOR: "node7:4000", PROCESSES: "2", PROCESS: "1"})
    Group(host='node7', port=4000, number=2, process=1, seconds=120)
    """
    host, _, port = environment[COORDINATOR].rpartition(":")
    if not host or not port.isdigit():
        what = "must be HOST:PORT, or auto under SLURM or MPI"
        raise UserError(what, where=f"{COORDINATOR}={environment[COORDINATOR]}")
    number = _whole(environment, PROCESSES)
    index = _whole(environment, PROCESS)
    if index >= number:
        what = f"must be 0 to {number - 1}, with {PROCESSES}={number}"
        raise UserError(what, where=f"{PROCESS}={index}")
    seconds = SECONDS
    if environment.get(TIMEOUT):
        seconds = _whole(environment, TIMEOUT)
    return Group(host, int(port), number, index, seconds)


def _whole(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "")
    if not value.isdigit():
        raise UserError("must be a whole number", where=f"{name}={value}")
    return int(value)


def meet(group: Group) -> None:
    """Wait until all processes are there: JAX ends a process that waits in vain without a word.

    Raises:
      UserError: one does not come in time.
    """
    deadline = time.monotonic() + group.seconds
    if group.process:
        _knock(group, deadline)
    else:
        _receive(group, deadline)


def _receive(group: Group, deadline: float) -> None:
    """The first process's side."""
    guests: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(socket.create_server(("", group.port)))
        except OSError as error:
            what = f"port {group.port} cannot be opened ({error.strerror})"
            remedy = "choose another port"
            raise UserError(what, where=COORDINATOR, remedy=remedy) from None
        while len(guests) < group.number - 1:
            server.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                guest, _ = server.accept()
                stack.enter_context(guest)
                guest.settimeout(5)
                guests[int(guest.recv(16).decode())] = guest
            except (TimeoutError, ValueError):
                if time.monotonic() > deadline:
                    _absent(group, sorted(set(range(1, group.number)) - set(guests)))
        for guest in guests.values():
            guest.sendall(b"go")


def _absent(group: Group, missing: Sequence[int]) -> NoReturn:
    names = ", ".join(map(str, missing))
    raise UserError(
        f"process {names} of {group.number} did not come within {group.seconds:g} s",
        where=f"{COORDINATOR}={group.host}:{group.port}",
        remedy=f"start it with {PROCESS}={missing[0]} and the same command",
    )


def _knock(group: Group, deadline: float) -> None:
    """The side of the others."""
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((group.host, group.port), 5) as door:
                door.sendall(str(group.process).encode())
                door.settimeout(max(deadline - time.monotonic(), 0.01) + 1)
                if door.recv(2) == b"go":
                    return
                break
        except OSError:
            time.sleep(PAUSE)
    raise UserError(
        f"the first process did not answer, or another one did not come, within "
        f"{group.seconds:g} s",
        where=f"{COORDINATOR}={group.host}:{group.port}",
        remedy=f"start all {group.number} processes with the same command",
    )


# ------------------------------------------------------------------ while it runs
def several() -> bool:
    """Whether this run has more than one process."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this process writes the run's files."""
    return not several() or jax.process_index() == 0


def from_first(tree: Tree) -> Tree:
    """Arrays as the first process has them; the others give arrays of the same shapes."""
    if not several():
        return tree
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, tree))


def fact_from_first(fact: Any) -> Any:
    """A JSON value as the first process has it."""
    if not several():
        return fact
    text = json.dumps(fact).encode()
    length = int(from_first(np.int32(len(text))))
    content = np.frombuffer(text.ljust(length)[:length], np.uint8)
    return json.loads(from_first(content).tobytes())


def any_says(yes: bool) -> bool:
    """Whether any process says yes."""
    if not several():
        return yes
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.bool_(yes))))


def check_same(**facts: Any) -> None:
    """Refuse processes that do not do the same.

    Raises:
      UserError: naming the fact in which this process differs from the first.
    """
    if not several():
        return
    digests = {
        name: hashlib.sha256(repr(value).encode()).hexdigest() for name, value in facts.items()
    }
    of_first = fact_from_first(digests)
    different = [name for name in digests if digests[name] != of_first[name]]
    if any_says(bool(different)):
        raise UserError(
            f"process {jax.process_index()} and the first one differ in their "
            f"{' and '.join(different) or 'facts (another process says in which)'}",
            remedy="start all processes with the same command, code and data",
        )


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Turn the error of a step that a process is missing in into one line.

    Raises:
      UserError: another process has ended.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if not several() or not any(word in str(error) for word in LOST):
            raise
        raise UserError(
            "another process of this run has ended",
            remedy="see its message, then start all of them again to resume",
        ) from error


def leave(code: int) -> NoReturn:
    """End this process at once: JAX would wait for the others, which may not come."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
