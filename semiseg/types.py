"""The vocabulary of the code base: what flows between the stages, and the contracts of the
plug-ins.

One file, though a long one: whoever writes a plug-in reads it from top to bottom.

Axes: ``B`` batch, ``H W`` (``D H W`` in 3D), ``C`` image channels, ``K`` classes, ``N`` pool, ``S``
subjects, ``R`` runs.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, dataclass_transform

import jax
import numpy as np

from semiseg.fields import role
from semiseg.fields import static as static
from semiseg.fields import subtree as subtree
from semiseg.ragged import Images as Images

IGNORE = 255
"""Label of a pixel that no loss and no metric looks at: unlabelled, or moved in from outside the
frame by augmentation.
"""

PyTree = Any
T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def hyper(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen dataclass of hyperparameters that is also a JAX pytree.

    Fields annotated ``float``, and fields whose default is itself a ``hyper`` instance, are leaves
    or subtrees, i.e. traced: two instances that differ in them alone share one compiled program.
    All others (``int``, ``str``, ``bool``, tuples) are static. A declaration of
    :mod:`semiseg.fields` with ``traced=`` decides otherwise.

    >>> @hyper
    ... class Example:
    ...     rate: float = 0.5
    ...     size: int = 3
    >>> jax.tree.leaves(Example())
    [0.5]
    """
    made: Any = dataclasses.dataclass(frozen=True)(cls)
    hints = typing.get_type_hints(made)
    data: list[str] = []
    meta: list[str] = []
    for field in dataclasses.fields(made):
        is_traced = role(field)
        if is_traced is None:
            is_traced = hints[field.name] is float or is_hyper(field.default)
        if is_traced:
            data.append(field.name)
        else:
            meta.append(field.name)
    # Not jax.tree_util.register_dataclass: its tree definitions compare equal for two classes of as
    # many fields (jaxlib 0.10), so that a collision of hashes would hand one method the compiled
    # program of another. A node's own registration compares the class.
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in data)

    def flatten(x: T) -> tuple[list[Any], tuple[Any, ...]]:
        return [getattr(x, name) for name in data], tuple(getattr(x, name) for name in meta)

    def flatten_with_keys(x: T) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        leaves, rest = flatten(x)
        return list(zip(keys, leaves, strict=True)), rest

    def rebuild(rest: tuple[Any, ...], leaves: Iterable[Any]) -> T:
        # leaves may be anything while JAX works on the tree, so that no check of the class may run
        instance = object.__new__(made)
        instance.__dict__.update(zip(data, leaves, strict=True))
        instance.__dict__.update(zip(meta, rest, strict=True))
        return instance

    jax.tree_util.register_pytree_with_keys(made, flatten_with_keys, rebuild, flatten)
    return made


