"""Packed tensors in fewer bytes, without loss: the bytes of numbers are ordered by their significance, then deflated.

Numbers of like size share their high bytes, and the low bytes of rounded ones are zero.
"""

import zlib

import numpy as np

from malt.sessions.packing import head_of

MARK = b"deflated"  # a packed content begins with a length, never with this
WIDTHS = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}  # bytes of a number; 1 for others
RAW = -zlib.MAX_WBITS  # without a checksum: what was packed holds its hash


def deflate(content: bytes) -> bytes:
    """What `pack` made, shorter; always the same bytes for the same content."""
    tensors, begin = _tensors(content)
    squeeze = zlib.compressobj(wbits=RAW, memLevel=9, strategy=zlib.Z_RLE)
    planes = (np.frombuffer(content[start:end], np.uint8).reshape(-1, width).T for start, end, width in tensors)
    return b"".join([MARK, content[:begin], *(squeeze.compress(each.tobytes()) for each in planes), squeeze.flush()])


def inflate(content: bytes, most: int) -> bytes:
    """What was deflated, of at most so many bytes; anything else as it is.

    Raises:
        ValueError, KeyError, zlib.error: it is not as `deflate` made it, or larger.
    """
    if not content.startswith(MARK):
        return content
    content = content[len(MARK) :]
    tensors, begin = _tensors(content)
    size = tensors[-1][1] if tensors else begin
    if size > most:
        raise ValueError(f"it says that it holds {size} bytes, and {most} are the most")
    planes = content[:begin] + zlib.decompressobj(wbits=RAW).decompress(content[begin:], size - begin + 1)
    if len(planes) != size:
        raise ValueError(f"it says that it holds {size} bytes, and holds {len(planes)}")
    parts = (np.frombuffer(planes[start:end], np.uint8).reshape(width, -1).T for start, end, width in tensors)
    return b"".join([content[:begin], *(each.tobytes() for each in parts)])


def _tensors(content: bytes) -> tuple[list[tuple[int, int, int]], int]:
    """Begin and end of every tensor in order, with the bytes of a number of it; and where the head ends."""
    head, begin = head_of(content)
    told = [tensor for name, tensor in head.items() if name != "__metadata__"]
    spans = sorted((*tensor["data_offsets"], WIDTHS.get(tensor["dtype"], 1)) for tensor in told)
    if [start for start, _, _ in spans] != [0, *(end for _, end, _ in spans)][: len(spans)]:
        raise ValueError("its tensors do not lie one behind the other")
    return [(begin + start, begin + end, width) for start, end, width in spans], begin
