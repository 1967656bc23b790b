"""One worker: takes the next trial that nobody has, runs it, records how it ended. Any number of
workers share a folder, on any machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg import plugins
from semiseg.config import Trial
from semiseg.errors import UserError, disk_problem, writing
from semiseg.fields import static_values
from semiseg.files import read_json_if_whole, write_text
from semiseg.holding import holding
from semiseg.run_folder import TRAIN_AGAIN, RunFolder
from semiseg.sweeps.claims import DEATHS, Claims, summary_of
from semiseg.sweeps.rejected import Rejected, rejection
from semiseg.sweeps.search import Judge, Search, Stopped
from semiseg.sweeps.spec import Spec, read, trials
from semiseg.train.loop import Interrupted

if TYPE_CHECKING:
    from semiseg.runner import Result


@dataclasses.dataclass(frozen=True)
class Options:
    """What a sweep's command says beside its file."""

    test: bool = False
    track: str = "none"
    progress: bool = False
    jobs: int = 1
    plugins: Sequence[str] = ()
    rejected: str = "say"


def finished(folder: Path, options: Options) -> bool:
    """Whether a trial needs no more work: it has its summary (with the test split, where that is
    wanted), was stopped early, or is dropped since its generated set is rejected.
    """
    run = RunFolder(folder)
    if run.early_stop.exists():
        return True
    if options.rejected == "drop" and run.dropped.exists():
        return True
    return bool(summary_of(folder, options.test))


def work(
    out: str | Path,
    session: str,
    options: Options,
    say: Callable[[str], None] = print,
    spec: Spec | None = None,
) -> None:
    """Run trials until none is left that nobody else works on. A trial that failed in this session
    is left alone.

    Raises:
      Interrupted: it was asked to stop; the trial under way has saved itself.
      DiskError: the file system takes nothing more: what would be trained now could not be kept.
    """
    plugins.load_plugins(options.plugins)
    out = Path(out)
    spec = spec or read(out / "sweep.yaml")
    claims = Claims(out)
    if spec.method == "bayes":
        queue = _search_queue(spec, out, claims, options)
    else:
        queue = _grid_queue(trials(spec), out, claims, options, session)
    # closing lets go of the queue's claim now, not when the exception is forgotten
    with (
        writing(out),
        holding(out, "semiseg sweep", shared=True) as held,
        contextlib.closing(queue),
    ):
        held.share()
        for name, trial, place, total in queue:
            say_numbered = functools.partial(_say_numbered, say, f"{place:4}/{total}")
            _run(spec, out, name, trial, options, session, say_numbered)


def _say_numbered(say: Callable[[str], None], number: str, text: str) -> None:
    say(f"{number}  {text}")


def static_part(trial: Trial) -> Hashable:
    """Trials with equal static parts run through one compiled program."""
    import jax

    synthetic = trial.synthetic
    if synthetic is not None and synthetic.startswith("make:"):  # generated sets are of one size
        synthetic = "make"
    structure = jax.tree.structure((trial.method, trial.augment))
    return (*static_values(trial).items(), trial.root, synthetic, structure)


def _grid_queue(
    plan: Mapping[str, Trial], out: Path, claims: Claims, options: Options, session: str
) -> Generator[tuple[str, Trial, int, int], None, None]:
    """Trials in the file's order; beside other workers, those of programs this process has compiled
    come first, then those that nobody has compiled.
    """
    programs: dict[str, Hashable] = dict.fromkeys(plan)
    if options.jobs > 1:
        programs = {name: static_part(trial) for name, trial in plan.items()}
    places = {name: place for place, name in enumerate(plan, 1)}
    waiting: dict[Hashable, deque[str]] = {}
    for name, program in programs.items():
        waiting.setdefault(program, deque()).append(name)
    compiled: set[Hashable] = set()
    while any(waiting.values()):
        name = _next(waiting, compiled, places, claims)
        folder = RunFolder(out / name)
        failed_now = read_json_if_whole(folder.failure).get("session") == session
        if failed_now or finished(folder.path, options) or not claims.take(name):
            continue
        try:
            # somebody may have finished it between the first look and the claim
            if not finished(folder.path, options) and not _is_deadly(folder, claims, session):
                compiled.add(programs[name])
                yield name, plan[name], places[name], len(plan)
        finally:
            claims.end(name)
            claims.drop(name)


def _is_deadly(folder: RunFolder, claims: Claims, session: str) -> bool:
    """Whether workers died of a trial; that is recorded as its failure.

    A compiler that ends the process would else take one worker after another with it.
    """
    deaths = claims.begin(folder.name, session)
    if deaths < DEATHS:
        return False
    ending = {
        "error": f"{deaths} workers ended without a word while they had it, see .logs beside it",
        "kind": "Died",
        "session": session,
    }
    record(folder.failure, ending)
    return True


def _next(
    waiting: dict[Hashable, deque[str]],
    compiled: set[Hashable],
    places: Mapping[str, int],
    claims: Claims,
) -> str:
    """Take the first trial of a program that this process has compiled, else of one that no other
    worker runs, else the first.

    Args:
      waiting: program → its trials, in the file's order.
      compiled: programs of this process.
      places: of the trials in the file.
      claims: who works on what.
    """
    heads = {program: places[names[0]] for program, names in waiting.items() if names}
    choice = [program for program in heads if program in compiled] or list(heads)
    # a look at a claim opens a file: they are looked at where a program is chosen alone
    if len(choice) > 1 and compiled.isdisjoint(choice):
        free = [one for one in choice if not any(map(claims.is_taken, waiting[one]))]
        choice = free or choice
    return waiting[min(choice, key=heads.__getitem__)].popleft()