def is_hyper(value: Any) -> bool:
    """Whether ``value`` is an instance of a :func:`hyper` dataclass."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


# ------------------------------------------------------------------ data
@dataclasses.dataclass(frozen=True)
class Case:
    """One scan: a picture or a volume; or, in memory alone, a slice that a 2D network takes.

    Attributes:
      subject: the patient (or, where a set names none, the image); the unit that is split, counted
        as the label budget, and scored.
      name: unique in the set, e.g. ``patient001_frame01_slice_3``.
      image: ``(H, W, C)`` or ``(D, H, W, C)`` in the file's own numbers: uint8, int16, uint16 or
        float32.
      label: ``(H, W)`` or ``(D, H, W)`` uint8 with classes ``0 … K-1`` (and IGNORE), or None where
        nobody annotated it.
      spacing: size of a voxel along each spatial axis of the scan, in the data set's unit (``mm``,
        or ``voxel`` and ``pixel`` where the files name none); a slice keeps all three.
      volume: cases with the same volume are the slices of one scan, scored together; equals
        ``name`` for a scan.
      index: place of the slice in its volume, 0 for a scan.
      group: scanner, stain, look-alike cluster …: keeps splits apart, never counted.
      affine: ``(4, 4)``, index (d, h, w, 1) of ``image`` to RAS mm; None where the file has none.
      orientation: of the file, e.g. ``LAS``, see :mod:`semiseg.data.orientation`.
    """

    subject: str
    name: str
    image: np.ndarray
    label: np.ndarray | None
    spacing: tuple[float, ...]
    volume: str
    index: int = 0
    group: str = ""
    affine: np.ndarray | None = None
    orientation: str = ""


class Choice(NamedTuple):
    """Images that are drawn from.

    Attributes:
      images: ``(N,)`` int32, their indices, repeated to fill the array.
      number: int32 scalar, how many there are.
      below: ``(N,)`` float32, probability that one of the first images is drawn, for draws by
        subject; 1 beyond the last.
    """

    images: jax.Array
    number: jax.Array
    below: jax.Array


class Foreground(NamedTuple):
    """Where the masks of a label budget show each class, for windows that are centred there.

    Attributes:
      scan: ``(N,)`` int32, the scan that each real image is of, one of Q.
      place: ``(Q, K - 1, M, 1 + A)`` int32, image and position of up to M voxels of each class but
        the background.
      number: ``(Q, K - 1)`` int32, how many of these there are: 0 outside the label budget.
    """

    scan: jax.Array
    place: jax.Array
    number: jax.Array


class Pools(NamedTuple):
    """Everything a training program draws from, on the device. Shapes depend on the data sets
    alone, never on the label budget.

    Attributes:
      image: N training images, then the synthetic ones.
      label: ``(P, V)`` uint8, beside the images' voxels; IGNORE for every image outside the label
        budget: a method cannot see what it was not given. Images of ``pseudo`` have masks from
        elsewhere there.
      labelled: what labelled images are drawn from.
      unlabelled: what unlabelled ones are drawn from.
      synthetic_count: int32 scalar; how many synthetic images there are.
      foreground: where the budget's masks show each class; None for windows anywhere.
      hidden: ``(P, V)`` uint8; the held-back labels, IGNORE where there is none. The diagnostics
        alone read them; None for no diagnostics.
      pseudo: unlabelled images that have a mask from elsewhere (``--pseudo``); None for none.
    """

    image: Images
    label: jax.Array
    labelled: Choice
    unlabelled: Choice
    synthetic_count: jax.Array
    foreground: Foreground | None = None
    hidden: jax.Array | None = None
    pseudo: Choice | None = None

    @property
    def real(self) -> int:
        """N, the number of training images."""
        return len(self.labelled.images)


class Batch(NamedTuple):
    """What a method's loss sees. Images are float32, standardised; labels int32 with IGNORE.

    Attributes:
      image: ``(B, H, W, C)`` labelled (real and synthetic), weakly augmented.
      label: ``(B, H, W)``.
      weak: ``(U, H, W, C)`` unlabelled, weak view.
      strong: ``(U, H, W, C)`` the same pixels, strong view: same geometry, other intensities,
        cut-outs.
      valid: ``(U, H, W)`` bool; False where augmentation moved in pixels from outside the frame.
      place: ``(U,)`` int32; index of each unlabelled image in the pool of N images; from N on, in
        the synthetic pool.
      coordinates: ``(U, 2, H, W)``; pixel of the pool image that each pixel of its views comes
        from, see :func:`semiseg.augment.geometry.sample`.
      layout: page, first voxel and shape of these images in the pool; None where a method needs
        none of it.
      weight: ``(B,)`` by which what each labelled image's mask teaches is multiplied; None for 1.
      hidden: ``(U, H, W)`` bool; pixels that the strong view does not show, under a cut-out, and
        that therefore teach nothing there; None for none.
    """

    image: jax.Array
    label: jax.Array
    weak: jax.Array
    strong: jax.Array
    valid: jax.Array
    place: jax.Array
    coordinates: jax.Array
    weight: jax.Array | None = None
    layout: Images | None = None
    hidden: jax.Array | None = None


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
    """A network: a frozen dataclass of its hyperparameters, the only place that knows Flax.

    :class:`semiseg.nets.network.Network` is the base that gives all but ``block`` and ``module``.
    """

    @property
    def dims(self) -> int:
        """2 for images ``(B, H, W, C)``, 3 for volumes ``(B, D, H, W, C)``."""
        ...

    @property
    def block(self) -> int | tuple[int, ...]:
        """Sizes the module takes are multiples of this (one number, or one an axis)."""
        ...

    @property
    def dtype(self) -> str:
        """Of the activations, ``float32`` or ``bfloat16``; variables and logits are float32."""
        ...

    @property
    def linear_head(self) -> bool:
        """Whether the logits are the convolution ``head`` of ``aux["features"]``."""
        ...

    def classes(self, weights: Any) -> int:
        """Number of classes that ``weights`` were made for."""
        ...

    def module(self, channels: int, classes: int, normals: Any, size: tuple[int, ...]) -> Any:
        """The flax module with its variables, initialised from ``normals`` (a
        :class:`semiseg.nets.layers.Normals`).

        Only shapes of variables may depend on ``channels``, ``classes`` and ``size``, the spatial
        size of the images.
        """
        ...

    def init(
        self, key: jax.Array, sample: jax.ShapeDtypeStruct | jax.Array, classes: int
    ) -> Params:
        """Fresh variables for inputs shaped like ``sample`` ``(B, H, W, C)``."""
        ...

    def apply(
        self, params: Params, x: jax.Array, *, train: bool, key: jax.Array | None = None
    ) -> Output:
        """Logits of a batch. ``train`` uses batch statistics; a ``key`` draws dropout."""
        ...


class Model(NamedTuple):
    """A network bound to its data: what a :class:`Method` is handed, so that a method can make as
    many copies as it needs.

    ``pool`` is the shape of the voxels ``(P, V, C)`` that the unlabelled images are drawn from, for
    a method that remembers something of each. ``steps`` are the optimiser steps of the training, a
    traced number in one, for what a method counts in shares of it.
    """

    net: Net
    sample: jax.ShapeDtypeStruct
    classes: int
    pool: jax.ShapeDtypeStruct | None = None
    steps: jax.Array | float = 1000.0

    def init(self, key: jax.Array) -> Params:
        """Fresh variables of the network."""
        return self.net.init(key, self.sample, self.classes)

    def apply(
        self, params: Params, x: jax.Array, *, train: bool, key: jax.Array | None = None
    ) -> Output:
        """Logits of a batch, see :meth:`Net.apply`."""
        return self.net.apply(params, x, train=train, key=key)


# ------------------------------------------------------------------ methods
class Loss(Protocol):
    """A segmentation loss: a frozen dataclass with one method."""

    def __call__(self, logits: jax.Array, label: jax.Array) -> jax.Array:
        """``logits (B, *space, K)`` float, ``label (B, *space)`` int with IGNORE → scalar."""
        ...


class Pseudo(NamedTuple):
    """What a method makes of the unlabelled batch, for the diagnostics that compare it with the
    held-back labels.

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


