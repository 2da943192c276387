"""Sessions as bytes that hold their own hash, and are taken back only by what they are a state of."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace

from safetensors import SafetensorError
from torch import Tensor

from malt.codecs.latent_history import LatentHistory
from malt.env.simulated_session import SimulatedSession
from malt.env.simulator import Progress, Simulator
from malt.errors import MaltError, UsageError
from malt.sessions.deflating import deflate, inflate
from malt.sessions.packing import pack, unpack
from malt.sessions.serialization import put_together, take_apart

FORMAT = 1
DAMAGES = (AttributeError, IndexError, KeyError, RecursionError, SafetensorError, TypeError, ValueError, zlib.error)


def write_state(simulator: Simulator, sessions: Sequence[SimulatedSession]) -> bytes:
    """The state of these sessions; what can be made again is left out."""
    tensors: list[Tensor] = []
    told = {
        "format": FORMAT,
        "simulator": simulator.name,
        "identity": simulator.identity,
        "sessions": [
            {
                "prompt": session.prompt,
                "progress": take_apart(at_rest(session.progress), tensors),
                "taken": take_apart(session.taken, tensors),
            }
            for session in sessions
        ],
    }
    return deflate(pack({str(number): tensor for number, tensor in enumerate(tensors)}, json.dumps(told)))


def read_state(simulator: Simulator, state: bytes, most: int) -> list[SimulatedSession]:
    """The sessions of a state.

    Args:
        simulator: what they are to go on in.
        state: what `write_state` made.
        most: bytes that its tensors may have in main memory.

    Raises:
        UsageError: it was made by something else.
        MaltError: it is damaged, or none.
    """
    try:
        named, text = unpack(inflate(state, most), "it")
        told = json.loads(text)
        if told["format"] != FORMAT:
            raise UsageError("the state is of another version of malt; use that")
        if told["identity"] != simulator.identity:
            raise UsageError(
                f"the state is one of {told['simulator']}, of other weights or settings than {simulator.name} here; "
                "restore it where it was made"
            )
        tensors = [named[str(number)] for number in range(len(named))]
        return [_session(simulator, each, tensors) for each in told["sessions"]]
    except UsageError:
        raise
    except DAMAGES as error:
        reason = str(error).split("\n")[0]
        raise MaltError(f"the state is damaged, or none ({reason}); take another") from error


def _session(simulator: Simulator, told: dict[str, object], tensors: list[Tensor]) -> SimulatedSession:
    prompt = str(told["prompt"])
    like = simulator.begin(0, prompt)
    progress: Progress = put_together(told["progress"], tensors, like)  # type: ignore[arg-type]
    taken = put_together(told["taken"], tensors, like)  # type: ignore[arg-type]
    assert taken is None or isinstance(taken, Tensor)
    return SimulatedSession(progress, prompt, taken)


def at_rest(progress: Progress) -> Progress:
    """Without what a decoder carries where it can be made again."""
    cache = getattr(progress, "decoder_cache", None)
    return replace(progress, decoder_cache=cache.at_rest()) if isinstance(cache, LatentHistory) else progress
