"""Records as TFDS reads them, written with one copy of the pixels in memory.

A record is a ``tf.train.Example``: a map from names to values. TFDS copies the pixels four times on
the way there. Its parser joins what stands behind each other, so that the large values are written
here and the small ones by TFDS. The format is that of protocol buffers
(https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping

_WIDTH = 5
"""Bytes of a length, which is written before what it is the length of is known."""
_DELIMITED = 2
_EXAMPLE_FEATURES = 1
_FEATURES_MAP = 1
_KEY = 1
_VALUE = 2
_FEATURE_BYTES = 1
_LIST_VALUE = 1


def record(small: bytes, large: Mapping[str, Iterable[bytes | memoryview]]) -> bytes:
    """A serialised Example.

    Args:
      small: a serialised Example with all other values.
      large: name → the parts of its bytes, one after the other.

    >>> record(b"", {"a": [b"xy", b"z"]})[-3:]
    b'xyz'
    """
    # its value is the buffer itself: no copy of the whole record
    buffer = io.BytesIO()
    buffer.write(small)
    for name, parts in large.items():
        start = buffer.tell()
        buffer.write(_head(name, 0))
        size = 0
        for part in parts:
            size += buffer.write(part)
        buffer.seek(start)
        buffer.write(_head(name, size))
        buffer.seek(0, io.SEEK_END)
    return buffer.getvalue()


def _head(name: str, size: int) -> bytes:
    """What stands before the bytes of a value: of one length for all sizes."""
    text = name.encode()
    head = _prefix(_LIST_VALUE, size)
    for number in (_FEATURE_BYTES, _VALUE):
        head = _prefix(number, len(head) + size) + head
    head = bytes([_KEY << 3 | _DELIMITED, len(text)]) + text + head
    for number in (_FEATURES_MAP, _EXAMPLE_FEATURES):
        head = _prefix(number, len(head) + size) + head
    return head


def _prefix(number: int, size: int) -> bytes:
    """Tag and length of a field.

    >>> list(_prefix(1, 300))
    [10, 172, 130, 128, 128, 0]
    """
    length = bytearray()
    for place in range(_WIDTH):
        more = 0x80 * (place < _WIDTH - 1)
        length.append(size >> 7 * place & 0x7F | more)
    return bytes([number << 3 | _DELIMITED, *length])
