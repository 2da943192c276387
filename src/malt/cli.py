"""The `malt` command: finds the verb, runs it, and says in one sentence what went wrong.

A verb is a module in `malt.commands` with a dataclass `Command` whose fields are its options and whose `run()` does the
work; here it gets one line. Heavy imports belong inside `run`.
"""

import errno
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

import malt
from malt.commands.signals import Terminated
from malt.commands.standard_streams import nobody_reads, write_any_character
from malt.errors import MaltError, UsageError

VERBS = {
    "generate": "write a video of any length from a prompt",
    "batch": "write a video for each row of a table; what is done is not made again",
    "resume": "continue a video where it stopped, or beyond its end",
    "rewind": "take a video back to an earlier frame",
    "branch": "continue a video in another way from one of its frames",
    "remake": "make a lost video again from its session",
    "keep": "give a moment of a video a name, to recall it later",
    "recall": "let a video go on from what was kept under a name",
    "forget": "delete what was kept under a name, and what a video remembers of it",
    "inspect": "show what a video's session holds, and draw what its memory attends to",
    "studio": "open a web page to generate, watch, rewind, branch and steer videos",
    "serve": "generate videos over HTTP, as jobs and as streams that play meanwhile",
    "encode": "encode a folder of videos into latents to train on",
    "train": "train a model by a recipe, on a synthetic world or on your own videos",
    "distill": "train a model of few steps from one of many, which stays as it is",
    "adapt": "train a memory for a pretrained video model, which stays as it is",
    "export": "write the model of a training run that is not finished yet",
    "push": "upload a model or an adapter to the Hugging Face hub",
    "evaluate": "measure how well long videos hold up, in figures and on a page",
    "world": "look at a synthetic world",
}

INTERRUPTED, NOBODY_READS, TERMINATED = 130, 141, 143  # as a shell counts what SIGINT, SIGPIPE and SIGTERM end


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and give the exit code.

    Returns:
        0 done, 2 wrong usage, 1 anything else, 130 interrupted, 141 nobody reads what is printed, 143 ended by SIGTERM.
    """
    write_any_character()
    try:
        return answer(sys.argv[1:] if arguments is None else list(arguments))
    except BrokenPipeError:
        if not nobody_reads():
            raise
        return NOBODY_READS


def answer(arguments: list[str]) -> int:
    """Run one verb, write out all that it printed, and say in one sentence what went wrong."""
    try:
        code = dispatch(arguments)
        print(end="", flush=True)  # a reader that has gone is noticed here
        return code
    except MaltError as error:
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt as interruption:
        complain("interrupted")
        return TERMINATED if isinstance(interruption, Terminated) else INTERRUPTED
    except Exception as error:
        if not _is_disk_full(error):
            raise
        complain(f"the disk is full ({getattr(error, 'filename', None) or 'no space left'}); make room and try again")
        return MaltError.exit_code


def dispatch(arguments: list[str]) -> int:
    """Answer `--help` and `--version`, or hand the arguments to their verb.

    Raises:
        UsageError: there is no such verb.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if arguments[0] == "--version":
        print(f"malt {malt.__version__}")
        return 0
    verb, *options = arguments
    if verb not in VERBS:
        raise UsageError(f"there is no verb {verb!r}{_did_you_mean(verb)}; see malt --help")
    return run_verb(verb, options)


def run_verb(verb: str, options: list[str]) -> int:
    """Read the verb's options from the command line and run it."""
    from malt.commands.parsing import read_options

    command = read_options(
        getattr(import_module(f"malt.commands.{verb}"), f"{verb.capitalize()}Command"), verb, options
    )
    if command is not None:
        command.run()
    return 0


def help_text() -> str:
    """Give the help of `malt` itself: one line a verb."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {what}" for verb, what in VERBS.items()]
    return "\n".join(
        [
            "malt: any-length video diffusion with memory",
            "",
            "usage: malt VERB [OPTIONS]     malt VERB --help     malt --version",
            "",
            *lines,
        ]
    )


def _is_disk_full(error: Exception) -> bool:
    """Whether there was no room to write; libraries that are not written in Python say so in words only."""
    return getattr(error, "errno", None) == errno.ENOSPC or f"os error {errno.ENOSPC}" in str(error)


def complain(sentence: str) -> None:
    """Say on standard error what went wrong."""
    print(f"malt: {sentence}", file=sys.stderr)


def _did_you_mean(verb: str) -> str:
    close = get_close_matches(verb, VERBS, n=1)
    return f", did you mean {close[0]!r}" if close else ""
