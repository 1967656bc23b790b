"""What a training loop writes and hears: metrics.jsonl, progress on standard error, signals."""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from semiseg.files import write_text
from semiseg.run_folder import whole_lines

LINE_EVERY = 60.0
"""Seconds between two lines of progress where there is no terminal."""
COMPILE_SECONDS = {"cpu": 6}
"""Median time to compile a method's program (experiments/results/bench_methods.json: 4 to 22 s)."""
ELSEWHERE = 30
"""Seconds said for an accelerator, whose compiler tries several kernels for each operation."""
SHOWN = {"loss": "loss", "val_dice": "val Dice"}
"""Values that progress shows, and their names there."""


class Log:
    """metrics.jsonl.

    Lines after the restored ``step``, and a line cut by a kill, are dropped, so that each step
    stands there once. Without a ``path`` nothing is written.
    """

    def __init__(self, path: Path | None, step: int):
        self._file: IO[str] | None = None
        if path is None:
            return
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        lines = [line for line in whole_lines(text) if _is_until(line, step)]
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
        self._file = path.open("a", buffering=1)

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line; a value that is not finite becomes null."""
        if self._file:
            content = {name: shortened(value) for name, value in line.items()}
            self._file.write(json.dumps(content, allow_nan=False) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()


def _is_until(line: Mapping[str, Any], step: int) -> bool:
    number = line.get("step")
    return isinstance(number, int | float) and number <= step


def shortened(value: Any) -> Any:
    """A number with seven digits, which a float32 has; None for one that is not finite.

    Example:
      >>> shortened(1 / 3)
      0.3333333
      >>> shortened(float("nan")) is None
      True
    """
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    return float(f"{value:.7g}")


class StopSignal:
    """Turns SIGTERM and Ctrl-C into a flag that the loop reads between chunks.

    A second signal acts at once. A signal that this process was started to ignore, as Ctrl-C in a
    script's background, stays ignored.
    """

    asked = False

    def __enter__(self) -> StopSignal:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __exit__(self, *_: Any) -> None:
        self._restore()


class Progress:
    """Says nothing; the base of what does."""

    def compiling(self, platform: str) -> None:
        """The training program is about to be compiled for ``platform``."""

    def update(self, step: int, line: Mapping[str, Any]) -> None:
        """``step`` steps are done; ``line`` is what metrics.jsonl says of the last ones."""

    def close(self) -> None:
        """Training has ended."""


def progress_of(total: int, first: int, show: bool) -> Progress:
    """A bar on a terminal, a line a minute elsewhere, nothing where ``show`` is False.

    Args:
      total: steps of the run.
      first: steps that are done already.
    """
    if not show:
        return Progress()
    if sys.stderr.isatty():
        return Bar(total, first)
    return Lines(total, first)


def compiling_message(platform: str) -> str:
    """What is said while the first steps keep the user waiting.

    Example:
      >>> compiling_message("cpu")
      'compiling the training program (about 6 s the first time) …'
    """
    seconds = COMPILE_SECONDS.get(platform, ELSEWHERE)
    return f"compiling the training program (about {seconds} s the first time) …"


class Bar(Progress):
    """A progress bar with loss, validation Dice and time left."""

    def __init__(self, total: int, first: int):
        from tqdm import tqdm

        self._bar = tqdm(total=total, initial=first, unit="step", dynamic_ncols=True)
        self._shown: dict[str, str] = {}

    def compiling(self, platform: str) -> None:
        self._bar.write(compiling_message(platform), file=sys.stderr)

    def update(self, step: int, line: Mapping[str, Any]) -> None:
        self._shown |= shown_values(line)
        self._bar.set_postfix(self._shown)
        self._bar.update(step - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class Lines(Progress):
    """A line a minute: step, loss, validation Dice, time left.

    The time left counts from the end of the first chunk, so that compilation does not slow it.
    """

    def __init__(
        self,
        total: int,
        first: int,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] | None = None,
    ):
        self._total = total
        self._clock = clock
        self._say = say or _to_stderr
        self._shown: dict[str, str] = {}
        self._last_line = clock()
        self._began: tuple[int, float] | None = None

    def compiling(self, platform: str) -> None:
        self._say(compiling_message(platform))

    def update(self, step: int, line: Mapping[str, Any]) -> None:
        now = self._clock()
        self._shown |= shown_values(line)
        if self._began is None:
            self._began = (step, now)
        if now - self._last_line < LINE_EVERY:
            return
        self._last_line = now
        values = [f"{name} {value}" for name, value in self._shown.items()]
        self._say("   ".join([f"step {step}/{self._total}", *values, self._left(step, now)]))

    def _left(self, step: int, now: float) -> str:
        first, began = self._began or (step, now)
        if step == first:
            return "time left unknown"
        seconds = (now - began) / (step - first) * (self._total - step)
        return f"about {duration(seconds)} left"


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def shown_values(line: Mapping[str, Any]) -> dict[str, str]:
    """What progress shows of a line of metrics.jsonl.

    Example:
      >>> shown_values({"step": 5, "loss": 0.25, "lr": 0.01})
      {'loss': '0.250'}
    """
    return {title: f"{line[name]:.3f}" for name, title in SHOWN.items() if name in line}


def duration(seconds: float) -> str:
    """A duration as people say it.

    Example:
      >>> duration(44.6), duration(400), duration(7500)
      ('45 s', '7 min', '2 h 5 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
