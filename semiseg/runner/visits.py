"""How often a training sees each unlabelled image: a method that remembers every image's earlier
predictions does nothing where it is seen once.
"""

from __future__ import annotations

from semiseg import config
from semiseg.config import Trial


def notes_of(trial: Trial, images: int, labelled: int) -> tuple[str, ...]:
    """A note where the method's ``visits`` are not reached.

    Args:
      trial: the trial.
      images: of the training pool (slices, or volumes of a 3D network).
      labelled: how many of them have their labels; the others are the unlabelled ones, and where
        there is none, all are.

    >>> from semiseg.methods import TemporalEnsembling
    >>> trial = Trial(method=TemporalEnsembling(), steps=100, batch=8)
    >>> notes_of(trial, images=100, labelled=20)
    ()
    >>> print(*notes_of(trial, images=1000, labelled=20))
    temporal_ensembling compares an image with earlier predictions of it, but sees each unlabelled \
one 0.4 times in 100 steps: give at least 1225 steps for 5 times, or choose another method
    """
    wanted = getattr(trial.method, "visits", 0)
    a_step = trial.batch - trial.method.labelled(trial.batch)
    unlabelled = images - labelled or images
    seen = trial.steps * a_step / unlabelled
    if seen >= wanted or a_step == 0:
        return ()
    steps = -(-wanted * unlabelled // a_step)
    return (
        f"{config.name_of('method', trial.method)} compares an image with earlier predictions of "
        f"it, but sees each unlabelled one {seen:.1f} times in {trial.steps} steps: give at least "
        f"{steps} steps for {wanted} times, or choose another method",
    )
