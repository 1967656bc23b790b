"""A device that the environment asks for and JAX does not find."""

from __future__ import annotations

import os

import jax

from semiseg.errors import UserError

VARIABLE = "JAX_PLATFORMS"


def check_platform() -> None:
    """Refuse a ``JAX_PLATFORMS`` of whose devices JAX finds none.

    JAX initialises its devices here: processes of one run have joined before.

    Raises:
      UserError: naming the variable.
    """
    platforms = os.environ.get(VARIABLE, "")
    if not platforms:
        return
    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:  # a wheel for CPUs asserts, without a word
        raise UserError(
            "JAX finds no such device",
            where=f"{VARIABLE}={platforms}",
            remedy=f"unset it, set {VARIABLE}=cpu, or pip install 'semiseg[gpu]' for an NVIDIA GPU",
        ) from error