class Task(Protocol):
    """What the training program runs: a method, or an objective of pre-training. ``self`` holds
    hyperparameters only. ``progress`` is step / total steps, in [0, 1).

    Several networks, or a discriminator, are a tree of Params: one optimiser steps them all, and
    ``stop_gradient`` on the weights or the input decides which term of the loss trains which.
    """

    paper: ClassVar[str]
    """Authors, venue and year."""
    passes: ClassVar[str]
    """Images a step puts through a network, in terms of the labelled L and the unlabelled U of a
    batch; after a bar those without gradient, e.g. ``L + U | U``.
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


class Method(Task, Protocol):
    """A training method of segmentation.

    :class:`semiseg.methods.base.SemiSupervised` and :class:`semiseg.methods.supervised.Supervised`
    are the bases that give all but ``title``, ``paper``, ``holds``, ``passes`` and ``loss``.
    """

    title: ClassVar[str]
    """Its name in the literature, e.g. ``mean teacher`` or ``UA-MT``."""
    holds: ClassVar[str]
    """Networks that are trained, and after a bar those that are stored without gradient (averages,
    teachers), e.g. ``1 | 1``.
    """
    uses_unlabelled: ClassVar[bool]
    """Whether a part of its batch is unlabelled."""

    @property
    def criterion(self) -> Loss:
        """The segmentation loss on labelled images."""
        ...

    def architectures(self, net: Net) -> tuple[Net, ...]:
        """The networks it trains on the data of a run whose network is ``net``; ``net`` is the
        first.
        """
        ...

    def main(self, params: PyTree) -> Params:
        """The network of ``params`` that is averaged and evaluated."""
        ...

    def average(self, memory: PyTree) -> Params:
        """The moving average of :meth:`main` that every method stores."""
        ...


def get_weights(params: PyTree) -> PyTree:
    """The trainable part of every Params in a tree."""
    return jax.tree.map(lambda p: p.weights, params, is_leaf=_is_params)


def with_weights(params: PyTree, weights: PyTree) -> PyTree:
    """``params`` with its trainable parts replaced by :func:`get_weights`-shaped ``weights``."""
    return jax.tree.map(lambda p, w: p._replace(weights=w), params, weights, is_leaf=_is_params)


def with_state(params: PyTree, state: PyTree) -> PyTree:
    """``params`` with its normalisation statistics replaced."""
    return jax.tree.map(lambda p, s: p._replace(state=s), params, state, is_leaf=_is_params)


def _is_params(node: Any) -> bool:
    return isinstance(node, Params)
