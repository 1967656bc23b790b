"""Every code block of README.md and docs/ runs, page by page, in an empty folder.

- ``bash``: each line runs; ``semiseg …`` in this process (one JAX for all pages), others in a shell.
- ``python``: runs in the page's own namespace, block after block.
- a block whose first line is ``# file: NAME`` is written to NAME instead.
- ``text`` and ``console`` are only read.

A page would take hours as it stands: :data:`SMALL` makes steps, pictures and networks small, and
changes nothing else. A block that cannot run here stands below ``<!-- not run: reason -->``.
"""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from pictures import make_pictures

sybil = pytest.importorskip("sybil")
from sybil.parsers.myst import CodeBlockParser  # noqa: E402

ROOT = Path(__file__).parents[2]
GENERATED = ("docs/reference/", "docs/results/", "docs/_build/")
PAGES = [
    page
    for page in ("README.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md")))
    if not page.startswith(GENERATED)
]
SMALL = (
    (r"--steps[ =]\d+", "--steps 4"),
    (r"--image-size[ =]\d+", "--image-size 32"),
    (r"--init_steps \d+", "--init_steps 4"),
    (r"--n \d+", "--n 8"),
    (r"steps: \{value: \d+\}", "steps: {value: 4}"),
    (r"image_size: \{value: \d+\}", "image_size: {value: 32}"),
    (r"steps=\d+", "steps=4"),
    (r"image_size=\d+", "image_size=32"),
)
FILE = re.compile(r"# file: (\S+)\n")
NOT_RUN = re.compile(r"<!-- not run: .+? -->\s*$", re.DOTALL)


def small(text: str) -> str:
    """``text`` with runs that take a second."""
    for pattern, replacement in SMALL:
        text = re.sub(pattern, replacement, text)
    return text


class Page:
    """One page in its folder: what its blocks do."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.names: dict = {"__name__": "page"}

    def write_file(self, text: str) -> bool:
        """Write a block that is a file; whether it was one."""
        found = FILE.match(text)
        if found is None:
            return False
        path = self.folder / found[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return True

    def block(self, example) -> None:
        """Evaluate one block of the page."""
        if NOT_RUN.search(example.document.text[: example.start]):
            return
        text = small(str(example.parsed))
        if self.write_file(text):
            return
        language = example.region.lexemes["arguments"]
        if language == "bash":
            self.bash(text)
        if language == "python":
            code = compile(text, f"{example.path}:{example.line}", "exec")
            exec(code, self.names)

    def bash(self, text: str) -> None:
        """Each command of a block."""
        for line in text.replace("\\\n", " ").splitlines():
            for command in line.split("&&"):
                self.command(command.strip())

    def command(self, command: str) -> None:
        words = shlex.split(command, comments=True)
        if not words:
            return
        if words[0] != "semiseg":
            subprocess.run(["bash", "-ec", command], check=True, timeout=120, cwd=self.folder)
            return
        from semiseg.cli.main import main

        code = main(words[1:])
        assert code == 0, f"exit {code}: {command}"


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    """Catches a command, a flag, a name or a file that a page promises and the product has not."""
    monkeypatch.setenv("SEMISEG_DATA", str(tmp_path / "stores"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path)
    run = Page(tmp_path)
    parsers = [
        CodeBlockParser(language, run.block) for language in ("bash", "python", "yaml", "csv")
    ]
    document = sybil.Sybil(parsers=parsers, path=str(ROOT)).parse(ROOT / page)
    for example in document.examples():
        example.evaluate()


def test_small_changes_sizes_alone():
    """Catches a substitution that would turn a page's command into another one."""
    assert small("semiseg train --steps 1500 --labels 8") == "semiseg train --steps 4 --labels 8"
    assert small("semiseg predict runs/first") == "semiseg predict runs/first"
