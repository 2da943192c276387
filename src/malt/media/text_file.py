"""Reads a text file as people's editors write it: in UTF-8, with a byte order mark or without, or in UTF-16 with one."""

import codecs
import os
from pathlib import Path

UTF_16 = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE


def read_text(path: Path) -> str:
    """What a text file says, without the mark that it may begin with.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is no such text.
    """
    content = path.read_bytes()
    return content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig")


def printable(name: str) -> str:
    """The name of a file as text: bytes that are no UTF-8 are written as \\\\xe9."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
