"""Standard output and error as they may be: their reader gone, or without the characters of a file's name."""

import os
import select
import sys
from io import TextIOWrapper
from typing import TextIO


def write_any_character() -> None:
    """Let what standard output cannot write, as a file name that is no UTF-8, stand as an escape instead of failing."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def nobody_reads() -> bool:
    """Whether an output's reader has gone; what is left to say then goes nowhere, at the interpreter's end too."""
    gone = [stream for stream in (sys.stdout, sys.stderr) if stream is not None and _is_broken(stream)]
    for stream in gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return bool(gone)


def _is_broken(stream: TextIO) -> bool:
    """Whether it is a pipe that nobody reads from."""
    watch = select.poll()
    watch.register(stream.fileno(), 0)  # errors are told even so
    return any(event & select.POLLERR for _, event in watch.poll(0))
