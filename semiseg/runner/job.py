"""A run under way: its trial, the data it is trained on, and what is known of these."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from semiseg import config
from semiseg.config import Trial
from semiseg.data.info import numbered
from semiseg.data.pools import Budget, Training, pools
from semiseg.data.provenance import KEY as PROVENANCE
from semiseg.data.provenance import Provenance, merged, of_training
from semiseg.data.rotating import Rotating
from semiseg.pretrain import Objective
from semiseg.runner import leaks, pseudo_masks, visits
from semiseg.runner.build import header_of, model_of, notes_of
from semiseg.runner.pseudo_masks import PseudoMasks
from semiseg.runner.score_split import Scores, Split, score_split
from semiseg.runner.start import Start
from semiseg.types import Model, Params, Pools


@dataclasses.dataclass(eq=False)
class Job:
    """A run under way.

    Attributes:
      trial: what is run.
      pools: what training draws from.
      budget: which subjects are shown with their labels.
      training: the training split.
      model: the network.
      notes: what the run cannot do with its data.
      synthetic: where its synthetic images come from.
      masks: masks from elsewhere of its unlabelled images; None without ``--pseudo``.
      validation: the validation split; set when the run begins.
      initial: initial weights; set when the run begins.
    """

    trial: Trial
    pools: Pools | Rotating
    budget: Budget
    training: Training
    model: Model
    notes: tuple[str, ...]
    synthetic: leaks.Source = leaks.Source()
    masks: PseudoMasks | None = None
    validation: Split | None = None
    initial: Start = Start("none", None)

    @property
    def subjects(self) -> list[str]:
        """Annotated subjects that the run has seen. Those that the initial weights, the synthetic
        images or whoever made the masks have seen are paid for, too.
        """
        groups = [self.budget.subjects, self.initial.subjects, self.synthetic.subjects]
        if self.masks:
            groups.append(self.masks.source.subjects)
        return list(dict.fromkeys(itertools.chain(*groups)))

    @property
    def provenance(self) -> Provenance:
        """What the run's weights are made from."""
        trial = self.trial
        unlabelled = (
            trial.method.uses_unlabelled
            or isinstance(trial.init, Objective)
            or self.masks is not None
        )
        real = of_training(
            self.training.info,
            self.budget.subjects,
            unlabelled=unlabelled,
            held_out=self.training.held_out,
        )
        others = [self.synthetic.provenance, self.initial.provenance]
        if self.masks:
            others.append(self.masks.source.provenance)
        return merged(real, *others)

    @property
    def images_labelled(self) -> int:
        """Annotated images of :attr:`subjects`."""
        subjects = set(self.subjects)
        if len(subjects) == len(self.budget.subjects):
            return self.budget.images
        cases = self.training.cases
        return sum(case.subject in subjects and case.label is not None for case in cases)

    @property
    def total_steps(self) -> int:
        """Optimiser steps, those of the pre-training included."""
        return self.trial.steps + self.initial.steps

    @property
    def header(self) -> dict[str, Any]:
        """What a weights file of the run says of itself."""
        facts = {
            "subjects": self.subjects,
            "total_steps": self.total_steps,
            PROVENANCE: self.provenance.to_dict(),
        }
        return {**header_of(self.trial, self.training), **facts}

    def score(self, params: Params, split: Split, metrics: Sequence[str] | None = None) -> Scores:
        """Scores of some variables on a split."""
        info = self.training.info
        return score_split(self.model, info, params, split, metrics)


def prepare(trial: Trial) -> Job:
    """Check the trial and read its training data.

    Raises:
      UserError: a field makes no sense, by itself or for the data.
    """
    config.check_recordable(trial)
    config.check(trial)
    config.check_volumes(trial)
    config.check_synthetic(trial)
    config.check_pseudo(trial)
    data_pools, budget, training = pools(
        trial.data,
        trial.root,
        trial.frame,
        labels=trial.labels,
        label_subset=trial.label_subset,
        folds=trial.folds,
        fold=trial.fold,
        ratio=trial.ratio,
        synthetic=trial.synthetic,
        memory=trial.pool_memory,
        by=trial.draw_by,
    )
    model = model_of(trial, training.info)
    synthetic = leaks.synthetic_source(trial, training.info, training.held_out)
    notes = notes_of(trial, training, budget)
    notes += leaks.notes_of(synthetic.provenance, training.info, training.held_out)
    notes += visits.notes_of(trial, len(training.cases), budget.images)
    masks = None
    if trial.pseudo is not None:
        assert isinstance(data_pools, Pools)  # config.check refuses both together
        masks = pseudo_masks.read(trial.pseudo, training, budget)
        data_pools = masks.added_to(data_pools)
        notes += masks.notes(training)
    job = Job(trial, data_pools, budget, training, model, notes, synthetic, masks)
    job.notes += _paid_notes(job)
    return job


def _paid_notes(job: Job) -> tuple[str, ...]:
    """That labels outside the budget taught what the run learns from."""
    trial = job.trial
    sources = [(f"the synthetic set {trial.synthetic!r} was made from", job.synthetic.subjects)]
    if job.masks:
        what = f"the masks in {trial.pseudo} are, or were made from, the masks of"
        sources.append((what, job.masks.source.subjects))
    notes: list[str] = []
    for what, subjects in sources:
        more = len(set(subjects) - set(job.budget.subjects))
        if more:
            notes.append(
                f"{what} {numbered(more, 'annotated subject')} outside the label budget, which "
                f"count as labelled: {len(job.subjects)} in all"
            )
    return tuple(notes)
