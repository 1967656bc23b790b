"""Packages that read files of strangers, and their lowest versions without a known vulnerability.

``pyproject.toml`` asks for the same versions, ``semiseg doctor`` compares them with the installed
ones. Looked up in the databases of OSV, PyPA and CISA in November 2026.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple


class Lowest(NamedTuple):
    """A package that reads files.

    Attributes:
      package: its name on PyPI.
      lowest: version that is allowed.
      why: what earlier ones do.
      reads: which files of ours.
    """

    package: str
    lowest: str
    why: str
    reads: str


NONE_KNOWN = "no advisory is known; earlier ones are not tested"
READERS = (
    Lowest(
        "pillow",
        "13.0",
        "JPEG and TIFF decoders write or read beyond their buffers (GHSA-8g5g-8vmr-9782, "
        "GHSA-462x-pgg6-55fp and others)",
        "pictures",
    ),
    Lowest(
        "h5py",
        "3.16",
        "wheels bring HDF5 up to 1.14.6, which writes beyond its buffers (CVE-2025-2915, "
        "CVE-2026-26200)",
        "HDF5",
    ),
    Lowest("nibabel", "5.2", NONE_KNOWN, "NIfTI"),
    Lowest(
        "pydicom",
        "3.0.2",
        "follows a DICOMDIR out of its folder (CVE-2026-32711)",
        "DICOM",
    ),
    Lowest(
        "python-gdcm",
        "3.2.2",
        "3.0.24 reads and writes beyond its buffers (CVE-2025-53618 and others)",
        "compressed pixels of DICOM",
    ),
    Lowest("highdicom", "0.26", NONE_KNOWN, "DICOM SEG"),
    Lowest("SimpleITK", "2.5", NONE_KNOWN, "NRRD and MetaImage"),
    Lowest(
        "pyyaml",
        "6.0.4",
        "6.0.3 has two advisories (openSUSE-SU-2026:11996)",
        "configurations and sweeps",
    ),
    Lowest("safetensors", "0.5", NONE_KNOWN, "weights"),
    Lowest(
        "jinja2",
        "3.1.6",
        "a template gets out of its sandbox (CVE-2025-27516)",
        "the report's own template",
    ),
    Lowest("tensorflow-datasets", "4.9.9", NONE_KNOWN, "stores and prepared sets"),
    Lowest("array-record", "0.8", NONE_KNOWN, "records of stores"),
    Lowest("orbax-checkpoint", "0.11", NONE_KNOWN, "checkpoints"),
    Lowest("scikit-image", "0.24", NONE_KNOWN, "nothing; it works on pixels"),
)


def below(installed: dict[str, str] | None = None) -> list[tuple[Lowest, str]]:
    """The packages whose version is too low, each with it; those that are absent are left out.

    Args:
      installed: package → version; by default those of this process.

    >>> [(reader.package, found) for reader, found in below({"pydicom": "3.0.1", "h5py": "4.0"})]
    [('pydicom', '3.0.1')]
    """
    if installed is None:
        installed = _installed()
    return [
        (reader, installed[reader.package])
        for reader in READERS
        if reader.package in installed and parts(installed[reader.package]) < parts(reader.lowest)
    ]


def parts(text: str) -> tuple[int, ...]:
    """A version as numbers, without zeros at its end.

    >>> parts("13.0.0") == parts("13.0"), parts("3.0.10") > parts("3.0.2"), parts("2.0rc1")
    (True, True, (2,))
    """
    match = re.match(r"\d+(\.\d+)*", text)
    numbers = [int(number) for number in (match.group() if match else "0").split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _installed() -> dict[str, str]:
    versions = {}
    for reader in READERS:
        try:
            versions[reader.package] = version(reader.package)
        except PackageNotFoundError:
            continue
    return versions
