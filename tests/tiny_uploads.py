"""Files that visitors send: small films and pictures, and what is none, is damaged, lies, or bursts when it is unpacked."""

import io
import struct
import zlib

import av
import numpy as np
from PIL import Image


def film(length: int, seconds_between: float = 0.125, size: tuple[int, int] = (48, 64)) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for index in range(length):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), 20 * index % 255, np.uint8), format="rgb24")
            frame.pts = round(index * seconds_between * 8)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def picture(size: tuple[int, int] = (64, 48), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (200, 60, 30)).save(file, kind)
    return file.getvalue()


def said_to_last(seconds: int) -> bytes:
    """A film of two frames whose headers claim another length."""
    data = bytearray(film(2))
    for box in (b"mvhd", b"mdhd"):  # behind the name: version and flags, two dates, clock, length
        place = data.index(box) + 16
        clock = int.from_bytes(data[place : place + 4], "big")
        data[place + 4 : place + 8] = (seconds * clock).to_bytes(4, "big")
    return bytes(data)


def larger_than_said(size: tuple[int, int]) -> bytes:
    """A film whose header says 64x48 and whose pictures are of another size."""
    data = bytearray(film(2, size=size))
    place = data.index(b"avc1", data.index(b"stsd")) + 28
    data[place : place + 4] = struct.pack(">HH", 64, 48)
    return bytes(data)


def many_in_few(length: int, size: tuple[int, int]) -> bytes:
    """A GIF of black frames, a tenth of a second and 23 bytes each, whatever their size."""
    shape = struct.pack("<HH", *size)
    head = b"GIF89a" + shape + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    control = b"\x21\xf9\x04\0" + b"\x0a\0\0\0"
    return head + (control + b"\x2c\0\0\0\0" + shape + b"\0" + b"\x02\x02\x4c\x01\0") * length + b";"


def said_to_measure(width: int, height: int) -> bytes:
    """A PNG that holds next to nothing, whatever its header says."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(100)))]
    data = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + data


# What is refused, and in which words, by limits of 512 x 512 pixels a frame, 2**22 in all, and the usual ones.
NO_USE = [
    (b"", "is empty"),
    (b"this is a text, whatever its name says, and long enough", "neither a picture nor a video"),
    (b"#EXTM3U\nfile:///etc/passwd\n#EXT-X-ENDLIST", "neither a picture nor a video"),
    (picture()[:60], "damaged"),
    (film(12)[:600], "damaged"),
    (b"\0\0\0\x18ftypmp42" + bytes(64), "damaged"),
    (picture((4000, 4000)), "4000x4000"),
    (film(2, size=(1024, 1024)), "1024x1024"),
    (larger_than_said((1024, 1024)), "1024x1024"),
    (film(2, seconds_between=36_000), "lasts 36000 s"),
    (said_to_last(36_000), "lasts 36000 s"),
    (many_in_few(30_000, (8, 8)), "lasts 3000 s"),
    (many_in_few(100, (500, 500)), "hold as much as may be"),
    (many_in_few(1, (65_535, 65_535)), "damaged"),
    (said_to_measure(60_000, 60_000), "more pixels than can be read"),
    (film(1), "has 1 frame;"),
]
