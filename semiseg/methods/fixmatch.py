"""FixMatch, dense: confident predictions on the weak view are the labels of the strong view."""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from semiseg.fields import number
from semiseg.methods.base import Taught, View, seen, view
from semiseg.methods.parts import thresholds
from semiseg.methods.parts.terms import dice_of_accepted, hard_cross_entropy, share_of_valid
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class FixMatch(Taught):
    """Sohn et al., NeurIPS 2020 (equations 3-4), a pixel for an image.

    Adds w(t) / |valid| · Σ over pixels with max q ≥ threshold of CE(f(strong(u)), argmax q), q =
    softmax(f(weak(u))) without gradient. A rejected pixel has zero gradient: it is left out, never
    trained as background.

    Under the adaptive rules a class's share is compared with its share of the labelled pixels,
    since most pixels are background; the papers' classes are equally frequent. FreeMatch's second
    term, which rewards even predictions, is left out for the same reason.

    Attributes:
      threshold: least confidence of an accepted pixel.
      rule: fixed, flexmatch, freematch or entropy. The second and third set one threshold for each
        class from what has been learnt (then ``threshold`` is FlexMatch's upper bound, and unused
        by FreeMatch). The last accepts every pixel of an image, but leaves out the images that the
        network is surest of (nnFilterMatch, Yang 2025): after each third of the training the
        ``entropy_drop`` of those that were left, by their mean entropy. There scans are dropped
        for good, after a pass over all of them; here a batch is compared with a moving average.
      entropy_drop: see ``rule``.
      rule_decay: what is left, after a thousandth of the training, of the moving averages that an
        adaptive rule follows; a training of any length follows them alike.
      labeller: "student" labels with the network itself, normalised by its batch (the paper);
        "teacher" with its average.
      student_view: "strong"; "weak" makes the method plain self-training.
      pixel_loss: "ce"; or "ce_dice", which adds the Dice of the pseudo-labels (SSL4MIS).
      least: pixels of a class that a batch must have accepted for its Dice to teach; published is
        0, by which a single pixel has the gradient of hundreds.
      rejected: "ignored", or "background": a quirk of published code, which trains every rejected
        pixel as class 0.
    """

    weight: float = number(0.5, at_least=0)
    threshold: float = number(0.95, within=(0, 1))
    rule: thresholds.Kind = "fixed"
    rule_decay: float = number(0.9, within=(0, 1))
    entropy_drop: float = number(0.15, within=(0, 1))
    labeller: Literal["student", "teacher"] = "student"
    student_view: View = "strong"
    pixel_loss: Literal["ce", "ce_dice"] = "ce"
    least: float = number(50.0, at_least=0)
    rejected: Literal["ignored", "background"] = "ignored"

    title: ClassVar[str] = "FixMatch"
    paper: ClassVar[str] = (
        "Sohn et al., NeurIPS 2020; thresholds of FlexMatch (Zhang et al. 2021) and FreeMatch "
        "(Wang et al. 2023), filter of nnFilterMatch (Yang 2025)"
    )
    passes: ClassVar[str] = "L + U | U"

    def remember(
        self,
        model: Model,
        params: Params,
        key: jax.Array,
    ) -> dict[str, PyTree]:
        remembered: dict[str, PyTree] = {"thresholds": thresholds.initial_thresholds(model.classes)}
        if self.rule == "entropy":
            remembered["entropies"] = thresholds.initial_entropies()
        return remembered

    def loss(
        self,
        model: Model,
        params: Params,
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        output, supervised = self.supervise(model, params, batch, key)
        q = self.labels(model, params, memory, batch, jax.random.fold_in(key, 2))
        decay = self.rule_decay ** (1000 / model.steps)
        accepted, memory = self.accept(memory, q, batch, decay, progress)
        shown = seen(batch, self.student_view)
        accepted &= shown
        label = q.argmax(-1)
        image = view(batch, self.student_view)
        taught_pass = model.apply(params, image, train=True, key=jax.random.fold_in(key, 1))
        logits = taught_pass.logits
        trained = accepted if self.rejected == "ignored" else shown
        taught = jnp.where(accepted, label, 0)
        unsupervised = hard_cross_entropy(logits, taught, trained, shown)
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "unsupervised": unsupervised,
            "accepted": share_of_valid(accepted, shown),
            "unsupervised_weight": w,
        }
        if self.pixel_loss == "ce_dice":
            known = jnp.where(trained, taught, IGNORE)
            dice, metrics["skipped_classes"] = dice_of_accepted(logits, known, self.least)
            unsupervised += dice
            metrics["unsupervised"] = unsupervised
        pseudo = Pseudo(
            probability=q,
            accepted=accepted,
            student=jax.nn.softmax(logits),
        )
        return supervised + w * unsupervised, Aux(
            metrics=metrics,
            state=self.new_state(output, taught_pass),
            memory=memory,
            pseudo=pseudo,
        )

    def accept(
        self,
        memory: PyTree,
        q: jax.Array,
        batch: Batch,
        decay: jax.Array | float,
        progress: jax.Array,
    ) -> tuple[jax.Array, PyTree]:
        """Which pixels ``(U, *space)`` are accepted by the rule, and the memory with this batch."""
        if self.rule == "entropy":
            drop = 1.0 - (1.0 - self.entropy_drop) ** jnp.floor(3 * progress)
            accepted, entropies = thresholds.unsure_images(
                memory["entropies"], q, batch.valid, decay, drop
            )
            return accepted, {**memory, "entropies": entropies}
        labelled = batch.label
        if batch.weight is not None:
            weight = batch.weight.reshape(-1, *(1,) * (labelled.ndim - 1))
            labelled = jnp.where(weight > 0, labelled, IGNORE)
        accepted, remembered = thresholds.accept(
            self.rule, self.threshold, memory["thresholds"], q, batch.valid, labelled, decay
        )
        return accepted, {**memory, "thresholds": remembered}

    def labels(
        self,
        model: Model,
        params: Params,
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
    ) -> jax.Array:
        """Probabilities that become pseudo-labels ``(B, *space, K)``, without gradient."""
        if self.labeller == "teacher":
            return self.target(model, self.teacher(memory), batch.weak, key)
        logits = model.apply(params, batch.weak, train=True).logits
        return jax.nn.softmax(jax.lax.stop_gradient(logits))
