"""What is worth knowing of prompts before they become a video, said once: words without meaning, ends that are not read."""

import logging
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from malt.sessions.pipeline import SessionPipeline
    from malt.sessions.prompts import PromptLine

SAID_ALREADY = logging.NullHandler()


def say_remarks(pipe: "SessionPipeline", lines: "Iterable[PromptLine]") -> None:
    """Say it on standard error; what the package would log of the same prompts goes to no screen any more."""
    logging.getLogger("malt.pipelines").addHandler(SAID_ALREADY)
    for remark in dict.fromkeys(remark for line in lines for remark in pipe.remarks(line.text)):
        print(f"malt: {remark}", file=sys.stderr)
