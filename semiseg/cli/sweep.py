"""``semiseg sweep``: every trial of a sweep file, and where a sweep stands."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import (
    PLUGIN,
    Command,
    Flag,
    Flags,
    check_choice,
    did_you_mean,
    write_json,
)
from semiseg.cli.sweep_study import check_declaration
from semiseg.data.info import numbered
from semiseg.errors import UserError

TEST = Flag(
    "test",
    "also score the test subjects; each test evaluation is written into the data set's ledger",
    False,
)
JSON = Flag(
    "json",
    "also write the state of every trial to this file (after a sweep, or of status)",
    value="FILE",
)
COMMAND = Command(
    "sweep",
    """Run every trial of a sweep file (W&B's schema: method grid, random or bayes; dotted names;
    early_terminate hyperband). Trials that share their static part run through one compiled
    program. Finished trials are never run again; run the same command again to resume a killed
    sweep; a trial that fails is recorded in its folder and stops no other. `synthetic: make:spade`
    (or make:duplicated …) fits, samples and imports the set that each trial's own budget needs;
    gan.steps, gan.samples, gan.card and other gan.FIELD with one `value:` say how. `plugin: my.py`
    brings your own methods, losses, networks …""",
    (
        Flag("out", "the sweep's folder, a run folder a trial (must be given)", ..., value="DIR"),
        Flag(
            "jobs",
            "worker processes (tasks on a cluster) that share the trials",
            1,
            at_least=1,
            value="J",
        ),
        Flag("backend", "local, slurm (submitit) or ray", "local", value="local|slurm|ray"),
        Flag(
            "slurm.KEY",
            "an option of submitit's executor, as --slurm.slurm_partition=gpu "
            "--slurm.timeout_min=600",
        ),
        Flag(
            "count",
            "trials of a random or bayes sweep, instead of the file's run_cap",
            at_least=1,
        ),
        TEST,
        Flag(
            "rejected",
            "what to do where the quality report (gan.card) rejects a generated set: say it, or "
            "drop the trials that would learn from the set",
            "say",
            value="say|drop",
        ),
        Flag(
            "study",
            "the declaration of the study (study.yaml): it is checked and put into the sweep's "
            "folder before the first trial begins, where every run records it and the report "
            "reads it",
            value="FILE",
        ),
        Flag(
            "track",
            "wandb or tensorboard mirrors every run, none does not",
            default_text="none",
        ),
        JSON,
    ),
    operands="FILE.yaml",
)
STATUS = Command(
    "sweep status",
    "",
    (
        Flag("watch", "status: show it again every two seconds until it is done", False, value=""),
        JSON,
        TEST,
    ),
    operands="DIR",
)
SLURM = "slurm."
PAUSE = 2
"""Seconds between two tables of ``--watch``."""
ENDED = ("done", "stopped", "rejected", "failed")
OPEN = ("failed", "unfinished", "waiting")


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    if list(argv[:1]) == ["status"]:
        return STATUS.run(argv[1:], _status, _help())
    return COMMAND.run(argv, _sweep, _help())


def _sweep(operands: list[str], flags: Flags) -> int:
    cluster = {
        name.removeprefix(SLURM): _value(flags.pop(name))
        for name in list(flags)
        if name.startswith(SLURM)
    }
    options = COMMAND.options(flags)
    file = Path(COMMAND.one(operands, "one sweep file, or `status` and a sweep's folder"))
    _look_ahead(file, options["count"], options["backend"])
    if options["study"]:
        _declare(Path(options["study"]), Path(options["out"]), file, options["count"])
    return _run(file, options, cluster)


def _help() -> str:
    head, _, rest = COMMAND.help().partition("\n")
    watch = "".join(f"{line}\n" for flag in (STATUS.flags[0], PLUGIN) for line in flag.lines())
    return f"{head}\n       {STATUS.usage}\n{rest}{watch}"


def _run(file: Path, options: Mapping[str, Any], cluster: dict[str, Any]) -> int:
    """Run the sweep and say how it ended."""
    from semiseg import sweeps
    from semiseg.sweeps.status import status
    from semiseg.track import wanted
    from semiseg.train.loop import Interrupted

    began = time.monotonic()
    out = options["out"]
    try:
        results = sweeps.sweep(
            file,
            out,
            test=options["test"],
            progress=True,
            jobs=options["jobs"],
            backend=options["backend"],
            count=options["count"],
            track=wanted(options["track"]),
            cluster=cluster,
            rejected=options["rejected"],
        )
    except Interrupted as stopped:
        print(f"semiseg: {stopped}", file=sys.stderr)
        return 130
    rows = status(out, options["test"])
    write_json(options["json"], rows)
    if options["backend"] == "slurm" and cluster.get("cluster", "slurm") == "slurm":
        return 0  # submitted
    states = [row["state"] for row in rows]
    words = f"{len(results)} of {len(rows)} trials finished"
    if "stopped" in states:
        words = f"{words}, {states.count('stopped')} stopped early"
    if "rejected" in states:
        words = f"{words}, {states.count('rejected')} dropped with their rejected sets"
    seconds = time.monotonic() - began
    print(f"{words} in {seconds:.0f} s; see `semiseg report {out} --out report`")
    return int(any(state in OPEN for state in states))


def _status(operands: list[str], flags: Flags) -> int:
    options = STATUS.options(flags)
    folder = STATUS.one(operands, "one sweep's folder")
    from semiseg.sweeps.status import status, table

    while True:
        rows = status(folder, options["test"])
        print(table(rows, folder))
        if not options["watch"] or all(row["state"] in ENDED for row in rows):
            break
        time.sleep(PAUSE)
    write_json(options["json"], rows)
    return 0


# ------------------------------------------------------------------ before the first run
def _look_ahead(file: Path, count: int | None, backend: str) -> None:
    """What would go wrong only hours later, before the first run: no such file, method, network or
    data set; more labels than there are.

    :func:`semiseg.sweeps.sweep` makes every trial of a grid before it runs one, which finds wrong
    fields and values.
    """
    from semiseg.sweeps import spec as plan

    _check_file(file)
    for plugin in plan.load_plugins(file):
        print(f"note: {file} brings the plug-in {plugin}", file=sys.stderr)
    spec = plan.read(file, count)
    for name, leaf in spec.parameters.items():
        values = leaf.get("values")
        if not isinstance(values, list):
            values = [leaf.get("value")]
        for value in values:
            check_choice(name, value, f"{file}: ")
    points = list(plan.points(spec).values()) or [plan.draw(spec, 0)]
    spec.trial(points[0])  # a search's first draw knows whether its fields exist
    if backend != "local":  # the stores may be on the machines that run the trials
        return
    for place in dict.fromkeys(map(_store, points)):
        for note in _budget_notes(place, [point for point in points if _store(point) == place]):
            print(f"semiseg: {note}", file=sys.stderr)


def _declare(file: Path, out: Path, sweep: Path, count: int | None) -> None:
    """Put a declaration into the sweep's folder; one that lies there is not changed."""
    from semiseg.analysis.study_file import read_declaration
    from semiseg.files import file_hash, write_text
    from semiseg.run_folder import STUDY

    check_declaration(read_declaration(file), file, sweep, count)
    place = out / STUDY
    if place.is_file():
        if file_hash(place) != file_hash(file):
            raise UserError(
                "another declaration than the one this sweep began with",
                where=file,
                remedy=f"keep {place}, or choose another --out",
            )
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_text(place, file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", where=place, remedy="choose another --out"
        ) from None


