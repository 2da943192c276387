"""An option of a verb: a field of its `Command`, and how that stands on the command line."""

from dataclasses import MISSING, dataclass

from malt.typed_values import choices_of, inner_type


@dataclass(frozen=True)
class Positional:
    """Marks a field whose value stands alone on the command line: `Annotated[Path, Positional("VIDEO")]`."""

    metavar: str


@dataclass(frozen=True)
class Rest:
    """Marks the field that is given all options that the command does not know, as (name, words) in turn."""


@dataclass(frozen=True)
class Option:
    """A field as it stands on the command line."""

    field: str
    hint: object
    default: object
    metavar: str | None  # of one that stands alone

    @property
    def is_flag(self) -> bool:
        """Whether it stands without a value."""
        return self.hint is bool

    @property
    def flag(self) -> str:
        """How it is typed."""
        name = self.field.replace("_", "-")
        return f"--no-{name}" if self.is_flag and self.default is True else f"--{name}"

    @property
    def usage(self) -> str:
        """How it is typed, with what follows it."""
        if self.metavar:
            return self.metavar
        kind = inner_type(self.hint)
        word = "|".join(choices_of(self.hint)) or getattr(kind, "__name__", "").upper()
        return self.flag if self.is_flag else f"{self.flag} {word}"

    @property
    def is_needed(self) -> bool:
        """Whether it must be given."""
        return self.default is MISSING
