"""One case of the fuzz suite: a mutated input, run in a forked child, and a verdict.

A module with kinds has a tuple ``KINDS`` and stands in :data:`fuzz.registry.MODULES`::

    def seeds() -> dict[str, Tree]:                 # once a process, in the warmed parent
        return {"plain": {"runs/config.yaml": b"method: bcp\\n"}}

    def mutate(tree: Tree, rng: Random) -> str:     # changes the tree, says how, in a few words
        return mutate_one(tree, rng, fuzz.mutate_bytes.any_bytes)

    def run(place: Place) -> Verdict:               # in the child, the working folder is place.work
        outcome = command("report", place.input / "runs", "--out", place.work / "report")
        refused = judged(outcome)
        if refused is not None:
            return refused                          # REFUSED, or FAILURE with its reason
        if content_of(place.work) == place.seed["runs/config.yaml"]:
            return Verdict(SAME)
        return Verdict(FAILURE, "silent", "what is wrong")

    KINDS = (Kind("yaml", seeds, mutate, run, imports=("semiseg.cli.report",)),)

An exception that leaves ``run``, an end by a signal, a time limit, more memory than allowed, a
changed input, a file outside of ``place.work`` and ``place.home``, and code of the input that runs
are FAILURE without a line of the kind. ``semiseg.files`` and others may write beside the input only
where the kind says so (``writes_beside``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from fuzz import guarded

REFUSED = "refused"
SAME = "same"
DIFFERENT = "stated"
"""Accepted, and the bytes really mean the other content, or a warning says so."""
FAILURE = "FAILURE"

MEMORY = 4 << 30
"""Bytes of address space that a case may take beyond those of the parent."""
GROWTH = 1 << 30
"""Bytes of memory by which a case may grow: all inputs are small."""
CPU_SECONDS = 20
WALL_SECONDS = 120
"""On a machine with other work, a second of a process may take ten."""

Tree = dict[str, "bytes | str"]
"""Path below ``place.input`` → content; a ``str`` is the target of a symbolic link."""


class Verdict(NamedTuple):
    """What came of a case.

    Attributes:
      result: REFUSED, SAME, DIFFERENT or FAILURE.
      group: of a failure, what failures of one cause share.
      detail: for a person.
    """

    result: str
    group: str = ""
    detail: str = ""


class Place(NamedTuple):
    """The folders of a case, and what it was made of.

    Attributes:
      input: holds the mutated tree.
      work: the working folder, for what a command writes.
      home: of the user: caches and ledgers.
      seed: the tree before it was mutated.
      tree: the tree after.
      name: of the seed.
      rng: for choices of the command line; the same in each run of a case.
    """

    input: Path
    work: Path
    home: Path
    seed: Tree
    tree: Tree
    name: str
    rng: random.Random


@dataclasses.dataclass(frozen=True)
class Kind:
    """Inputs of one kind of file.

    Attributes:
      name: for ``--kind``.
      seeds: name → tree of good inputs; called once in the parent.
      mutate: changes a tree, says how.
      run: in the child: reads the input, and judges what came of it.
      weight: how often it is drawn.
      imports: modules that the parent imports, so that no child must.
      writes_beside: the command may change the input's folder.
    """

    name: str
    seeds: Callable[[], dict[str, Tree]]
    mutate: Callable[[Tree, random.Random], str]
    run: Callable[[Place], Verdict]
    weight: float = 1.0
    imports: tuple[str, ...] = ()
    writes_beside: bool = False


class Case(NamedTuple):
    """A mutated input.

    Attributes:
      kind: of the input.
      seed: of the whole run.
      number: within the run; kind, seed and number make the same case again.
      name: of the tree before it was mutated.
      tree: after it was.
      words: how it was mutated.
    """

    kind: Kind
    seed: int
    number: int
    name: str
    tree: Tree
    words: str


class Measured(NamedTuple):
    """A verdict, and what it took: seconds of the CPU, and bytes of memory gained."""

    verdict: Verdict
    cpu: float
    grown: int


_seeds: dict[str, dict[str, Tree]] = {}


def seeds_of(kind: Kind) -> dict[str, Tree]:
    """The good inputs of a kind, made once a process."""
    if kind.name not in _seeds:
        _seeds[kind.name] = kind.seeds()
    return _seeds[kind.name]


def warm(kinds: Iterable[Kind]) -> None:
    """Import what the children need, and make the good inputs."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # it lies in the user's home
    for module in COMMON:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    for kind in kinds:
        for module in kind.imports:
            importlib.import_module(module)
        seeds_of(kind)


