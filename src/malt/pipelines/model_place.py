"""Where a model is: a folder of malt's own, or a pretrained base with or without an adapter."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ModelPlace:
    """A model's place.

    folder: of malt's own; None for the default. base: a folder with a pipeline of diffusers, or its name on the hub; None
    for the one an adapter was made for, or for none. adapter: a folder, None for none.
    """

    folder: Path | None = None
    base: str | None = None
    adapter: Path | None = None

    @classmethod
    def noted(cls, notes: "dict[str, object]") -> "ModelPlace":
        """The place that a session notes."""
        folder, base, adapter = (notes.get(name) for name in ("checkpoint", "base", "adapter"))
        return cls(
            folder=None if folder is None else Path(str(folder)),
            base=None if base is None else str(base),
            adapter=None if adapter is None else Path(str(adapter)),
        )

    @property
    def is_based(self) -> bool:
        """Whether it is a pretrained base."""
        return self.base is not None or self.adapter is not None

    @property
    def is_given(self) -> bool:
        """Whether it is another than the default."""
        return self.folder is not None or self.is_based

    @property
    def name(self) -> str:
        """What the model is called."""
        if self.adapter is not None:
            return self.adapter.resolve().name
        if self.base is not None:
            return Path(self.base).resolve().name
        return "default" if self.folder is None else self.folder.resolve().name

    @property
    def takes_actions(self) -> bool:
        """Whether the model takes actions, found out without loading it."""
        from malt.pipelines.packaged import default_checkpoint

        if self.is_based:
            return False
        config = (self.folder or default_checkpoint()) / "transformer" / "config.json"
        return json.loads(config.read_text(encoding="utf-8")).get("action_dim") is not None

    def check_base(self) -> None:
        """Refuse what is no base or no adapter, before anything is loaded; what is on the hub is found out there.

        Raises:
            UsageError: the base is of no known family.
            CheckpointError: it is incomplete, damaged or pickled.
        """
        from malt.pipelines.adapted_loading import describe
        from malt.pipelines.base_check import check_base_folder

        if self.adapter is not None:
            describe(self.adapter)
        if self.base is not None and Path(self.base).is_dir():
            check_base_folder(Path(self.base))

    def notes(self) -> dict[str, str | None]:
        """The place as a session notes it, to be found from any folder; a base and an adapter only where there are any."""
        base = None if self.base is None else str(Path(self.base).resolve()) if Path(self.base).is_dir() else self.base
        noted = {"base": base, "adapter": None if self.adapter is None else str(self.adapter.resolve())}
        own = None if self.folder is None else str(self.folder.resolve())
        return {"checkpoint": own, **{name: place for name, place in noted.items() if place is not None}}

    def lost(self) -> str | None:
        """Which of the folders that it names is gone."""
        folders = [self.folder, self.adapter, Path(self.base) if self.base and Path(self.base).is_absolute() else None]
        return next((str(folder) for folder in folders if folder is not None and not folder.is_dir()), None)
