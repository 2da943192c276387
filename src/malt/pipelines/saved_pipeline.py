"""What a pipeline's folder has beside its weights: a model card, and the door of diffusers; and its way onto the hub."""

import tempfile
from os import PathLike
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from malt.hub.custom_pipeline import write_custom_pipeline
from malt.hub.model_card import pipeline_card, write_card


class SavedPipeline(DiffusionPipeline):
    """A pipeline of diffusers whose folder says what it is, and loads by diffusers alone where malt is installed."""

    @classmethod
    def download(cls, pretrained_model_name: str, **kwargs: Any) -> str:
        """The folder of a model on the hub; diffusers calls this for names that are no folders.

        Its own refuses models of another library's classes, unless their code lies beside the weights.

        Raises:
            CheckpointError: there is none of this name, or the hub cannot be reached.
        """
        from malt.hub.fetching import PASSED_ON, fetch

        return str(fetch(pretrained_model_name, **{name: kwargs[name] for name in PASSED_ON & kwargs.keys()}))

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        **hub: Any,
    ) -> None:
        """Save it, with a card (unless there is one) and `pipeline.py`; see `malt.hub`.

        Args:
            save_directory: where to.
            safe_serialization: as in diffusers, like the next two.
            variant: the infix of the weights' file names.
            max_shard_size: the largest file of weights.
            push_to_hub: whether to publish the folder; `repo_id` is the repository, the folder's name by default.
            hub: `private`, `token`, `commit_message`, `create_pr`, as in `publish`.
        """
        super().save_pretrained(save_directory, safe_serialization, variant, max_shard_size)
        folder = Path(save_directory)
        write_custom_pipeline(folder)
        write_card(folder, pipeline_card(f"Malt, {_size(self)}", _facts(self)))
        if push_to_hub:
            from malt.hub.publishing import publish

            publish(folder, repo_id or folder.name, **hub)

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
        safe_serialization: bool = True,
        variant: str | None = None,
    ) -> str:
        """Publish it on the Hugging Face hub, card included; gives where it can be seen. Arguments are those of diffusers.

        Raises:
            MaltError: the hub could not be reached, or refused.
        """
        from malt.hub.publishing import publish

        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, safe_serialization, variant)
            message = commit_message or f"Upload {type(self).__name__}"
            return publish(
                Path(folder), repo_id, private=private, token=token, commit_message=message, create_pr=create_pr
            )


def _facts(pipe: Any) -> dict[str, object]:
    """What the card tells of a pipeline."""
    config, codec = pipe.transformer.config, pipe.codec
    models = [("transformer", pipe.transformer), ("autoencoder", pipe.vae), ("text encoder", pipe.text_encoder)]
    weights = [f"{_millions(model)} in the {name}" for name, model in models if model is not None]
    return {
        "frames": f"{_size(pipe)}, {pipe.frame_rate:g} a second",
        "segment": f"{pipe.transformer.segment_frames * codec.time_compression} frames",
        "memory": config.get("memory"),
        "denoising steps": pipe.config.num_inference_steps,
        "weights": ", ".join(weights),
        "actions": ", ".join(pipe.action_names) or None,
        "words it knows": ", ".join(pipe.known_words) or None,
    }


def _size(pipe: Any) -> str:
    height, width = pipe.frame_size
    return f"{width}x{height}"


def _millions(model: Any) -> str:
    return f"{sum(weight.numel() for weight in model.parameters()) / 1e6:.1f} million"
