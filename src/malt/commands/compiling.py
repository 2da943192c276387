"""Compiles a model's blocks before a video is made, so that its segments do not wait for it."""

import sys
from typing import TYPE_CHECKING, Any

from malt.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from malt.sessions.session import Session

TRIALS = 3  # segments after which nothing new is met: the first, the one behind it, and one more


def check_compile(compile_it: bool, offload: str) -> None:
    """Raise a `UsageError` if blocks are to be compiled that come and go."""
    if compile_it and offload != "none":
        raise UsageError("--compile is for a model that stays on its device; leave out --offload, or --compile")


def blocks_of(pipe: Any) -> "list[nn.Module]":
    """The blocks of a pipeline's transformer, or of both of its transformers."""
    return [block for model in getattr(pipe, "experts", [pipe.transformer]) for block in model.blocks]


def compile_ahead(session: "Session") -> None:
    """If a session notes that it is made by compiled blocks, compile them, by a few segments that nobody sees.

    Where they cannot be compiled, that is said, and the video is made without.
    """
    if not session.state.notes.get("compile"):
        return
    blocks = blocks_of(session.pipe)
    if any(block._compiled_call_impl for block in blocks):
        return
    import torch
    from torch._dynamo.exc import TorchDynamoException

    print("malt: compiling, which takes longest the first time", file=sys.stderr)
    for block in blocks:
        block.compile()
    trial, num_actions = type(session)(session.pipe, session.state), len(session.pipe.action_names)
    try:
        for _ in range(TRIALS):
            trial.advance(torch.zeros(trial.frames_ahead, num_actions) if num_actions else None)
    except TorchDynamoException as error:
        for block in blocks:
            block._compiled_call_impl = None  # there is no public way back
        reason = str(getattr(error, "inner_exception", error)).strip().splitlines()[0].rstrip(".")
        print(f"malt: cannot compile here ({reason}), and goes on without", file=sys.stderr)
