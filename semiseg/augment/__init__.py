"""Draw + augment, inside jit: from pool images to the weak and strong views of a
:class:`semiseg.types.Batch`.

    image, label, valid, coordinates = augmentation.weak(key, image_BHWC, label_BHW, size=128)
    strong = augmentation.strong(key, image)             # the same pixels, other grey values
    standardise(image), standardise(strong, like=image)  # what a network sees

Each sample depends on its own key alone. All probabilities and strengths are traced, so a sweep
over them shares one program; pass the augmentation to jit as an argument for that.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from semiseg import plugins, ragged
from semiseg.augment.fourier import Fourier
from semiseg.augment.geometry import Geometry, centre, sample, warp
from semiseg.augment.intensity import Intensity
from semiseg.ragged import Images, unit_range
from semiseg.types import IGNORE, hyper

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "Fourier",
    "Geometry",
    "Intensity",
    "PRESETS",
    "centre",
    "default",
    "none",
    "normalise",
    "oriented",
    "ssl4mis",
    "standardise",
    "warp",
]

Size = int | tuple[int, ...]
STILL = Geometry(
    flip=0.0,
    rot90=0.0,
    rotate_p=0.0,
    scale_p=0.0,
    shear=0.0,
    translate=0.0,
    elastic_p=0.0,
)
UNCHANGED = Intensity(
    gamma_p=0.0,
    contrast_p=0.0,
    brightness_p=0.0,
    blur_p=0.0,
    noise_p=0.0,
    cutout_p=0.0,
)
STRONG = Intensity(
    gamma_p=0.5,
    gamma=1.8,
    contrast_p=0.5,
    contrast=1.6,
    brightness_p=0.5,
    brightness=0.5,
    blur_p=0.5,
    blur=1.5,
    noise_p=0.5,
    noise=0.3,
    cutout_p=0.5,
)


@hyper
class Augmentation:
    """What is done to a training image. Axes: ``B *space C``, where space is ``H W`` or ``D H W``.

    Attributes:
      geometry: of every view; a strong view has the geometry of the weak view it is made from.
      weak_intensity: grey values of the weak view and of labelled images.
      strong_intensity: grey values of the strong view, on top of the weak view's.
      under_cutouts: what pixels under a cut-out of the strong view teach: "ignored", nothing; or
        "taught", the pseudo-label of what cannot be seen, as in runs from before there was a
        choice.
      fourier: labelled and unlabelled images that take each other's low-frequency amplitudes; off
        unless its ``views`` say so.
    """

    geometry: Geometry = Geometry()
    weak_intensity: Intensity = Intensity()
    strong_intensity: Intensity = STRONG
    under_cutouts: Literal["ignored", "taught"] = "ignored"
    fourier: Fourier = Fourier()

    def weak(
        self,
        key: jax.Array,
        image: jax.Array | Images,
        label: jax.Array,
        size: Size,
        place: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """A random window of ``size`` around the centre of each image, or around its ``place``.

        Args:
          key: one key for the batch.
          image: B images of a flat pool; or ``(B, *space, C)`` uint8, or float in [0, 1].
          label: integer classes and IGNORE, of the flat pool ``(P, V)``; or ``(B, *space)``.
          size: side of the (static) window, or one for each axis. A margin around it keeps rotation
            from moving the frame into view.
          place: ``(B, axes)``, where in each image the window's centre lies, in pixels from the
            image's.

        Returns:
          image ``(B, *size, C)`` float32 in [0, 1], interpolated linearly, 0 outside the frame;
          label ``(B, *size)`` int32, the nearest pixel's, IGNORE outside the frame; valid ``(B,
          *size)`` bool, False outside the frame; coordinates ``(B, axes, *size)``, where in the
          image each pixel comes from, see :func:`warp`.
        """
        if not isinstance(image, Images):
            image = ragged.of_dense(image)
            label = ragged.labels_of_dense(label)
        space = _window(size, image.axes)

        def one(
            keys: jax.Array,
            image: Images,
            place: jax.Array | None,
        ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
            k_geometry, k_intensity = keys
            coordinates = self.geometry.coordinates(k_geometry, image.shape, space)
            if place is not None:
                centre_A = place.astype(jnp.float32)
                coordinates += centre_A.reshape(-1, *(1,) * len(space))
            pixels, classes, valid = sample(image, label, coordinates)
            pixels = self.weak_intensity(k_intensity, pixels)
            pixels = jnp.where(valid[..., None], pixels, 0)
            return pixels, classes, valid, coordinates

        keys = jax.random.split(key, (image.number, 2))
        images = image._replace(mean=None, deviation=None)
        tables = jax.tree.map(lambda _: 0, images)
        tables = tables._replace(voxels=None)  # mapped over are the tables, not the voxels
        return jax.vmap(one, (0, tables, 0))(keys, images, place)

    def strong(
        self,
        key: jax.Array,
        image: jax.Array,
    ) -> jax.Array:
        """The strong view of weak views ``(B, *size, C)`` in [0, 1]: other grey values and
        cut-outs, every pixel in its place.
        """
        return self.strong_and_hidden(key, image)[0]

    def strong_and_hidden(
        self,
        key: jax.Array,
        image: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """:meth:`strong`, and the pixels ``(B, *size)`` bool that lie under a cut-out and teach
        nothing.
        """
        keys = jax.random.split(key, len(image))
        strong, hidden = jax.vmap(self.strong_intensity.changed)(keys, unit_range(image))
        if self.under_cutouts == "taught":
            hidden = jnp.zeros_like(hidden)
        return strong, hidden

    @staticmethod
    def identity(
        image: jax.Array,
        label: jax.Array,
        size: Size,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The centre window as evaluation sees it; exactly what :meth:`weak` gives when nothing is
        drawn. Shapes as there.
        """
        space = _window(size, label.ndim - 1)
        valid = centre(jnp.ones(label.shape, bool), space)
        image = centre(unit_range(image), space)
        label = centre(label.astype(jnp.int32), space, fill=IGNORE)
        return image, label, valid


