"""What the nodes ask of ComfyUI itself: its device, its folders, its progress bar, its stop button."""

from collections.abc import Iterable
from pathlib import Path

import folder_paths
import torch
from comfy import model_management
from comfy_api.latest import ComfyAPISync
from PIL import Image
from torch import Tensor, nn

from malt.errors import UsageError
from malt.media.pixels import to_pixels
from malt.rollouts.base import Segment

PIPELINES, MEMORIES = "malt", "malt_memory"  # folders of ComfyUI's `models`, which extra_model_paths.yaml may move
SESSIONS = "malt"  # folder of ComfyUI's `output`

for _name in (PIPELINES, MEMORIES):
    folder_paths.add_model_folder_path(_name, str(Path(folder_paths.models_dir) / _name))


def folders_with(index: str, *kinds: str) -> dict[str, Path]:
    """Folders among ComfyUI's models of these kinds that hold a file called `index`, by name; the first of a name counts."""
    roots = [Path(root) for kind in kinds for root in folder_paths.get_folder_paths(kind)]
    found = [path.parent for root in roots for path in sorted(root.glob(f"*/{index}"))]
    return {folder.name: folder for folder in reversed(found)}


def session_path(name: str) -> Path:
    """The folder of a saved session, below ComfyUI's output.

    Raises:
        UsageError: the name is empty, or leads out of there.
    """
    root = (Path(folder_paths.get_output_directory()) / SESSIONS).resolve()
    folder = (root / f"{name.strip()}.session").resolve()
    if not name.strip() or root not in folder.parents:
        raise UsageError(f"the session's name is {name!r}; give one such as 'walk', without '..' or a leading '/'")
    return folder


def on_processor() -> bool:
    """Whether ComfyUI computes on no GPU."""
    return bool(model_management.get_torch_device().type == "cpu")


def place(parts: Iterable[object]) -> torch.device:
    """The device to compute on, with room made there for a pipeline's parts: what ComfyUI can do without moves out."""
    device: torch.device = model_management.get_torch_device()
    weights = [weight for part in parts if isinstance(part, nn.Module) for weight in part.parameters()]
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    model_management.free_memory(size, device)
    return device


def stop_if_told() -> None:
    """Give up what is being made where the stop button was pressed.

    Raises:
        InterruptProcessingException: of ComfyUI.
    """
    model_management.throw_exception_if_processing_interrupted()


def show(segment: Segment, made: int, wanted: int) -> None:
    """Move the node's progress bar on and show the segment's last frame."""
    last = Image.fromarray(to_pixels(segment.frames[0, -1:])[0])
    ComfyAPISync().execution.set_progress(made, wanted, preview_image=last)


def to_images(frames: Tensor) -> Tensor:
    """Frames of a model (t, 3, H, W) in [-1, 1] as ComfyUI holds images, (t, H, W, 3) in [0, 1] on the CPU."""
    return ((frames.float() + 1) / 2).clamp(0, 1).movedim(1, -1).cpu()
