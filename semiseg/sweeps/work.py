"""One worker: takes the next trial that nobody has, runs it, records how it ended. Any number of
workers share a folder, on any machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import time
import traceback
from collections.abc import Callable, Generator, Hashable, Mapping
from pathlib import Path
from typing import Any

from semiseg.config import Trial
from semiseg.errors import UserError, disk_problem, writing
from semiseg.fields import static_values
from semiseg.files import read_json_if_whole
from semiseg.sweeps.claims import Claims, summary_of
from semiseg.sweeps.search import Judge, Search, Stopped
from semiseg.sweeps.spec import Spec, read, trials
from semiseg.train.loop import Interrupted


@dataclasses.dataclass(frozen=True)
class Options:
    """What a sweep's command says beside its file."""

    test: bool = False
    track: str = "none"
    progress: bool = False
    jobs: int = 1


def finished(folder: Path, test: bool) -> bool:
    """Whether a trial needs no more work: it has its summary (with the test split, where that is
    wanted), or was stopped early.
    """
    if (folder / "stopped.json").exists():
        return True
    return bool(summary_of(folder, test))


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
    out = Path(out)
    spec = spec or read(out / "sweep.yaml")
    claims = Claims(out)
    queue = (
        _searched(spec, out, claims, options)
        if spec.method == "bayes"
        else _planned(trials(spec), out, claims, options, session)
    )
    with (
        writing(out),
        contextlib.closing(queue),
    ):  # lets go of its claim now, not when the exception is forgotten
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


def _planned(
    plan: Mapping[str, Trial], out: Path, claims: Claims, options: Options, session: str
) -> Generator[tuple[str, Trial, int, int], None, None]:
    """Trials in the file's order; beside other workers, those of programs this process has compiled
    come first, then those of new ones.
    """
    group = (
        {name: static_part(trial) for name, trial in plan.items()}
        if options.jobs > 1
        else dict.fromkeys(plan, None)
    )
    place = {name: i for i, name in enumerate(plan, 1)}
    left, mine = list(plan), set()
    while left:
        others = (
            {group[n] for n in left if group[n] not in mine and claims.taken(n)}
            if options.jobs > 1
            else set()
        )
        left.sort(
            key=lambda n: (0 if group[n] in mine else 1 if group[n] not in others else 2, place[n])
        )
        name = left.pop(0)
        if (
            finished(out / name, options.test)
            or read_json_if_whole(out / name / "error.json").get("session") == session
            or not claims.take(name)
        ):
            continue
        try:
            if not finished(out / name, options.test):  # between the look and the claim
                mine.add(group[name])
                yield name, plan[name], place[name], len(plan)
        finally:
            claims.drop(name)


def _searched(
    spec: Spec, out: Path, claims: Claims, options: Options
) -> Generator[tuple[str, Trial, int, int], None, None]:
    """Trials a search asked for and nobody finished, then new ones up to the cap."""
    search = Search(spec, out, seed=os.getpid() if options.jobs > 1 else 0)
    while True:
        name = next((n for n, told in search.names().items() if not told and claims.take(n)), None)
        if name is None:
            claims.take("asking", wait=True)
            try:
                if len(search.names()) >= spec.cap:
                    return
                name = search.ask()
            finally:
                claims.drop("asking")
            if not claims.take(name):  # another worker, looking for unfinished ones, was faster
                continue
        try:
            if not finished(out / name, options.test):
                yield (
                    name,
                    spec.trial(search.point(name)),
                    int(name.removeprefix("trial")) + 1,
                    spec.cap,
                )
            search.tell(
                name,
                summary_of(out / name).get("last", {}).get("val", {}).get(spec.metric),
                (out / name / "stopped.json").exists(),
            )
        finally:
            claims.drop(name)


def _run(
    spec: Spec,
    out: Path,
    name: str,
    trial: Trial,
    options: Options,
    session: str,
    say: Callable[[str], None],
) -> None:
    from semiseg.runner import run

    folder = out / name
    began = time.monotonic()
    every = trial.eval_every or max(1, -(-trial.steps // 5))
    judge = Judge(spec, out, name, -(-trial.steps // every)) if spec.early else None
    try:
        from semiseg.track import mirror

        if (trial.synthetic or "").startswith("make:"):
            from semiseg.generators.ratio import resolved

            trial = resolved(trial, spec.gan, progress=options.progress)
        with mirror(
            folder, options.track, group=str(spec.source.get("name") or out.name), job_type="sweep"
        ):
            result = run(trial, folder, progress=options.progress, test=options.test, watch=judge)
        if not summary_of(folder, options.test):
            raise UserError(
                f"{folder / 'summary.json'}: damaged; delete the run's folder and run it again"
            )
    except Interrupted:
        raise
    except Stopped as stopped:
        record(
            folder / "stopped.json",
            {"stopped": str(stopped), "dice": stopped.dice, "session": session},
        )
        say(f"stopped early  {name}: {stopped}")
    except (
        Exception
    ) as error:  # a trial's failure, whatever it is, is that trial's; a full disk is everybody's
        if (
            disk_problem(error) or type(error).__name__ == "UncompletedJobError"
        ):  # the latter is submitit's: Slurm wants its machine back
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        record(
            folder / "error.json",
            {
                "error": text,
                "kind": type(error).__name__,
                "session": session,
                "traceback": traceback.format_exc(),
            },
        )
        say(f"failed: {text}  {name}")
    else:
        (folder / "error.json").unlink(missing_ok=True)
        split = "test" if options.test else "val"
        dice = result.summary["last"][split]["dice"]
        say(
            f"{split} Dice {'–' if dice is None else format(dice, '.3f')}  "
            f"{time.monotonic() - began:5.1f} s  {name}"
        )


def record(file: Path, content: Mapping[str, Any]) -> None:
    """A small JSON file, or nothing where nothing can be written: a folder that is none must not
    stop the other trials.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content) + "\n")
    except OSError as error:
        print(f"{file}: cannot be written ({error.strerror})")
