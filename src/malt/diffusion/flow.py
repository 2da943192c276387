"""Flow matching along straight paths: x_t = (1 - t) x_0 + t eps, target v = eps - x_0 (Lipman et al. 2023; Liu et al. 2023)."""

import torch
from jaxtyping import Float
from torch import Tensor


def interpolate(
    x0: Float[Tensor, "b s c h w"], eps: Float[Tensor, "b s c h w"], level: Float[Tensor, "b s"]
) -> Float[Tensor, "b s c h w"]:
    """x_t for a noise level of every frame."""
    t = level[:, :, None, None, None]
    return (1 - t) * x0 + t * eps


def velocity(x0: Tensor, eps: Tensor) -> Tensor:
    """The target v = eps - x_0, which does not depend on t."""
    return eps - x0


def denoised(xt: Float[Tensor, "b s c h w"], v: Float[Tensor, "b s c h w"], level: Float[Tensor, "b s"]) -> Tensor:
    """The clean latents that a velocity at x_t points to: x_0 = x_t - t v."""
    return xt - level[:, :, None, None, None] * v


def on_one_side(normal: Tensor, boundary: float, mean: float, is_above: bool) -> Tensor:
    """Draws for `logit_normal` that lead above a noise level, or below it, from standard normal ones."""
    share_below = torch.special.ndtr(torch.tensor(boundary, dtype=torch.float64).logit() - mean).to(normal.device)
    share = torch.special.ndtr(normal.double())
    within = share_below + (1 - share_below) * share if is_above else share_below * share
    led: Tensor = torch.special.ndtri(within)
    return led.to(normal.dtype)


def logit_normal(normal: Tensor, mean: float, std: float = 1.0) -> Tensor:
    """Noise levels whose logit is normal (Esser et al. 2024, eq. 19), from standard normal draws."""
    return torch.sigmoid(mean + std * normal)
