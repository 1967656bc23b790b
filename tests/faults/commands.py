"""The commands of the suite, with what each writes."""

from __future__ import annotations

import dataclasses

from worlds import GENERATOR, NETWORK

WHOLE = r"exists already|is there already|no data set|not found|is not empty"
"""What the same command may say once its work is done."""
IMPORT = ("data", "import", "--format=folder")


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
    """

    words: tuple[str, ...]
    folder: str = ""
    jax: bool = False
    done: str = ""
    code: int = 0
    rewrites: bool = False


COMMANDS: dict[str, Command] = {
    "data import": Command(
        (*IMPORT, "--source=pictures", "--name=new", "--root=other"), "other", done=WHOLE
    ),
    "data import --overwrite": Command(
        (*IMPORT, "--source=pictures", "--name=discs", "--overwrite", "--resplit")
    ),
    "data import, more subjects": Command(
        (*IMPORT, "--source=more", "--name=discs", "--overwrite")
    ),
    "data regions": Command(("data", "regions", "discs", "--region", "all=1,2"), rewrites=True),
    "data remove": Command(("data", "remove", "discs", "--yes"), done=WHOLE),
    "data export": Command(("data", "export", "discs", "--out=out/nnunet"), "out", done=WHOLE),
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
            "--out=out/scored",
        ),
        "out",
        done=WHOLE,
    ),
    "report": Command(
        ("report", "study", "--out=out/report", "--json=out/numbers.json"), "out", jax=True
    ),
    "plan-study": Command(("plan-study", "study", "--json=out/plan.json"), "out"),
    "export": Command(("export", "runs/first", "--out=out/published"), "out"),
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
    "evaluate": Command(("evaluate", "runs/first", "--split=test"), jax=True, rewrites=True),
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
    "sweep": Command(("sweep", "sweep.yaml", "--out=out/sweep"), "out", jax=True),
    "sweep, generated sets": Command(("sweep", "mixes.yaml", "--out=out/mixes"), "out", jax=True),
}