def _search_queue(
    spec: Spec, out: Path, claims: Claims, options: Options
) -> Generator[tuple[str, Trial, int, int], None, None]:
    """Trials a search asked for and nobody finished, then new ones up to the cap."""
    search = Search(spec, out)
    while True:
        name = _unfinished(search, claims)
        if name is None:
            name = _ask(search, spec, claims)
            if name is None:
                return
            if not claims.take(name):  # another worker, looking for unfinished ones, was faster
                continue
        folder = RunFolder(out / name)
        try:
            if not finished(folder.path, options):
                place = int(name.removeprefix("trial")) + 1
                yield name, spec.trial(search.point(name)), place, spec.cap
            scores = summary_of(folder.path).get("last", {}).get("val", {})
            stopped = folder.early_stop.exists()
            search.tell(name, scores.get(spec.metric), stopped)
        finally:
            claims.drop(name)


def _unfinished(search: Search, claims: Claims) -> str | None:
    """A trial that was asked for, without a result, now claimed; None where there is none."""
    for name, has_result in search.names().items():
        if not has_result and claims.take(name):
            return name
    return None


def _ask(search: Search, spec: Spec, claims: Claims) -> str | None:
    """A new trial, not yet claimed; None where the cap is reached."""
    claims.take("asking", wait=True)
    try:
        if len(search.names()) >= spec.cap:
            return None
        return search.ask()
    finally:
        claims.drop("asking")


def _run(
    spec: Spec,
    out: Path,
    name: str,
    trial: Trial,
    options: Options,
    session: str,
    say: Callable[[str], None],
) -> None:
    """Run one trial and record how it ended: its summary, ``stopped.json``, ``rejected.json`` or
    ``error.json``.
    """
    folder = RunFolder(out / name)
    began = time.monotonic()
    ending: dict[str, Any]
    try:
        trial = _with_set(spec, trial, options, name, say)
        result = _train(spec, out, name, trial, options)
    except Interrupted:
        raise
    except Rejected as dropped:
        ending = {
            "rejected": str(dropped),
            "set": dropped.set_name,
            "failed": dropped.failed,
            "session": session,
        }
        record(folder.dropped, ending)
        folder.failure.unlink(missing_ok=True)
        say(f"dropped  {name}: {dropped}")
    except Stopped as stopped:
        ending = {"stopped": str(stopped), "dice": stopped.dice, "session": session}
        record(folder.early_stop, ending)
        say(f"stopped early  {name}: {stopped}")
    except Exception as error:
        # a full disk is everybody's failure; submitit's UncompletedJobError says that Slurm wants
        # its machine back; any other failure is this trial's alone
        if disk_problem(error) or type(error).__name__ == "UncompletedJobError":
            raise
        from semiseg.runner.platforms import check_platform

        check_platform()  # a device that is missing is every trial's failure
        kind = type(error).__name__
        text = " ".join(str(error).split()) or kind
        ending = {
            "error": text,
            "kind": kind,
            "session": session,
            "traceback": traceback.format_exc(),
        }
        record(folder.failure, ending)
        say(f"failed: {text}  {name}")
    else:
        folder.failure.unlink(missing_ok=True)
        folder.dropped.unlink(missing_ok=True)
        say(f"{_score(result, options)}  {time.monotonic() - began:5.1f} s  {name}")


def _with_set(
    spec: Spec, trial: Trial, options: Options, name: str, say: Callable[[str], None]
) -> Trial:
    """The trial with the synthetic set it asks for.

    Raises:
      Rejected: the set's quality report rejects it, and such trials are dropped.
    """
    if not (trial.synthetic or "").startswith("make:"):
        return trial
    from semiseg.generators.ratio import resolved

    trial = resolved(trial, spec.gan, progress=options.progress)
    rejected = rejection(trial)
    if rejected is None:
        return trial
    if options.rejected == "drop":
        raise rejected
    say(f"note: {rejected}  {name}")
    return trial


def _train(spec: Spec, out: Path, name: str, trial: Trial, options: Options) -> Result:
    """The finished run of a trial, with its mirror."""
    from semiseg.runner import run
    from semiseg.track import mirror

    folder = out / name
    judge = None
    if spec.early:
        every = trial.eval_every or max(1, -(-trial.steps // 5))
        judge = Judge(spec, out, name, -(-trial.steps // every), trial)
    group = str(spec.source.get("name") or out.name)
    with mirror(folder, options.track, group=group, job_type="sweep"):
        result = run(trial, folder, progress=options.progress, test=options.test, watch=judge)
    if not summary_of(folder, options.test):
        raise UserError(
            "damaged",
            where=RunFolder(folder).summary,
            remedy=TRAIN_AGAIN,
        )
    return result


def _score(result: Result, options: Options) -> str:
    """The primary score of a finished run, e.g. ``val Dice 0.731``."""
    split = "test" if options.test else "val"
    dice = result.summary["last"][split]["dice"]
    if dice is None:
        return f"{split} Dice –"
    return f"{split} Dice {dice:.3f}"


def record(file: Path, content: Mapping[str, Any]) -> None:
    """A small JSON file, or nothing where nothing can be written: a folder that is none must not
    stop the other trials.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(content) + "\n")
    except OSError as error:
        print(f"{file}: cannot be written ({error.strerror})")
