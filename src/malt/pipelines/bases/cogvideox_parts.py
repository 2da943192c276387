"""CogVideoX, which learned v-prediction on another path of noise; on the straight one its DDIM steps are Euler steps."""

from diffusers import CogVideoXDDIMScheduler, FlowMatchEulerDiscreteScheduler

from malt.diffusion.base_schedule import BaseSchedule
from malt.pipelines.bases.parts import BaseParts


class CogVideoXParts(BaseParts):
    """8 frames a second, and 16 of CogVideoX 1.5; sizes as the transformer says."""

    @property
    def frame_rate(self) -> float:  # type: ignore[override]
        """Of the version."""
        return 16.0 if self._patch_frames > 1 else 8.0

    @property
    def _patch_frames(self) -> int:
        return int(self.pipe.transformer.config.patch_size_t or 1)

    @property
    def frame_size(self) -> tuple[int, int]:
        """That of the transformer's positions."""
        config, side = self.pipe.transformer.config, self.pipe.vae_scale_factor_spatial
        return config.sample_height * side, config.sample_width * side

    @property
    def num_frames(self) -> int:
        """As many as the transformer's positions are for."""
        return int(self.default("num_frames", self.pipe.transformer.config.sample_frames))

    def window(self, num_latents: int) -> int:
        """Whole tokens."""
        return max(1, num_latents // 4 // self._patch_frames) * self._patch_frames

    def schedule(self, num_latents: int, latent_size: tuple[int, int], num_steps: int) -> BaseSchedule:
        """The timesteps of its scheduler by DDIM, as noise levels s / (a + s) of the straight path.

        A DDIM step leads from a x_0 + s eps to another such sum with the same x_0 and eps, and so does an Euler step between
        x_t = (1 - t) x_0 + t eps, which is that sum divided by a + s.
        """
        own = CogVideoXDDIMScheduler.from_config(self.pipe.scheduler.config)

        def levels(count: int) -> list[float]:
            own.set_timesteps(count)
            kept = own.alphas_cumprod[own.timesteps.long()].double()
            signal, noise = kept.sqrt(), (1 - kept).sqrt()
            found: list[float] = (noise / (signal + noise)).tolist()
            return found

        return BaseSchedule(FlowMatchEulerDiscreteScheduler(), levels)
