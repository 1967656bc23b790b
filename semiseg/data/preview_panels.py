"""The planes of a scan that a preview shows, and the text beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from semiseg.data.frame import Frame
from semiseg.data.info import StoreInfo
from semiseg.types import IGNORE, Case


class Panel(NamedTuple):
    """One plane of a scan as the network sees it.

    Attributes:
      title: which plane.
      grey: ``(H, W)`` or ``(H, W, 3)`` in [0, 1].
      label: ``(H, W)``, or None.
      start: first row and column of a window.
      window: its rows and columns.
      aspect: height of a pixel over its width.
      upwards: whether the rows go from the bottom to the top.
      is_window: whether the window alone is drawn.
    """

    title: str
    grey: np.ndarray
    label: np.ndarray | None
    start: tuple[int, int]
    window: tuple[int, int]
    aspect: float = 1.0
    upwards: bool = False
    is_window: bool = False

    @property
    def rows(self) -> tuple[int, int]:
        """First row that is drawn, and the one after the last."""
        return self._span(0)

    @property
    def columns(self) -> tuple[int, int]:
        """First column that is drawn, and the one after the last."""
        return self._span(1)

    def _span(self, axis: int) -> tuple[int, int]:
        first = self.start[axis]
        end = first + self.window[axis]
        if self.is_window:
            return first, end
        return min(0, first), max(self.grey.shape[axis], end)

    @property
    def shape(self) -> float:
        """Height over width of what is drawn."""
        height = self.aspect * (self.rows[1] - self.rows[0])
        return height / (self.columns[1] - self.columns[0])


MOST_CHANNELS = 4
"""That are drawn, the first ones of more."""


def panels(
    info: StoreInfo, scan: Case, grey: np.ndarray, label: np.ndarray | None, frame: Frame
) -> list[Panel]:
    """The planes of a scan that are drawn: of its first channel (of three, in their colours), then
    one of each other channel, because a class may be visible in one alone.

    Args:
      info: of the set.
      scan: as it is stored.
      grey: ``(*space, C)`` in [0, 1], of its pool image.
      label: ``(*space)`` of its pool image, or None.
      frame: with nothing left open.
    """
    if grey.shape[-1] == 3:
        return _planes(scan, grey, label, frame)
    drawn = _planes(scan, grey[..., 0], label, frame)
    for channel in range(1, min(grey.shape[-1], MOST_CHANNELS)):
        of_channel = _planes(scan, grey[..., channel], label, frame)[1]
        drawn.append(of_channel._replace(title=_channel(info, channel)))
    return drawn


def _channel(info: StoreInfo, channel: int) -> str:
    """A channel's number, and its name where the set has names."""
    name = f", {info.channel_names[channel]}" if info.channel_names else ""
    return f"channel {channel + 1} of {info.channels}{name}"


def _planes(scan: Case, rgb: np.ndarray, label: np.ndarray | None, frame: Frame) -> list[Panel]:
    """The planes of a channel ``(*space)``, or of three as colours ``(*space, 3)``; the second
    shows most of the classes.
    """
    if scan.image.ndim == 3:
        plain = _plane("as the network sees it", rgb, None, label, frame)
        return [plain, _plane("with its label", rgb, label, label, frame)]
    depth = len(rgb)
    middle = depth // 2
    fullest = middle
    if label is not None:
        classes = (label > 0) & (label != IGNORE)
        fullest = int(classes.sum((1, 2)).argmax())
    drawn = []
    for words, d in (("middle", middle), ("fullest", fullest)):
        plane = None if label is None else label[d]
        drawn.append(_plane(f"{words} slice, {d + 1} of {depth}", rgb[d], plane, plane, frame))
    if frame.depth:
        drawn.append(_side_view(scan, rgb, label, frame))
    else:
        drawn.append(drawn[-1]._replace(title="its window", is_window=True))
    return drawn


def _plane(
    title: str,
    grey: np.ndarray,
    label: np.ndarray | None,
    centre: np.ndarray | None,
    frame: Frame,
) -> Panel:
    """A plane with the window about the classes of a label, ``centre``."""
    window = (frame.window[-2], frame.window[-1])
    return Panel(title, grey, label, _start(grey.shape[:2], window, centre), window)


def _side_view(scan: Case, rgb: np.ndarray, label: np.ndarray | None, frame: Frame) -> Panel:
    """The slices of a volume from their side, through the row that shows most of the classes."""
    row = rgb.shape[1] // 2
    plane = None
    if label is not None:
        row = int(((label > 0) & (label != IGNORE)).sum((0, 2)).argmax())
        plane = label[:, row]
    sides = np.array(scan.spacing) * scan.image.shape[:-1] / rgb.shape[:3]
    window = (frame.depth, frame.window[-1])
    title = f"across the slices, row {row + 1} of {rgb.shape[1]}"
    start = _start((len(rgb), rgb.shape[2]), window, plane)
    return Panel(title, rgb[:, row], plane, start, window, float(sides[0] / sides[2]), True)


