"""Wan VACE (`WanVACETransformer3DModel`): Wan, with a branch of blocks that look at a control video."""

from typing import Any

from einops import rearrange
from torch import Tensor

from malt.adapters.family import BaseConditions
from malt.adapters.wan import Wan
from malt.errors import UsageError


class WanVACE(Wan):
    """As Wan, but for one noise level a video and the control; the blocks of the control's branch have no memory."""

    name = "wan-vace"
    levels_per_frame = False
    takes = frozenset({"encoder_hidden_states_image", "control_hidden_states", "control_hidden_states_scale"})

    def call(self, base: Any, latents: Tensor, levels: Tensor, conditions: BaseConditions) -> Tensor:
        """With the control's latents (b, s, c, h, w), as the base's pipeline prepares them."""
        control = conditions.added.get("control_hidden_states")
        if control is None:
            raise UsageError("a VACE base needs a control; give control_hidden_states")
        settings: dict[str, Any] = {
            "control_hidden_states": rearrange(control, "b s c h w -> b c s h w").to(conditions.dtype)
        }
        if (scale := conditions.added.get("control_hidden_states_scale")) is not None:
            settings["control_hidden_states_scale"] = scale[0].to(conditions.dtype)
        return self.run(base, latents, 1000 * levels[:, 0], conditions, **settings)
