"""What goes wrong in ways a person can put right: every message is one sentence that says what to do."""


class MaltError(Exception):
    """Something went wrong that a person can put right; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(MaltError, ValueError):
    """What was asked for cannot be done; nothing was begun."""

    exit_code = 2


class UnheededPromptError(UsageError):
    """A negative prompt was given where nothing is led away from anything."""


class DivergedError(MaltError):
    """Training has come to weights or losses that are no finite numbers."""


class CheckpointError(MaltError):
    """A folder does not hold a model that can be loaded."""
