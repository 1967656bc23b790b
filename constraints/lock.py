"""Records the newest releases that pyproject.toml admits on this Python: ``make lock``.

    python constraints/lock.py constraints/py311.txt

Nothing is installed. pip says what it would install into an empty environment, and the file gets a
line ``name==version`` for each package, in the form that ``pip install --constraint`` reads.
"""

import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def newest_versions(folder: Path) -> dict[str, str]:
    """Package names and versions, resolved by the pip of an empty environment in ``folder``."""
    venv.create(folder / "venv", with_pip=True)
    report = folder / "report.json"
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install"]
    resolve = ["--quiet", "--dry-run", "--ignore-installed", "--report", str(report)]
    subprocess.run([*pip, *resolve, ".[dev,docs]"], cwd=ROOT, check=True)
    packages = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    return {canonical(package["name"]): package["version"] for package in packages}


def canonical(name: str) -> str:
    """The one spelling of a package's name, see packaging.python.org.

    >>> canonical("Array_Record")
    'array-record'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        versions = newest_versions(Path(folder))
    del versions["semiseg"]
    # "+cpu" and the like name a build of this machine that no index has
    lines = [
        f"{name}=={versions[name]}\n" for name in sorted(versions) if "+" not in versions[name]
    ]
    target.write_text("".join(lines))
    print(f"{target}: {len(lines)} packages")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
