"""Laws of counts in sentences."""

import pytest

from malt.wording import counted


@pytest.mark.parametrize(
    ("count", "form", "said"),
    [
        (0, "", "0 frames"),
        (1, "", "1 frame"),
        (2, "", "2 frames"),
        (1000, ",", "1,000 frames"),
        (1.04, ".2g", "1 frame"),
    ],
)
def test_one_is_not_many(count: float, form: str, said: str) -> None:
    assert counted(count, "frame", form) == said


def test_many_of_what_ends_in_s_are_said_too() -> None:
    assert counted(1, "process") == "1 process" and counted(2, "process") == "2 processes"