LEAST_DEVIATION = 0.02
"""Of an image in [0, 1]: five of 256 grey levels."""


def standardise(
    image: jax.Array,
    like: jax.Array | None = None,
    eps: float = 1e-5,
) -> jax.Array:
    """``(image - mean) / std`` of each image and channel of ``(B, *space, C)``, of grey values in
    [0, 1]; ``eps`` is added to std, which is at least 0.02, so that an image that is nearly
    constant does not become noise; a constant one gives 0.

    Mean and std are those of ``like`` if given: ``standardise(strong, like=weak)`` keeps the strong
    view's brightness and contrast, which its own statistics would take out again.

    >>> image = jnp.array([[[[0.0], [2.0]]]])
    >>> [f"{x:.3f}" for x in standardise(image).ravel()]
    ['-1.000', '1.000']
    """
    reference = image if like is None else like
    space = tuple(range(1, image.ndim - 1))
    mean = reference.mean(space, keepdims=True)
    deviation = jnp.maximum(reference.std(space, keepdims=True), LEAST_DEVIATION)
    return (image - mean) / (deviation + eps)


def normalise(
    image: jax.Array,
    mean: jax.Array,
    deviation: jax.Array,
    eps: float = 1e-5,
) -> jax.Array:
    """``(image - mean) / deviation`` of ``(B, *space, C)`` with the numbers of the whole scan
    ``(B, C)``, so that a dark window stays dark. ``eps`` is added to the deviation.

    >>> image = jnp.array([[[[0.0], [2.0]]]])
    >>> [f"{x:.3f}" for x in normalise(image, jnp.array([[1.0]]), jnp.array([[2.0]])).ravel()]
    ['-0.500', '0.500']
    """
    per_image = (len(image), *(1,) * (image.ndim - 2), image.shape[-1])
    return (image - mean.reshape(per_image)) / (deviation.reshape(per_image) + eps)


def none() -> Augmentation:
    """Centre crop, nothing random; the strong view equals the weak one."""
    return Augmentation(STILL, UNCHANGED, UNCHANGED)


def default() -> Augmentation:
    """Mirrors, turns, affine, elastic and mild grey-value changes: for images without a natural
    orientation.
    """
    return Augmentation()


def oriented() -> Augmentation:
    """``default`` without mirrors and quarter turns: where the scanner fixes the orientation and
    left is not right.
    """
    return Augmentation(Geometry(flip=0.0, rot90=0.0))


def ssl4mis() -> Augmentation:
    """The SSL4MIS 2D recipe: in half of the samples a quarter turn and a mirror, in half of the
    others a rotation by up to 20 degrees.

    It has no strong view of its own; here that is the default one. Differs from the code in that
    images are interpolated linearly and uncovered corners are ignored by the loss (there: order 0,
    and corners become background).
    """
    geometry = Geometry(
        flip=1.0,
        rot90=1.0,
        rotate_p=0.5,
        scale_p=0.0,
        shear=0.0,
        translate=0.0,
        elastic_p=0.0,
        exclusive=True,
    )
    return Augmentation(geometry, UNCHANGED)


AUGMENTATIONS: dict[str, type] = {"default": Augmentation}
"""Classes of augmentation: anything with ``weak`` and ``strong``, see :class:`Augmentation`."""
plugins.offer("augmentation", AUGMENTATIONS)

PRESETS = {
    "default": default,
    "oriented": oriented,
    "ssl4mis": ssl4mis,
    "none": none,
}


def _window(
    size: Size,
    axes: int,
) -> tuple[int, ...]:
    if isinstance(size, int):
        return (size,) * axes
    return tuple(size)
