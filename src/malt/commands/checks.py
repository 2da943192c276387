"""Numbers given on the command line, checked in one place; None, an option that was not given, always passes."""

import math
import re

from malt.errors import UsageError

RATES = 1, 1000  # frames a second; below and above, something else was meant


def check_one_of(**options: object) -> None:
    """Raise a `UsageError` if more than one of these options was given."""
    given = [f"--{name}" for name, value in options.items() if value not in (None, False)]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} were given; give one of them")


def check_count(option: str, value: int | None) -> None:
    """Raise a `UsageError` unless `value` is at least 1."""
    if value is not None and value < 1:
        raise UsageError(f"asked for {value} as {option}; give at least 1")


def check_above_zero(option: str, value: float | None) -> None:
    """Raise a `UsageError` unless `value` is an ordinary number above 0."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise UsageError(f"asked for {value} as {option}; give a number above 0")


def check_rate(option: str, value: float | None) -> None:
    """Raise a `UsageError` unless `value` is a number of frames a second that a video may have."""
    lowest, highest = RATES
    if value is not None and not lowest <= value <= highest:
        raise UsageError(f"asked for {value} as {option}; give {lowest} to {highest} frames a second")


def check_finite(option: str, value: float | None) -> None:
    """Raise a `UsageError` if `value` is infinite or not a number."""
    if value is not None and not math.isfinite(value):
        raise UsageError(f"asked for {value} as {option}; give an ordinary number")


def read_size(text: str | None) -> tuple[int, int] | None:
    """Height and width of a size such as 832x480; None where none is given.

    Raises:
        UsageError: it is none.
    """
    if text is None:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if found is None:
        raise UsageError(f"asked for {text!r} as --size; give width and height, as in 832x480")
    return int(found[2]), int(found[1])


def check_seed(value: int) -> None:
    """Raise a `UsageError` unless `value` can start a random generator."""
    if not 0 <= value < 2**63:
        raise UsageError(f"asked for seed {value}; give a number from 0 to 2^63 - 1")
