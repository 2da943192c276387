"""A count as a sentence takes it."""


def counted(count: float, noun: str, form: str = "") -> str:
    """How many there are, in a form of format(): `1 frame`, `2 frames`, `3 processes`."""
    number, ending = format(count, form), "es" if noun.endswith("s") else "s"
    return f"{number} {noun}" if number == "1" else f"{number} {noun}{ending}"