def _start(
    shape: Sequence[int],
    window: Sequence[int],
    label: np.ndarray | None,
) -> tuple[int, int]:
    """First row and column of a window about the classes of a label, inside a plane if it fits.

    >>> label = np.zeros((10, 10), np.uint8)
    >>> label[8:, :2] = 1
    >>> _start((10, 10), (4, 12), label)
    (6, -1)
    """
    centre = [n / 2 for n in shape]
    if label is not None and ((label > 0) & (label != IGNORE)).any():
        centre = np.argwhere((label > 0) & (label != IGNORE)).mean(0).tolist()
    starts = []
    for n, w, c in zip(shape, window, centre, strict=True):
        if n <= w:
            starts.append(int((n - w) / 2))
        else:
            starts.append(int(np.clip(round(c - w / 2), 0, n - w)))
    return starts[0], starts[1]


def facts(
    info: StoreInfo,
    scan: Case,
    pool_label: np.ndarray | None,
    shape: Sequence[int],
    frame: Frame,
) -> str:
    """What is written beside a scan: its size and that of its classes, before and after the frame.

    Args:
      info: of the set.
      scan: as it is stored.
      pool_label: ``(*space)`` of its pool image, or None.
      shape: of its pool image, without channels.
      frame: with nothing left open.
    """
    limits = frame.limits(scan.image)
    dtype = f"{scan.image.dtype} {scan.orientation}".strip()
    sides = np.array(scan.spacing) * scan.image.shape[:-1] / shape
    lines = [
        f"file: {times(scan.image.shape[:-1])}, {dtype}",
        f"  of {times(scan.spacing, ' × ')} {info.unit}",
        f"network: {times(shape)}",
        f"  of {times(sides.tolist(), ' × ')} {info.unit}",
        f"  {_windows(scan, shape, frame)}",
        f"black to white: {_limit(limits.low)} to {_limit(limits.high)}",
        *_shown(info),
    ]
    if scan.label is None or pool_label is None:
        return "\n".join([*lines, "nobody annotated it"])
    unit = "voxels" if scan.image.ndim == 4 else "pixels"
    for value, name in enumerate(info.classes):
        if value > 0:
            count = int((scan.label == value).sum())
            seen = int((pool_label == value).sum())
            size = _physical(count, scan, info.unit)
            lines.append(f"{name}: {count:,} {unit}{size}; network {seen:,}")
    return "\n".join(lines)


def _shown(info: StoreInfo) -> list[str]:
    """Which channel the first panels show, or the colours; nothing where there is no choice.

    >>> fields = ("x", "", ("b", "c"), "mm", 2, "uint8", "", "", (), {}, "", "", "")
    >>> _shown(StoreInfo(*fields, channel_names=("flair", "t1ce")))
    ['shown: channel 1 of 2, flair; then the others']
    """
    names = info.channel_names
    if info.channels == 3 and names:
        return [f"shown: red {names[0]}, green {names[1]}, blue {names[2]}"]
    if info.channels in (1, 3):
        return []
    others = "the others"
    if info.channels > MOST_CHANNELS:
        others = f"those up to {MOST_CHANNELS}"
    return [f"shown: {_channel(info, 0)}; then {others}"]


def _windows(scan: Case, shape: Sequence[int], frame: Frame) -> str:
    """How many windows evaluation takes of a scan, of a 2D network of a slice."""
    noun = "a slice" if scan.image.ndim == 4 and not frame.depth else "it"
    sides = tuple(shape[-frame.dims :])
    number = len(frame.windows(sides))
    if number == 1:
        if any(side > window for side, window in zip(sides, frame.window, strict=True)):
            return f"trained on {times(frame.window)} of {noun}, evaluated whole"
        return f"one window of {times(frame.window)} holds {noun}"
    return f"{number} windows of {times(frame.view_shape(sides))} cover {noun}"


def _physical(count: int, scan: Case, unit: str) -> str:
    """``, 1.23 ml`` of a volume, ``, 45 mm²`` of a picture; nothing without millimetres."""
    if unit != "mm":
        return ""
    size = count * float(np.prod(scan.spacing))
    if scan.image.ndim == 4:
        return f", {size / 1000:.3g} ml"
    return f", {size:.4g} mm²"


def times(numbers: Sequence[float], sign: str = "×") -> str:
    return sign.join(f"{number:.4g}" for number in numbers)


def _limit(numbers: np.ndarray) -> str:
    """A limit, of several channels each.

    >>> _limit(np.array([0.0])), _limit(np.array([-3.5, 402300.0]))
    ('0', '-3.5, 402,300')
    """
    words = []
    for number in numbers.tolist():
        rounded = float(f"{number:.4g}")
        if abs(number) >= 1000:
            rounded = round(number)
        words.append(f"{rounded:,}".removesuffix(".0"))
    return ", ".join(dict.fromkeys(words))
