"""The kinds of all modules, by name."""

from __future__ import annotations

import importlib

from fuzz.engine import Kind

MODULES = (
    "fuzz.of_scans",
    "fuzz.of_sets",
    "fuzz.of_dicom",
    "fuzz.of_dicom_sets",
    "fuzz.of_runs",
    "fuzz.of_sweeps",
    "fuzz.of_tables",
    "fuzz.of_generated",
    "fuzz.of_weights",
    "fuzz.of_stores",
    "fuzz.of_reports",
    "fuzz.of_pseudonyms",
    "fuzz.of_generators",
)
"""Modules with a tuple ``KINDS``."""


def kinds(names: tuple[str, ...] = ()) -> list[Kind]:
    """The kinds whose names begin with one of ``names``; all without any.

    Raises:
      ValueError: a name is of none.
    """
    every: list[Kind] = []
    for module in MODULES:
        every += importlib.import_module(module).KINDS
    if not names:
        return every
    for name in names:
        if not any(kind.name.startswith(name) for kind in every):
            known = ", ".join(kind.name for kind in every)
            raise ValueError(f"there is no kind {name!r}: choose of {known}")
    return [kind for kind in every if kind.name.startswith(names)]
