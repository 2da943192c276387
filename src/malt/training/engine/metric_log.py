"""The journal of a run: figures by step, as JSON lines always and as TensorBoard scalars where that is installed."""

import json
import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from malt.media.files import write_whole
from malt.training.engine.parallel import current_context

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class MetricLogger:
    """Writes figures into `<folder>/<name>.jsonl` and, where TensorBoard is installed, into `<folder>/tensorboard/<name>`.

    Lines are flushed as they are written, so a run that is killed has told all it did; when it goes on from an earlier step,
    it tells none twice. A silent journal writes nothing: where several processes learn together, the first
    tells and the others are silent.
    """

    def __init__(self, folder: Path, name: str = "journal", silent: bool | None = None) -> None:
        self.path = folder / f"{name}.jsonl"
        self.silent = not current_context().is_first if silent is None else silent
        self._board_folder = folder / "tensorboard" / name  # its own: what is hidden after a resume is hidden by folder
        self._board: SummaryWriter | None = None
        self._first_step: int | None = None

    def rewind(self, step: int) -> None:
        """Forget what was written of steps after `step`: a run that resumes there tells them again.

        A journal that is not told does so for the first step that is written.
        """
        self._first_step = step + 1
        if self.silent or not self.path.exists():
            return
        lines = self.path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if _is_until(line, step)]
        if kept != lines:
            write_whole(self.path, "".join(kept))

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Note figures of the state after `step` steps; where one is not finite, which JSON cannot say, null."""
        if self.silent:
            return
        if self._first_step is None:
            self.rewind(step - 1)
        line = {name: value if math.isfinite(value) else None for name, value in {"step": step, **figures}.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if (board := self._tensorboard()) is not None:
            for name, value in figures.items():
                if math.isfinite(value):
                    board.add_scalar(name, value, step)
        self._first_step = step + 1

    def close(self) -> None:
        """Write out what TensorBoard still holds; the journal may be written on afterwards."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def _tensorboard(self) -> "SummaryWriter | None":
        """TensorBoard's writer, made when first needed; older scalars of steps from `_first_step` on are hidden."""
        if self._board is None and find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._board_folder), purge_step=self._first_step)
        return self._board


def _is_until(line: str, step: int) -> bool:
    """Whether a line is whole and tells of `step` or a step before."""
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False
