"""The vocabulary of the code base: what flows between the stages, and the contracts of the
plug-ins.

Axes: ``B`` batch, ``H W`` (``D H W`` in 3D), ``C`` image channels, ``K`` classes, ``N`` pool, ``S``
subjects, ``R`` runs.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, TypeVar, dataclass_transform

import jax
import numpy as np

IGNORE = 255
"""Label of a pixel that no loss and no metric looks at: unlabelled, or moved in from outside the
frame by augmentation.
"""

PyTree = Any
T = TypeVar("T")


def static(*, default: Any) -> Any:
    """A ``float`` field, or one that holds a dataclass, that changes the program: it is compiled in
    rather than traced.
    """
    return dataclasses.field(default=default, metadata={"static": True})


def subtree() -> Any:
    """A field that holds a :func:`hyper` instance though its default does not say so."""
    return dataclasses.field(default=None, metadata={"subtree": True})


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, static, subtree))
def hyper(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen dataclass of hyperparameters that is also a JAX pytree.

    Fields annotated ``float`` are leaves, i.e. traced: two instances that differ in them alone
    share one compiled program. Fields whose default is itself a ``hyper`` instance are subtrees.
    All the rest (``int``, ``str``, ``bool``, tuples) is static.
    """
    cls = dataclasses.dataclass(frozen=True)(cls)
    hints = typing.get_type_hints(cls)
    data: list[str] = []
    meta: list[str] = []
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        traced = (
            hints[field.name] is float
            or is_hyper(field.default)
            or bool(field.metadata.get("subtree"))
        )
        traced = traced and not field.metadata.get("static")
        (data if traced else meta).append(field.name)
    # Not jax.tree_util.register_dataclass: its tree definitions compare equal for two classes of as
    # many fields (jaxlib 0.10), so that a
    # collision of hashes would hand one method the compiled program of another. A node's own
    # registration compares the class.
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in data)
    leaves = lambda x: [getattr(x, name) for name in data]
    rest = lambda x: tuple(getattr(x, name) for name in meta)

    def rebuild(rest: tuple[Any, ...], leaves: Iterable[Any]) -> T:
        # leaves may be anything while JAX works on the tree, so that no check of the class may run
        made = object.__new__(cls)
        made.__dict__.update(zip(data, leaves), **dict(zip(meta, rest)))
        return made

    jax.tree_util.register_pytree_with_keys(
        cls,
        lambda x: (list(zip(keys, leaves(x))), rest(x)),
        rebuild,
        lambda x: (leaves(x), rest(x)),
    )
    return cls


def is_hyper(value: Any) -> bool:
    """Whether ``value`` is an instance of a :func:`hyper` dataclass."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


# ------------------------------------------------------------------ data
@dataclasses.dataclass(frozen=True)
class Case:
    """One record of a store: a 2D image, a slice of a volume, or a volume.

    Attributes:
      subject: the patient (or, where a set names none, the image); the unit that is split, counted
        as the budget, and scored.
      name: unique in the set, e.g. ``patient001_frame01_slice_3``.
      image: ``(H, W, C)`` or ``(D, H, W, C)``; uint8, or float32.
      label: ``(H, W)`` or ``(D, H, W)`` uint8 with classes ``0 … K-1`` (and IGNORE), or None where
        nobody annotated it.
      spacing: size of a voxel along each spatial axis of ``image``, in the data set's unit (``mm``,
        or ``voxel`` where the files name none).
      volume: records with the same volume are the slices of one scan, scored together; equals
        ``name`` for a 2D image.
      index: place of the slice in its volume.
      group: scanner, stain, look-alike cluster …: keeps splits apart, never counted.
    """

    subject: str
    name: str
    image: np.ndarray
    label: np.ndarray | None
    spacing: tuple[float, ...]
    volume: str
    index: int = 0
    group: str = ""


class Pools(NamedTuple):
    """Everything a training program draws from, on the device. Shapes depend on the data set alone,
    never on the label budget.

    ``label_NHW`` holds IGNORE for every image outside the label budget: a method cannot see what it
    was not given.
    """

    image_NHWC: jax.Array  # uint8
    label_NHW: jax.Array  # uint8
    labelled_N: jax.Array  # int32: indices of labelled images, padded by repetition
    labelled_count: jax.Array  # int32 scalar
    unlabelled_N: jax.Array  # int32
    unlabelled_count: jax.Array
    synthetic_image_MHWC: jax.Array  # uint8, M >= 1
    synthetic_label_MHW: jax.Array
    synthetic_count: jax.Array
    hidden_NHW: jax.Array | None = (
        # uint8: every label there is, IGNORE where there is none; read by the diagnostics alone,
        # None for no diagnostics
        None
    )


class Batch(NamedTuple):
    """What a method's loss sees. Images are float32, standardised; labels int32 with IGNORE."""

    image: jax.Array  # (B, H, W, C) labelled (real and synthetic), weakly augmented
    label: jax.Array  # (B, H, W)
    weak: jax.Array  # (U, H, W, C) unlabelled, weak view
    strong: (
        jax.Array
    )  # (U, H, W, C) the same pixels, strong view: same geometry, other intensities, cut-outs
    valid: (
        jax.Array
    )  # (U, H, W) bool: False where augmentation moved in pixels from outside the frame
    # (U,) int32: index of each unlabelled image in the pool of N; from N on, in the synthetic pool
    place: jax.Array
    # (U, 2, H, W): pixel of the pool image each pixel of its views comes from, see
    # semiseg.augment.geometry.warp
    coordinates: jax.Array
    weight: jax.Array | None = (
        None  # (B,) by which what each labelled image's mask teaches is multiplied; None for 1
    )


