"""What is worth knowing of prompts before they become a video, said once: words without meaning, ends that are not read."""

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from malt.sessions.pipeline import SessionPipeline
    from malt.sessions.prompts import PromptLine
    from malt.sessions.session import Session

SAID_ALREADY = logging.NullHandler()
WORTH_SAYING = 2**26  # bytes


def say_remarks(pipe: "SessionPipeline", lines: "Iterable[PromptLine]") -> None:
    """Say it on standard error; what the package would log of the same prompts goes to no screen any more."""
    logging.getLogger("malt.pipelines").addHandler(SAID_ALREADY)
    for remark in dict.fromkeys(remark for line in lines for remark in pipe.remarks(line.text)):
        print(f"malt: {remark}", file=sys.stderr)


def say_session_size(session: "Session", folder: Path | None) -> None:
    """Say how much a session will keep in its folder, where that is worth a thought before it begins."""
    from malt.sessions.size import session_size

    settings = session.state.settings
    size = session_size(session.pipe, settings["height"], settings["width"])
    if folder is not None and size.most > WORTH_SAYING:
        print(f"malt: the session keeps {size}; --no-session keeps none", file=sys.stderr)