COMMON = (
    *("semiseg.cli.main", "multiprocessing.synchronize", "encodings.cp437", "encodings.utf_8_sig"),
    *("tree", "pydantic.main", "pydantic.type_adapter", "pydantic.functional_validators"),
    *("pydantic.json_schema", "semiseg.evaluate.metric_titles", "semiseg.method_docs"),
)
"""What many commands and their libraries import when they are needed."""


def make_case(kind: Kind, seed: int, number: int) -> Case:
    """The case of a number; always the same one."""
    rng = random.Random(f"{seed}:{kind.name}:{number}")
    trees = seeds_of(kind)
    name = rng.choice(sorted(trees))
    tree = dict(trees[name])
    words = kind.mutate(tree, rng)
    return Case(kind, seed, number, name, tree, words)


def run_case(case: Case) -> Measured:
    """Run a case in a child of this process."""
    top = Path(tempfile.mkdtemp(prefix="fuzz-", dir=fast_folder()))
    reader, writer = os.pipe()
    before = guarded.memory("VmRSS")
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(case, top, writer)
    os.close(writer)
    try:
        content = _received(reader, pid)
        _, status, usage = os.wait4(pid, 0)
    finally:
        os.close(reader)
        shutil.rmtree(top, ignore_errors=True)
    verdict = _verdict(content, status)
    grown = usage.ru_maxrss * 1024 - before
    if verdict.result != FAILURE and grown > GROWTH:
        verdict = Verdict(FAILURE, f"memory:{case.kind.name}", f"grew by {grown:,} bytes")
    return Measured(verdict, usage.ru_utime + usage.ru_stime, grown)


def fast_folder() -> str | None:
    """Where files are kept in memory, if this machine has such a place."""
    shared = Path("/dev/shm")
    if shared.is_dir() and os.access(shared, os.W_OK):
        return str(shared)
    return None


def _received(reader: int, pid: int) -> bytes:
    """What the child says, until it ends or its time is over."""
    parts: list[bytes] = []
    end = time.monotonic() + WALL_SECONDS
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            os.killpg(pid, signal.SIGKILL)
            return b'{"result": "FAILURE", "group": "hang", "detail": "killed: it waited"}'
        part = os.read(reader, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _verdict(content: bytes, status: int) -> Verdict:
    if content:
        return Verdict(**json.loads(content))
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = signal.Signals(number).name
        if number in (signal.SIGXCPU, signal.SIGKILL):
            return Verdict(FAILURE, "hang", f"ended by {name} after {CPU_SECONDS} s")
        return Verdict(FAILURE, f"signal:{name}", f"ended by {name}")
    return Verdict(FAILURE, "exit", f"the process ended with {os.WEXITSTATUS(status)}")


# ------------------------------------------------------------------ in the child
def _child(case: Case, top: Path, writer: int) -> None:
    """Run the case, write the verdict, and end without the parent's exit handlers."""
    try:
        os.setsid()
        verdict = _run(case, top)
    except BaseException as error:
        verdict = of_exception(error)
    content = json.dumps(verdict._asdict(), default=str).encode()
    while content:
        content = content[os.write(writer, content) :]
    os._exit(0)


def _run(case: Case, top: Path) -> Verdict:
    place = _laid_out(case, top)
    stored = write_tree(place.input, case.tree)
    limit = guarded.memory("VmSize") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    watched = guarded.Watched(place.input, (place.work, place.home))
    verdict = case.kind.run(place)
    words = watched.problem()
    if words:
        return Verdict(FAILURE, words.partition(":")[0], words)
    if not case.kind.writes_beside and not guarded.holds(place.input, stored):
        return Verdict(FAILURE, "input changed", "the command changed its input")
    strange = guarded.strangers(top, ("input", "work", "home", "stdout", "stderr"))
    if strange:
        return Verdict(FAILURE, "written outside", ", ".join(strange))
    return verdict


def _laid_out(case: Case, top: Path) -> Place:
    """The folders of a case, with its input; outputs of C libraries go to files."""
    # two folders deep: what leads out by ../.. is still seen
    place = Place(
        top / "a" / "b" / "input",
        top / "a" / "b" / "work",
        top / "a" / "b" / "home",
        seeds_of(case.kind)[case.name],
        case.tree,
        case.name,
        random.Random(f"run:{case.seed}:{case.kind.name}:{case.number}"),
    )
    for folder in place[:3]:
        folder.mkdir(parents=True)
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "SEMISEG_DATA"):
        os.environ[name] = str(place.home)
    os.environ["TMPDIR"] = str(place.work)
    tempfile.tempdir = str(place.work)
    os.chdir(place.work)
    for name, number in (("stdout", 1), ("stderr", 2)):
        output = os.open(top / "a" / "b" / name, os.O_CREAT | os.O_RDWR)
        os.dup2(output, number)
        os.close(output)
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", closefd=False)
    return place


