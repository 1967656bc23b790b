"""``semiseg``: finds the command, and turns what a user can cause into one line and exit code 2."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from semiseg import plugins
from semiseg.environment import apart_from_the_working_folder, ended
from semiseg.errors import FULL, UserError
from semiseg.escapes import SafeStream

COMMANDS: dict[str, Any] = {
    "demo": (
        "the built-in nuclei set: three methods, three label budgets, a report; minutes on "
        "two cores"
    ),
    "data": "import | list | check | describe | remove | export data sets",
    "train": "one run: train, evaluate on the validation subjects, record",
    "sweep": (
        "every trial of a sweep file, through as few compiled programs as there are; sweep "
        "status DIR says where it stands"
    ),
    "evaluate": (
        "score a run on its validation or test subjects (a test evaluation is written "
        "into the set's ledger)"
    ),
    "score": ("a run of masks that another program or a second reader made, scored like our own"),
    "predict": "segment a folder of images with a trained run, in the images' own format",
    "report": "run folders → report.html, figures, results.csv, tables",
    "plan-study": "how many label subsets, seeds and subjects the next study needs",
    "track": "send finished runs to Weights & Biases",
    "export": "a run as a folder to publish: weights, configuration, model card, licence",
    "doctor": "check this installation: devices, versions, cache, W&B",
    "methods": "the training methods there are",
    "nets": "the networks there are",
    "import-weights": (
        "weights trained in PyTorch (safetensors or state dict), for a network of ours"
    ),
    "gan": "fit | sample | card: synthetic image-mask pairs, checked before they are used",
    "bench": "time a step, the methods and the networks",
}
"""Every command: what it does, or the :class:`semiseg.cli.arguments.Command` of a plug-in."""
plugins.offer("command", COMMANDS)


UNFORESEEN = 70
"""The exit code of an error that nobody foresaw; sysexits.h calls it EX_SOFTWARE."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 fine, 1 it ran and found problems, 2 the user can
    fix it, 70 an error that nobody foresaw, 130 interrupted.
    """
    words = sys.argv[1:] if argv is None else argv
    safe_out: Any = SafeStream(sys.stdout)
    safe_err: Any = SafeStream(sys.stderr)
    with contextlib.redirect_stdout(safe_out), contextlib.redirect_stderr(safe_err):
        code = _run(words)
    if argv is None:
        return ended(code)
    return code


def _run(words: list[str]) -> int:
    """Run one command, see :func:`main`."""
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    args, plugin_files = _apart(words)
    if args and args[0] in ("-V", "--version"):
        import semiseg

        print(f"semiseg {semiseg.__version__}")
        return 0
    try:
        with _stoppable(_resumes(args)), apart_from_the_working_folder():
            _load(plugin_files)
            if not args or args[0] in ("-h", "--help"):
                print(_help())
                return 0
            with _platform_checked():
                return _main_of(args[0])(args[1:])
    except UserError as error:
        if debug:
            raise
        print(f"semiseg: error: {' '.join(str(error).split(chr(10)))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if debug:
            raise
        print("semiseg: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if debug:
            raise
        print(f"semiseg: error: {_of_system(error)}", file=sys.stderr)
        return 2
    except Exception as error:  # the last defence: nobody foresaw it
        if debug:
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        print(
            f"semiseg: error: {reason} (nobody foresaw this; please report it with what --debug "
            f"shows)",
            file=sys.stderr,
        )
        return UNFORESEEN


def _of_system(error: OSError) -> str:
    """What the operating system refuses, in one line.

    >>> _of_system(OSError(errno.ENOSPC, "No space left on device", "runs/a"))
    'runs/a: No space left on device; free space or choose another folder'
    >>> _of_system(OSError(errno.ENAMETOOLONG, "File name too long", "a" * 300))[-45:]
    'aaaaa …: File name too long; give another one'
    """
    place = str(error.filename or "the output folder")
    if error.errno in FULL and error.filename2:  # a copy, of a file that is only read
        place = os.path.dirname(str(error.filename2)) or "."
    remedy = "free space or choose another folder"
    if error.errno in NO_FILE:
        place = place if len(place) <= SHOWN else f"{place[:SHOWN]} …"
        remedy = "give another one"
    return f"{place}: {error.strerror or error}; {remedy}"


NO_FILE = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
"""What the operating system says of a name that can be none, or of something that is no file."""
SHOWN = 200
"""Letters of such a name that are shown."""


@contextlib.contextmanager
def _platform_checked() -> Iterator[None]:
    """One line for the bare AssertionError of a JAX that lacks the device of JAX_PLATFORMS."""
    try:
        yield
    except (AssertionError, RuntimeError):
        if "jax" in sys.modules:
            from semiseg.runner.platforms import check_platform

            check_platform()
        raise


def _apart(words: list[str]) -> tuple[list[str], list[str]]:
    """A command line without ``--plugin``, and the files that it names; "" for one without a file.

    >>> _apart(["train", "--plugin", "a.py", "--out=x", "--plugin=b.py"])
    (['train', '--out=x'], ['a.py', 'b.py'])
    """
    args: list[str] = []
    files: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--plugin":
            files.append(next(rest, ""))
        elif word.startswith("--plugin="):
            files.append(word.removeprefix("--plugin="))
        else:
            args.append(word)
    return args, files


def _load(files: list[str]) -> None:
    """Import the plug-ins of the command line and of the environment, before any table is read."""
    for file in files:
        if not file or file.startswith("--"):
            raise UserError("--plugin needs a Python file")
    plugins.load_plugins([*plugins.from_environment(), *files])


def _main_of(command: str) -> Callable[[list[str]], int]:
    """What runs a command.

    Raises:
      UserError: there is none of that name.
    """
    if command not in COMMANDS:
        from semiseg.cli.arguments import did_you_mean

        hint = did_you_mean(command, COMMANDS) or "; see `semiseg --help`"
        from semiseg.cli.data import RUN

        if command in RUN:
            hint = f"; did you mean 'data {command}'?"
        raise UserError(f"there is no command {command!r}{hint}")
    if not isinstance(COMMANDS[command], str):
        return COMMANDS[command].main
    return importlib.import_module(f"semiseg.cli.{command.replace('-', '_')}").main


def _resumes(args: list[str]) -> bool:
    return args[:1] in (["demo"], ["train"], ["sweep"]) or args[:2] == ["gan", "fit"]


@contextlib.contextmanager
def _stoppable(resumes: bool) -> Iterator[None]:
    """Ctrl-C outside of training, which has a handler of its own that saves first, ends a command
    that can be resumed at once.

    A KeyboardInterrupt would not do: raised while Python runs a callback of the garbage collector
    (JAX has one), it is reported as ignored and the command runs on. What a killed command leaves
    behind can be resumed, so nothing need be cleaned up. A process that was started with Ctrl-C
    ignored (in the background of a script) still ignores it.
    """

    def stop(number: int, frame: Any) -> None:
        os.write(2, b"semiseg: interrupted; run the same command again to resume\n")
        os._exit(130)

    if not resumes or threading.current_thread() is not threading.main_thread():
        yield
        return
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    old = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, old)


def _summary(command: Any) -> str:
    """What a command of COMMANDS does, in one line."""
    if isinstance(command, str):
        return command
    return command.words.split("\n\n")[0]


def _help() -> str:
    lines = "\n".join(f"  {name:14} {_summary(what)}" for name, what in COMMANDS.items())
    return (
        "usage: semiseg COMMAND [options]\n\nHow many annotations do I need, which method saves "
        "most of them, and how sure are we?\n\n"
        f"{lines}\n\n`semiseg COMMAND --help` explains every option; --debug shows the traceback "
        f"of an error;\n--plugin FILE.py, with any command, brings your own methods, losses, "
        f"networks, "
        f"readers …"
    )


if __name__ == "__main__":
    sys.exit(main())
