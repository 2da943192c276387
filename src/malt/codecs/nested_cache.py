"""The cache of the library's causal convolutions, a dictionary of dictionaries, as flat entries that a session can keep."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from malt.codecs.latent_history import Entries


def flat(carried: Mapping[str, object], unread: frozenset[str] = frozenset(), path: str = "") -> Iterator[Tensor | str]:
    """The name and the value of each entry, but for those whose last name is in `unread`."""
    for name, value in carried.items():
        if isinstance(value, Mapping):
            yield from flat(value, unread, f"{path}{name}/")
        elif isinstance(value, Tensor) and name not in unread:
            yield from (path + name, value)


def nested(entries: Entries) -> dict[str, object]:
    """The inverse of `flat`."""
    carried: dict[str, object] = {}
    for path, value in zip(entries[::2], entries[1::2], strict=True):
        *parents, name = str(path).split("/")
        inner = carried
        for parent in parents:
            inner = inner.setdefault(parent, {})  # type: ignore[assignment]
        inner[name] = value
    return carried