def write_tree(folder: Path, tree: Tree) -> Tree:
    """Write the files and links of a tree; returns it without names that no file can have."""
    stored: Tree = {}
    for name, content in tree.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                path.symlink_to(content)
            else:
                path.write_bytes(content)
        except (OSError, ValueError):
            continue
        stored[name] = content
    return stored


def read_tree(folder: Path) -> Tree:
    """The files of a folder as a tree: for seeds that a program writes."""
    tree: Tree = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            tree[path.relative_to(folder).as_posix()] = path.read_bytes()
    return tree


def written(write: Callable[[Path], Any]) -> Tree:
    """What a function writes into a new folder, as a tree.

    It runs in a child, whose threads and devices the cases do not inherit.
    """
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        pid = os.fork()
        if pid == 0:
            try:
                write(Path(folder))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        if os.waitpid(pid, 0)[1]:
            raise RuntimeError(f"{write} failed")
        return read_tree(Path(folder))


def of_exception(error: BaseException, words: str = "") -> Verdict:
    """The failure that an exception is, grouped by the last line of ours that it passed."""
    text = "".join(traceback.format_exception(error))
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/semiseg/" in frame.filename]
    where = "fuzz"
    if ours:
        last = ours[-1]
        where = f"{last.filename.rpartition('/semiseg/')[2]}:{last.lineno} {last.name}"
    elif frames:
        where = f"{frames[-1].filename}:{frames[-1].lineno}"
    return Verdict(FAILURE, f"{type(error).__name__} {where}{words}", text[-4000:])


# ------------------------------------------------------------------ commands
class Outcome(NamedTuple):
    """How a command ended: its exit code, and the lines that it wrote."""

    code: int
    out: str
    err: str
    words: tuple[str, ...] = ()


def command(*words: object) -> Outcome:
    """Run ``semiseg WORDS`` in this process, which is the child's.

    Raises:
      Exception: what the command did not turn into a line, also where ``main`` has a last defence.
    """
    from semiseg.cli.main import main

    argv = [str(word) for word in words]
    starts = [_length(1), _length(2)]
    try:
        code = main(argv)
    except SystemExit as error:  # of the parser of options
        code = error.code if isinstance(error.code, int) else 2
    outcome = Outcome(code, _since(1, starts[0]), _since(2, starts[1]), tuple(argv))
    if code == LAST_DEFENCE:
        main([*argv, "--debug"])  # raises, for the line of the traceback
    return outcome


NOTES = ("note:", "warning:", "left out:")
"""How lines begin that are no error."""
LOGGED = "WARNING:semiseg:"
"""How a log writes a warning, where a library has asked it to."""
LAST_DEFENCE = 70
"""The exit code of an error that nobody foresaw."""


def _length(number: int) -> int:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return os.fstat(number).st_size


def _since(number: int, start: int) -> str:
    return os.pread(number, _length(number) - start, start).decode(errors="replace")


def judged(outcome: Outcome, codes: tuple[int, ...] = (0,)) -> Verdict | None:
    """REFUSED for one line and exit code 2, None for one of ``codes``, else FAILURE."""
    # a bar of progress ends in \r, and notes are no part of the refusal
    lines = [line.removeprefix(LOGGED) for line in outcome.err.splitlines() if line.strip()]
    errors = [line for line in lines if not line.startswith(NOTES)]
    where = " ".join(word for word in outcome.words[:2] if "/" not in word)
    if outcome.code in codes:
        if "Traceback" in outcome.err:
            return Verdict(FAILURE, f"traceback {where}", outcome.err[-4000:])
        return None
    if outcome.code == LAST_DEFENCE:
        return Verdict(FAILURE, f"last defence {where}", outcome.err[-4000:])
    if outcome.code != 2:
        return Verdict(FAILURE, f"exit {outcome.code} {where}", outcome.err[-4000:])
    if len(errors) != 1 or not errors[0].startswith("semiseg: error:"):
        return Verdict(FAILURE, f"not one line {where}", outcome.err[-4000:])
    if "free space or choose another folder" in errors[0]:
        return Verdict(FAILURE, f"blames the disk {where}", errors[0])
    if any(not letter.isprintable() for letter in errors[0]):
        return Verdict(FAILURE, f"control characters {where}", repr(errors[0]))
    return Verdict(REFUSED, detail=errors[0])