def _check_file(file: Path) -> None:
    if file.is_file():
        return
    others = [path for path in file.parent.glob("*.y*ml") if did_you_mean(file.stem, [path.stem])]
    hint = did_you_mean(file.name, [path.name for path in others])
    if not hint:
        hint = "; name a YAML file in the schema of W&B sweeps, see `semiseg sweep --help`"
    raise UserError(f"{file}: no such sweep file{hint}")


def _store(point: Mapping[str, Any]) -> tuple[str, str | None]:
    """Data set and root of a trial."""
    return str(point.get("data", "nuclei")), point.get("root")


def _budget_notes(place: tuple[str, str | None], points: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the trials on a data set ask of its annotated subjects, where it is not what it seems.

    Raises:
      UserError: there is no such data set.
    """
    from semiseg.data import store

    data, root = place
    most = store.info(data, root).counts.get("train", {}).get("annotated", 0)
    budgets = set()
    whole_subsets = set()
    for point in points:
        labels = point.get("labels", 0)
        budgets.add(labels)
        if labels in (0, most):
            whole_subsets.add(point.get("label_subset", 0))
    notes = []
    above = sorted(n for n in budgets if isinstance(n, int) and n > most)
    if above:
        trials = f"trials with labels {', '.join(map(str, above))} will fail, the others run"
        notes.append(f"{data} has {numbered(most, 'annotated training subject')}: {trials}")
    if len(whole_subsets) > 1:
        whole = " and ".join(f"labels {n}" for n in sorted(budgets & {0, most}))
        patients = f"the same patients (all {most} annotated ones of {data})"
        notes.append(
            f"the {len(whole_subsets)} label subsets of {whole} are {patients}: they count as one "
            f"subset, and only seeds tell their runs apart"
        )
    return notes


def _value(text: Any) -> Any:
    """A cluster option as YAML reads it."""
    import yaml

    if not isinstance(text, str):
        return text
    return yaml.safe_load(text)
