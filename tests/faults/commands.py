"""The commands of the suite, with what each writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from worlds import GENERATOR, NETWORK

WHOLE = r"exists already|is there already|no data set|not found|is not empty"
"""What the same command may say once its work is done."""
IMPORT = ("data", "import", "--format=folder")


BENCH = ("--batch=1", "--size=16", "--repeats=1")


def shorten_the_demo() -> None:
    """One method, label budget and label subset, and one mix: two trials of the demo's 35."""
    from semiseg.cli import demo

    for table in (demo.GRID, demo.MIXES):
        for name, leaf in table.items():
            if "values" in leaf:
                table[name] = {"values": leaf["values"][:1]}
    demo.SETUP |= {"image_size": {"value": 16}, "net.widths": {"value": [4, 8]}}
    demo.MIXES |= {"gan.samples": {"value": 8}}
    demo.MIXES |= {"gan.generator.widths": {"value": [8, 4]}}
    demo.MIXES |= {"gan.discriminator.widths": {"value": [4, 8]}}


@dataclasses.dataclass(frozen=True)
class Command:
    """A command line.

    Attributes:
      words: without ``semiseg``.
      folder: that it writes to, and that may vanish; "" where that would take its input along.
      jax: whether a run takes seconds: JAX traces and loads its programs, figures are drawn.
      done: what the same command may answer where all is done already.
      code: exit code of an undisturbed run.
      rewrites: whether its files may be other than old or new for a while.
      many: whether it goes on after trouble with one of several folders, and ends with 1.
      prepare: is called in the process of the command, before it.
    """

    words: tuple[str, ...]
    folder: str = ""
    jax: bool = False
    done: str = ""
    code: int = 0
    rewrites: bool = False
    many: bool = False
    prepare: Callable[[], None] | None = None


COMMANDS: dict[str, Command] = {
    "data import": Command(
        (*IMPORT, "--source=pictures", "--name=new", "--root=other", "--json=out/new.json"),
        "other",
        done=WHOLE,
    ),
    "data import --overwrite": Command(
        (*IMPORT, "--source=pictures", "--name=discs", "--overwrite", "--resplit")
    ),
    "data import, more subjects": Command(
        (*IMPORT, "--source=more", "--name=discs", "--overwrite")
    ),
    "data import, pseudonyms": Command(
        (
            *(*IMPORT, "--source=pictures", "--name=new", "--root=other"),
            *("--pseudonyms=key.txt", "--pseudonym-map=out/map.csv"),
        ),
        "other",
        done=WHOLE,
    ),
    "data list": Command(("data", "list", "--json=out/list.json"), "out"),
    "data check": Command(("data", "check", "discs", "--json=out/check.json"), "out"),
    "data check, files": Command(
        ("data", "check", "--source=pictures", "--format=folder", "--json=out/check.json"), "out"
    ),
    "data regions": Command(
        ("data", "regions", "discs", "--region", "all=1,2", "--json=out/regions.json"),
        rewrites=True,
    ),
    "data remove": Command(("data", "remove", "discs", "--yes"), done=WHOLE),
    "data export": Command(
        ("data", "export", "discs", "--out=out/nnunet", "--json=out/nnunet.json"),
        "out",
        done=WHOLE,
    ),
    "data describe": Command(
        (
            *("data", "describe", "discs", "--plan=out/plan.yaml", "--preview=out/preview.png"),
            *("--json=out/facts.json", "--folds=2"),
        ),
        "out",
    ),
    "score": Command(
        (
            *("score", "--data=discs", "--predictions=masks", "--method=other", "--labels=2"),
            *("--out=out/scored", "--json=out/scored.json"),
        ),
        "out",
        done=WHOLE,
    ),
    "report": Command(
        ("report", "study", "--out=out/report", "--json=out/numbers.json"), "out", jax=True
    ),
    "plan-study": Command(("plan-study", "study", "--json=out/plan.json"), "out"),
    "track upload": Command(("track", "upload", "runs/first"), jax=True, many=True),
    "export": Command(("export", "runs/first", "--out=out/published"), "out"),
    "export, folds": Command(("export", "folds", "--out=out/published"), "out", jax=True),
    "doctor": Command(("doctor", "--json=out/doctor.json"), "out"),
    "methods": Command(("methods", "--json=out/methods.json"), "out"),
    "nets": Command(("nets", "unet", "--size=16", "--json=out/nets.json"), "out", jax=True),
    "import-weights": Command(
        ("import-weights", "unet.pth", "--out=out/unet.safetensors"), "out", jax=True
    ),
    "predict": Command(
        (
            *("predict", "runs/first", "--input=scans", "--output=out/masks", "--statistics"),
            *("--probabilities", "--overlays"),
        ),
        "out",
        jax=True,
        done=WHOLE,
    ),
    "predict, folds": Command(
        ("predict", "folds", "--input=scans", "--output=out/masks"), "out", jax=True, done=WHOLE
    ),
    "evaluate": Command(
        ("evaluate", "runs/first", "--split=test", "--json=out/scores.json"),
        jax=True,
        rewrites=True,
    ),
    "gan sample": Command(
        ("gan", "sample", "generators/g", "--out=out/set", "--n=4"), "out", jax=True, done=WHOLE
    ),
    "gan card": Command(
        (
            *("gan", "card", "sets/s", "--data=discs", "--steps=2", "--out=out/card"),
            "--json=out/card.json",
        ),
        "out",
        jax=True,
        code=1,
    ),
    "train": Command(("train", "--data=discs", "--out=out/run", *NETWORK), "out", jax=True),
    "train, a fold": Command(
        (
            *("train", "--data=discs", "--out=out/fold", *NETWORK, "--folds=2", "--fold=1"),
            "--test",
        ),
        "out",
        jax=True,
    ),
    "gan fit": Command(("gan", "fit", "--out=out/generator", *GENERATOR), "out", jax=True),
    "sweep": Command(
        ("sweep", "sweep.yaml", "--out=out/sweep", "--json=out/states.json"), "out", jax=True
    ),
    "sweep --jobs": Command(
        ("sweep", "sweep.yaml", "--out=out/sweep", "--jobs=2"), "out", jax=True
    ),
    "sweep, bayes": Command(("sweep", "search.yaml", "--out=out/search"), "out", jax=True),
    "sweep, generated sets": Command(("sweep", "mixes.yaml", "--out=out/mixes"), "out", jax=True),
    "sweep status": Command(("sweep", "status", "sweeps/s", "--json=out/states.json"), "out"),
    "bench step": Command(
        ("bench", "step", *BENCH, "--width=2", "--inner=1", "--json=out/bench.json"),
        "out",
        jax=True,
    ),
    "bench methods": Command(
        (
            *("bench", "methods", *BENCH, "--only=pi_model", "--widths=2,4", "--inner=1"),
            "--json=out/bench.json",
        ),
        "out",
        jax=True,
    ),
    "bench nets": Command(
        ("bench", "nets", *BENCH, "--only=unet,fcn8s", "--seconds=1", "--json=out/bench.json"),
        "out",
        jax=True,
    ),
    "demo": Command(
        ("demo", "--out=out/demo", "--steps=2"), "out", jax=True, prepare=shorten_the_demo
    ),
}