# ------------------------------------------------------------------ networks
class Params(NamedTuple):
    """A network's variables: ``weights`` receive gradients, ``state`` is normalisation statistics
    (empty for stateless norms).
    """

    weights: PyTree
    state: PyTree


class Output(NamedTuple):
    """What a network returns.

    Attributes:
      logits: ``(B, H, W, K)`` float32.
      aux: named extras, e.g. ``{"deep": [logits at 1/2, 1/4 …], "features": …}``.
      new_state: replaces ``Params.state`` after a training step.
    """

    logits: jax.Array
    aux: dict[str, Any]
    new_state: PyTree


class Net(Protocol):
    """A network: a frozen dataclass of its hyperparameters, the only place that knows Flax."""

    def init(
        self, key: jax.Array, sample: jax.ShapeDtypeStruct | jax.Array, classes: int
    ) -> Params:
        """Fresh variables for inputs shaped like ``sample`` ``(B, H, W, C)``."""
        ...

    def apply(
        self, params: Params, x: jax.Array, *, train: bool, key: jax.Array | None = None
    ) -> Output:
        """Logits of a batch. ``train`` uses batch statistics and, given a ``key``, dropout."""
        ...


class Model(NamedTuple):
    """A network bound to its data: what a :class:`Method` is handed, so that a method can make as
    many copies as it needs.

    ``pool`` is the shape of the images ``(N, H, W, C)`` that the unlabelled ones are drawn from,
    for a method that remembers something of each.
    """

    net: Net
    sample: jax.ShapeDtypeStruct
    classes: int
    pool: jax.ShapeDtypeStruct | None = None

    def init(self, key: jax.Array) -> Params:
        return self.net.init(key, self.sample, self.classes)

    def apply(
        self, params: Params, x: jax.Array, *, train: bool, key: jax.Array | None = None
    ) -> Output:
        return self.net.apply(params, x, train=train, key=key)


# ------------------------------------------------------------------ methods
class Loss(Protocol):
    """A segmentation loss: a frozen dataclass with one method."""

    def __call__(self, logits: jax.Array, label: jax.Array) -> jax.Array:
        """``logits (B, *space, K)`` float, ``label (B, *space)`` int with IGNORE → scalar."""
        ...


class Pseudo(NamedTuple):
    """What a method makes of the unlabelled batch, for the diagnostics that compare it with the
    hidden labels.

    Attributes:
      probability: ``(U, H, W, K)``, what the batch is taught with, in the place of each pixel of
        ``batch.weak``.
      accepted: ``(U, H, W)`` bool, which pixels teach.
      student: ``(U, H, W, K)``, the student's own probability of the same pixels; None where it saw
        others (mixed images).
    """

    probability: jax.Array
    accepted: jax.Array
    student: jax.Array | None = None


class Aux(NamedTuple):
    """What a method's loss returns beside its value.

    Attributes:
      metrics: scalars, averaged over the logged steps.
      state: one entry per Params in ``params``: their new normalisation statistics.
      memory: the memory with what this step saw in it (thresholds, prototypes, ensembles of
        predictions …); None keeps it as it is.
      pseudo: what the unlabelled batch was taught with; None where nothing was.
    """

    metrics: dict[str, jax.Array]
    state: PyTree
    memory: PyTree = None
    pseudo: Pseudo | None = None


class Method(Protocol):
    """A training method; ``self`` holds hyperparameters only. ``progress`` is step / total steps,
    in [0, 1).

    Several networks, or a discriminator, are a tree of Params: one optimiser steps them all, and
    ``stop_gradient`` on the weights or the input decides which term of the loss trains which.
    """

    def labelled(self, batch: int) -> int:
        """How many images of a batch come from the labelled pool; the others are unlabelled."""
        ...

    def init(self, model: Model, key: jax.Array) -> tuple[PyTree, PyTree]:
        """``(params, memory)``; params is a Params or a tree of them (two networks …), memory a
        teacher, thresholds, prototypes …
        """
        ...

    def loss(
        self,
        model: Model,
        params: PyTree,
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        """The scalar to descend on, and what else the step brought."""
        ...

    def update(self, params: PyTree, memory: PyTree) -> tuple[PyTree, PyTree]:
        """Params and memory after the optimiser's step, e.g. the EMA of parameters and
        normalisation statistics, or a fresh student.
        """
        ...

    def final(self, params: PyTree, memory: PyTree) -> Params:
        """The variables that are evaluated and exported."""
        ...


def get_weights(params: PyTree) -> PyTree:
    """The trainable part of every Params in a tree."""
    return jax.tree.map(lambda p: p.weights, params, is_leaf=lambda p: isinstance(p, Params))


def with_weights(params: PyTree, weights: PyTree) -> PyTree:
    """``params`` with its trainable parts replaced by :func:`get_weights`-shaped ``weights``."""
    return jax.tree.map(
        lambda p, w: p._replace(weights=w), params, weights, is_leaf=lambda p: isinstance(p, Params)
    )


def with_state(params: PyTree, state: PyTree) -> PyTree:
    """``params`` with its normalisation statistics replaced."""
    return jax.tree.map(
        lambda p, s: p._replace(state=s), params, state, is_leaf=lambda p: isinstance(p, Params)
    )


if typing.TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[str], None]
