"""`pipeline.py` of a model folder: the door for those who load it by diffusers alone, as a custom pipeline.

`DiffusionPipeline.from_pretrained(FOLDER, custom_pipeline=FOLDER, trust_remote_code=True)` runs this file, and gets malt's
pipeline. From the hub the folder has to be fetched first: by a repository's name, diffusers takes no models of another library.
There is nothing in it but an import, so that the folder never holds another version of malt than the one installed.
"""

from pathlib import Path

from malt.media.files import write_whole

FILE = "pipeline.py"  # the name that diffusers looks for
SOURCE = '''"""Malt's pipeline, for `DiffusionPipeline.from_pretrained(..., custom_pipeline=..., trust_remote_code=True)`."""

try:
    from malt import MaltPipeline  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("this model is made for malt; run `python -m pip install malt-diffusion`") from error
'''


def write_custom_pipeline(folder: Path) -> None:
    """Write it into the folder of a saved `MaltPipeline`."""
    write_whole(folder / FILE, SOURCE)
