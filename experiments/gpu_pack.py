"""What an accelerator's machine without a network needs to run gpu_campaign.py: ``make gpu-pack``.

Command: python experiments/gpu_pack.py --acdc ACDC --out .gpu
there    pip install --no-index --no-deps --target SITE .gpu/wheels/*.whl; tar -xJf .gpu/acdc.tar.xz
         PYTHONPATH=SITE python experiments/gpu_campaign.py --acdc acdc --out OUT --minutes 8

The folder holds wheels for Python 3.12 on Linux that a machine with jax, flax, optax, orbax and
h5py lacks, a wheel of this package, and ACDC in 64 grey values (noise compresses badly; to be said
with every number that is made from it), 46 MB in all. `make gpu-pack ACDC=FOLDER` calls it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).parent.parent
LEVELS = 63
MISSING = (
    "tensorflow-datasets",
    "array-record",
    "dm-tree",
    "immutabledict",
    "simple-parsing",
    "tensorflow-metadata",
    "googleapis-common-protos",
    "termcolor",
    "toml",
    "docstring-parser",
    "importlib-resources",
    "tyro",
    "typeguard",
    "typing-inspection",
    "annotated-types",
    "pydantic",
    "optuna",
    "colorlog",
)
BUILT = ("promise",)
"""Packages without a wheel on PyPI."""
GLIBC = (28, 27, 24, 17, 12, 5)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--acdc", type=Path, help="ACDC in the SSL4MIS layout")
    parser.add_argument("--out", type=Path, default=ROOT / ".gpu")
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    wheels = args.out / "wheels"
    wheels.mkdir(parents=True)
    for package in MISSING:
        _download(package, wheels)
    _download(f"pydantic-core=={_core_version(wheels)}", wheels)
    _pip("wheel", "--no-deps", f"--wheel-dir={wheels}", *BUILT, str(ROOT))
    if args.acdc:
        pack_acdc(args.acdc, args.out / "acdc.tar.xz")
    size = sum(file.stat().st_size for file in args.out.rglob("*") if file.is_file())
    print(f"{args.out}: {size / 1e6:.0f} MB")


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", *words, "--quiet", "--disable-pip-version-check"]
    subprocess.run(command, check=True)


def _download(package: str, wheels: Path) -> None:
    """A wheel of the newest version for CPython 3.12 on Linux."""
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in GLIBC]
    platforms += ["manylinux2014_x86_64", "manylinux1_x86_64", "any"]
    words = ["--no-deps", "--only-binary=:all:", "--python-version=3.12", "--implementation=cp"]
    words += [f"--abi={abi}" for abi in ("cp312", "abi3", "none")]
    words += [f"--platform={platform}" for platform in platforms]
    _pip("download", *words, f"--dest={wheels}", package)


def _core_version(wheels: Path) -> str:
    """The version of pydantic-core that the downloaded pydantic asks for."""
    [wheel] = wheels.glob("pydantic-2*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    asked = "Requires-Dist: pydantic-core=="
    [line] = [line for line in metadata.splitlines() if line.startswith(asked)]
    return line.removeprefix(asked)


def pack_acdc(source: Path, target: Path) -> None:
    """ACDC in the SSL4MIS layout as an archive: grey values as uint8, uncompressed inside."""
    folder = target.with_name("acdc")
    for file in sorted(source.rglob("*")):
        if not file.is_file():
            continue
        place = folder / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix != ".h5":
            shutil.copy(file, place)
            continue
        with h5py.File(file) as old, h5py.File(place, "w", libver="latest") as new:
            for name, data in (("image", _grey(old)), ("label", old["label"][()])):
                new.create_dataset(name, data=data.astype(np.uint8), chunks=data.shape)
    with tarfile.open(target, "w:xz") as archive:
        archive.add(folder, arcname="acdc")
    shutil.rmtree(folder)


def _grey(file: h5py.File) -> np.ndarray:
    """The image in whole numbers from 0 to :data:`LEVELS`."""
    image = np.asarray(file["image"], np.float32)
    low = float(image.min())
    return np.round((image - low) / max(float(image.max()) - low, 1e-9) * LEVELS)


if __name__ == "__main__":
    main()
