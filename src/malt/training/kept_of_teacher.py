"""What a student keeps of its teacher: its autoencoder, its memory and every size; nobody can ask for another."""

from collections.abc import Mapping, Sequence

from malt.errors import UsageError
from malt.training.config import Experiment
from malt.training.options import differences, options_of, override
from malt.training.renamed import current_name

KEPT = ("--transformer.", "--adapter.", "--autoencoder.")


def check_words(experiment: Experiment, options: Mapping[str, Sequence[str]]) -> None:
    """Refuse options that ask for another student than its teacher makes it; they need not make sense together.

    Args:
        experiment: as its teacher makes it.
        options: what is said of it, as options and their words.

    Raises:
        UsageError: for the first of them.
    """
    known = options_of(experiment)
    for option, words in options.items():
        name = current_name(option.replace("-", "_"))
        exists = name in known or name.rpartition(".")[0] in known
        if exists and f"--{name}".startswith(KEPT) and not _is_same(experiment, option, words):
            raise UsageError(_refusal(f"--{option}"))


def check_kept(experiment: Experiment, taught: Experiment) -> None:
    """Refuse an experiment whose student is made otherwise than its teacher makes it.

    Raises:
        UsageError: for the first option that differs.
    """
    for name in differences(taught, experiment):
        if name.startswith(KEPT):
            raise UsageError(_refusal(name))


def _is_same(experiment: Experiment, option: str, words: Sequence[str]) -> bool:
    """Whether an option says what is so anyway; what cannot be built is not the same."""
    try:
        return override(experiment, {option: words}) == experiment
    except UsageError:
        return False


def _refusal(option: str) -> str:
    return f"a student keeps the autoencoder, the memory and the size of its teacher; leave {option} out"
