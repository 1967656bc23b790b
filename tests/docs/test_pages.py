"""Every code block of README.md and docs/ runs, page by page, in an empty folder.

- ``bash``: each line runs; ``semiseg …`` in this process (one JAX for all pages), others in a shell.
- ``python``: runs in the page's own namespace, block after block.
- a block whose first line is ``# file: NAME`` is written to NAME instead.
- ``text`` and ``console`` are only read.

What stands below a heading "Inside semiseg" is for a copy of the package, to which the ``diff``
blocks of all pages are applied; there ``semiseg`` and ``pytest`` run in one process of their own.

A page would take hours as it stands: :data:`SMALL` makes steps, pictures and networks small, and
changes nothing else. A block that cannot run here stands below ``<!-- not run: reason -->``.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pictures import make_checkpoints, make_layouts, make_pictures, make_studies, make_volumes
from sybil import Sybil
from sybil.parsers.myst import CodeBlockParser

from semiseg import plugins

ROOT = Path(__file__).parents[2]
GENERATED = (
    *(f"docs/reference/{name}.md" for name in ("methods", "networks", "losses", "configuration")),
    *(f"docs/reference/{name}.md" for name in ("command-line", "api")),
    "docs/_build/",
)
PAGES = [
    page
    for page in (
        "README.md",
        "CONTRIBUTING.md",
        *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md")),
    )
    if not page.startswith(GENERATED)
]
QUICK = ("README.md", "docs/tutorials/first-run.md", "docs/how-to/predict.md")
"""Pages that each ``make test`` runs; the others wait for ``SEMISEG_SLOW_TESTS=1``."""
SMALL = (
    (r"--steps[ =]\d+", "--steps 4"),
    (r"--image-size[ =]\d+", "--image-size 32"),
    (r"--init_steps \d+", "--init_steps 4"),
    (r"--n \d\d+", "--n 8"),
    (r"semiseg train (?!.*(--net|--config|--preset))", "semiseg train --net.widths 4 8 "),
    (r"--preset ssl4mis (?=--)", "--preset ssl4mis --net.widths 4 8 --net.dropout 0 "),
    (r"gan fit ", "gan fit --generator.widths 8 8 "),
    (r"--net vnet", "--net vnet --net.width 4 --net.convs 1 1 --net.ups 1 --net.kernel 3"),
    (r"--net unet --net.norm batch --net.head 3", r"\g<0> --net.widths 2,2,4,4,6"),
    (r"--net.widths 64,128,256,512,1024", "--net.widths 1,2,4,8,16"),
    (r"--jobs 2$", "--jobs 1"),
    (r"label_subset: \{values: \[0, 1\]\}", "label_subset: {value: 0}"),
    (r"steps: \{value: \d+\}", "steps: {value: 4}\n  net.widths: {value: [4, 8]}"),
    (r"image_size: \{value: \d+\}", "image_size: {value: 32}"),
    (r"steps=\d+", "steps=4, net=semiseg.nets.UNet(widths=(4, 8))"),
    (r"image_size=\d+", "image_size=32"),
)
FILE = re.compile(r"# file: (\S+)\n")
NOT_RUN = re.compile(r"<!-- not run: .+? -->\s*$", re.DOTALL)
INSIDE = "\n## Inside semiseg\n"
LANGUAGES = ("bash", "python", "yaml", "csv", "diff")


class Block(NamedTuple):
    """A code block of a page.

    Attributes:
      language: "bash", "python" …
      text: made small.
      inside: whether it is for a copy of the package.
      line: where it begins.
    """

    language: str
    text: str
    inside: bool
    line: int


def small(text: str) -> str:
    """``text`` with runs that take a second."""
    for pattern, replacement in SMALL:
        text = re.sub(pattern, replacement, text)
    return text


def blocks(page: str) -> list[Block]:
    """The blocks of a page that run."""
    parsers = [CodeBlockParser(language, lambda example: None) for language in LANGUAGES]
    document = Sybil(parsers=parsers, path=str(ROOT)).parse(ROOT / page)
    inside = document.text.find(INSIDE)
    result = []
    for example in document.examples():
        if NOT_RUN.search(document.text[: example.start]):
            continue
        language = example.region.lexemes["arguments"]
        is_inside = -1 < inside < example.start
        result.append(Block(language, small(str(example.parsed)), is_inside, example.line))
    return result


def commands(text: str) -> Iterator[str]:
    """Each command of a bash block."""
    for line in text.replace("\\\n", " ").splitlines():
        parts = [line]
        if "semiseg " in line:
            parts = line.split("&&")
        for part in parts:
            if shlex.split(part, comments=True):
                yield part.strip()


def write_file(folder: Path, text: str) -> bool:
    """Write a block that is a file; whether it was one."""
    match = FILE.match(text)
    if match is None:
        return False
    path = folder / match[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return True


def shell(command: str, folder: Path) -> None:
    subprocess.run(["bash", "-ec", command], check=True, timeout=120, cwd=folder)


@pytest.fixture
def no_plugins():
    """Takes back what a page registers."""
    registered = set(plugins._registered)
    yield
    plugins._forget(set(plugins._registered) - registered)
    plugins._plugins.clear()


@pytest.fixture
def png_alone(monkeypatch):
    """Figures as files in one format of three: drawing is half of a small page's time."""
    from semiseg.report import section
    from semiseg.report.figures import output

    def save(figure, *files):
        output.save(figure, *(file for file in files if file.suffix == ".png"))

    monkeypatch.setattr(section, "save", save)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[] if page in QUICK else pytest.mark.slow) for page in PAGES],
)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch, no_plugins, png_alone):
    """Catches a command, a flag, a name or a file that a page promises and the product has not."""
    from semiseg.cli.main import main

    monkeypatch.setenv("SEMISEG_DATA", str(tmp_path / "stores"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path)
    if page in ("docs/how-to/your-own-data.md", "docs/how-to/regions.md"):
        make_layouts(tmp_path)
    if page == "docs/how-to/volumes.md":
        make_volumes(tmp_path)
    if page == "docs/how-to/dicom.md":
        make_studies(tmp_path)
    if page == "docs/how-to/pytorch-weights.md":
        make_checkpoints(tmp_path)
    names: dict = {"__name__": "page"}
    for block in blocks(page):
        if block.inside or write_file(tmp_path, block.text):
            continue
        if block.language == "python":
            exec(compile(block.text, f"{page}:{block.line}", "exec"), names)
        if block.language != "bash":
            continue
        for command in commands(block.text):
            if command.startswith("semiseg "):
                code = main(shlex.split(command, comments=True)[1:])
                assert code == 0, f"exit {code}: {command}"
            else:
                shell(command, tmp_path)


# ------------------------------------------------------------------ inside a copy of the package
DRIVER = """
import json, sys
import pytest
from semiseg.cli.main import main

commands, tests = json.loads(sys.stdin.read())
for command in commands:
    if main(command) != 0:
        sys.exit(f"failed: {command}")
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *tests]))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what the pages change, with the files that the pages need."""
    folder = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("__pycache__", "made_by_*")
    for name in ("semiseg", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    results = folder / "experiments" / "results"
    results.mkdir(parents=True)
    for name in ("demo.csv", "bench_methods.json"):
        shutil.copy(ROOT / "experiments" / "results" / name, results)
    shutil.copy(ROOT / "pyproject.toml", folder)
    make_pictures(folder)
    return folder


@pytest.mark.slow
def test_the_edits_of_the_pages_work(checkout):
    """Catches a table, a file or a test that a new part must be entered in and a page forgets, and
    a line that a page names and the code has no more.
    """
    semiseg_commands: list[list[str]] = []
    checks: list[str] = []
    tests: list[str] = []
    names: list[str] = []
    for page in PAGES:
        for block in blocks(page):
            if write_file(checkout, block.text):
                continue
            if block.language == "diff":
                apply(block.text, checkout)
            if not block.inside or block.language != "bash":
                continue
            for command in commands(block.text):
                words = shlex.split(command, comments=True)
                if words[0] == "semiseg":
                    semiseg_commands.append(words[1:])
                elif words[0] == "pytest":
                    tests.append(words[1])
                    names.append(f"({words[3]})")
                elif words[0] == "sed":
                    shell(command, checkout)
                else:
                    checks.append(command)
    for name in ("p00", "p01"):
        shell(f"mkdir -p scans/{name} && cp mine/images/{name}.png scans/{name}/scan.png", checkout)
    shell("cp mine/labels/p00.png scans/p00/mask.png", checkout)
    variables = {"PYTHONPATH": str(checkout), "SEMISEG_DATA": str(checkout / "stores")}
    subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps([semiseg_commands, [*dict.fromkeys(tests), "-k", " or ".join(names)]]),
        text=True,
        check=True,
        cwd=checkout,
        env={**os.environ, **variables},
        timeout=280,
    )
    assert checks
    for command in checks:
        shell(command, checkout)


def apply(diff: str, folder: Path) -> None:
    """Apply a page's edits: after ``--- FILE``, parts apart by ``@@`` of lines that stay (" "), go
    ("-") and come ("+").
    """
    name, _, body = diff.partition("\n")
    path = folder / name.removeprefix("--- ")
    text = path.read_text()
    for part in re.split(r"^@@\n", body, flags=re.MULTILINE):
        lines = [line or " " for line in part.rstrip("\n").split("\n")]
        old = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
        new = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
        assert text.count(old) == 1, f"{name}: there are {text.count(old)} of\n{old}"
        text = text.replace(old, new)
    path.write_text(text)


def test_small_changes_sizes_alone():
    """Catches a substitution that would turn a page's command into another one."""
    command = "semiseg train --net unet --steps 1500 --labels 8"
    assert small(command) == "semiseg train --net unet --steps 4 --labels 8"
    assert small("semiseg predict runs/first") == "semiseg predict runs/first"


# ------------------------------------------------------------------ commands of tables
TABLES = ["experiments/README.md", *(page for page in PAGES if page.startswith("docs/re"))]
COMMAND = re.compile(r"`((?:semiseg|python) [^`]*)`")
IN_TEXT = sorted({text for page in TABLES for text in COMMAND.findall((ROOT / page).read_text())})


def known_flags(words: list[str]) -> set[str]:
    """The flags of the command or the script that ``words`` begin with."""
    if words[0] == "python":
        script = ROOT / words[1]
        text = script.read_text()
        for name in re.findall(r"^import (\w+)$", text, re.M):
            sibling = script.with_name(f"{name}.py")
            if sibling.exists():
                text += sibling.read_text()
        return {"--help", *re.findall(r'add_argument\(\s*"(--[\w-]+)"', text)}
    contract = json.loads((ROOT / "tests" / "guards" / "contract.json").read_text())
    listed = contract["commands"]
    name = " ".join(words[1:3])
    if name not in listed:
        name = words[1]
    return {"--help", *listed[name]["flags"]}


@pytest.mark.parametrize("command", IN_TEXT)
def test_a_command_in_the_text_exists(command):
    """Catches a command, a flag or a file in the text of a page that was renamed since."""
    words = shlex.split(command)
    flags = known_flags(words)
    for word in words[1:]:
        if word.startswith("--"):
            assert word.partition("=")[0] in flags
        if word.startswith("experiments/"):
            assert (ROOT / word).exists()


def test_the_text_names_commands():
    """Catches an expression that finds no command in the text."""
    assert len(IN_TEXT) > 20
