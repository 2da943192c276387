"""Laws of the source tree: imports point one way, files and functions are small, every file says what it is."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import malt

SOURCE = Path(malt.__file__).parent
FILES = {".".join(path.relative_to(SOURCE).with_suffix("").parts): path for path in sorted(SOURCE.rglob("*.py"))}
MODULES = {name.removesuffix(".__init__"): path for name, path in FILES.items() if name != "__init__"}

# What each part may import of the others. A part is a package, or a module that stands apart from its package.
MAY_IMPORT = {
    "errors": set[str](),
    "wording": set[str](),
    "threads": {"errors", "wording"},
    "precision": set[str](),
    "out_of_memory": {"errors"},
    "unicode": {"errors"},
    "typed_values": {"errors"},
    "memory": set[str](),
    "models": {"memory"},
    "adapters": {"errors", "hub", "media", "memory", "models"},
    "diffusion": {"errors", "memory"},
    "media": {"errors", "wording"},
    "hub": {"errors", "media"},
    "codecs": {"models"},
    "worlds": {"errors", "media", "wording"},
    "rollouts": {"codecs", "diffusion", "errors", "memory", "models", "out_of_memory", "wording"},
    "sessions": {"codecs", "diffusion", "errors", "media", "memory", "models", "rollouts", "unicode", "wording"},
    "pipelines": {
        "adapters",
        "codecs",
        "diffusion",
        "errors",
        "hub",
        "media",
        "memory",
        "models",
        "rollouts",
        "threads",
        "unicode",
        "wording",
    },
    "env": {
        "codecs",
        "errors",
        "media",
        "memory",
        "pipelines",
        "rollouts",
        "sessions",
        "worlds",
        "wording",
    },  # a model or its world, acted in
    "data": {
        "codecs",
        "diffusion",
        "errors",
        "media",
        "models",
        "out_of_memory",
        "precision",
        "worlds",
        "wording",
    },  # captions are stored, encoded
    "evaluation": {"errors", "media", "memory", "pipelines", "rollouts", "sessions", "worlds", "wording"},
    "training": {
        "codecs",
        "data",
        "diffusion",
        "errors",
        "media",
        "memory",
        "models",
        "out_of_memory",
        "precision",
        "typed_values",
        "worlds",
        "wording",
    },
    "training.monitors.samples": {
        "codecs",
        "data",
        "diffusion",
        "errors",
        "evaluation",
        "media",
        "rollouts",
        "training",
    },
    "training.monitors.schedule": {"codecs", "data", "training", "training.monitors.samples"},
    "training.pipeline_export": {"codecs", "models", "pipelines", "training"},
    "training.model_spec": {"codecs", "errors", "training", "training.pipeline_export"},
    "training.base_text": {"data", "diffusion", "pipelines"},
    "training.base_settings": {"adapters", "errors", "pipelines", "training"},
    "training.adapted_base": {
        "adapters",
        "codecs",
        "diffusion",
        "errors",
        "pipelines",
        "training",
        "training.base_settings",
        "training.base_text",
    },
    "training.newest_model": {"errors", "pipelines", "training", "training.assembly"},
    "training.autoencoder_stage": {"codecs", "errors", "models", "pipelines", "training", "wording"},
    "training.distilled_adapter": {
        "adapters",
        "errors",
        "pipelines",
        "training",
        "training.adapted_base",
        "training.base_settings",
    },
    "training.distilled_transformer": {
        "errors",
        "models",
        "pipelines",
        "training",
        "training.pipeline_export",
        "worlds",
    },
    "training.transformer_stage": {
        "errors",
        "codecs",
        "training",
        "training.adapted_base",
        "training.distilled_adapter",
        "training.distilled_transformer",
        "training.model_spec",
        "training.monitors.schedule",
        "wording",
    },
    "training.planning.adapted_plan": {
        "adapters",
        "diffusion",
        "training",
        "training.adapted_base",
        "training.base_settings",
    },
    "training.planning.student_plan": {
        "adapters",
        "models",
        "training",
        "training.adapted_base",
        "training.distilled_adapter",
        "training.distilled_transformer",
        "training.planning.adapted_plan",
    },
    "training.planning.transformer_plan": {
        "adapters",
        "data",
        "memory",
        "models",
        "training",
        "training.planning.student_plan",
    },
    "training.planning.run_plan": {
        "codecs",
        "models",
        "pipelines",
        "training",
        "training.base_settings",
        "training.pipeline_export",
        "training.planning.adapted_plan",
        "training.planning.student_plan",
        "training.planning.transformer_plan",
        "worlds",
    },
    "training.planning.report": {"training", "training.planning.run_plan", "wording"},
    "training.assembly": {
        "codecs",
        "pipelines",
        "precision",
        "training",
        "training.adapted_base",
        "training.autoencoder_stage",
        "training.base_settings",
        "training.distilled_adapter",
        "training.distilled_transformer",
        "training.model_spec",
        "training.transformer_stage",
        "worlds",
    },
    "training.run": {"training", "training.assembly"},
    "training.recipes": {"errors", "training"},
}
MAY_IMPORT_ALL = {"__main__", "cli", "commands", "serving", "studio"}
LARGEST_FILE, LONGEST_FUNCTION = 300, 60  # lines
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}


def part_of(module: str) -> str:
    """The part that a module, named within the package, belongs to."""
    return module if module in MAY_IMPORT else module.split(".")[0]


def imports_of(path: Path) -> Iterator[str]:
    """The modules of this package that a file imports, anywhere in it, by their names within the package."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports by a relative name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            within = name.removeprefix("malt.")
            parents = [within.rsplit(".", n)[0] for n in range(within.count(".") + 1)]
            if name.startswith("malt."):
                yield from [parent for parent in parents if parent in MODULES][:1]


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_what_may_be_imported_points_one_way() -> None:
    TopologicalSorter(MAY_IMPORT).prepare()  # raises where there is a circle


def test_imports_point_one_way() -> None:
    wrong = {}
    for module, path in MODULES.items():
        part = part_of(module)
        if part not in MAY_IMPORT_ALL:
            assert part in MAY_IMPORT, f"say in {Path(__file__).name} what {part} may import"
            wrong[module] = {part_of(name) for name in imports_of(path)} - {part} - MAY_IMPORT[part]
    assert {module: parts for module, parts in wrong.items() if parts} == {}


def test_models_and_diffusion_know_nothing_of_one_another_and_memory_nothing_of_either() -> None:
    reach = {"models": {"diffusion"}, "diffusion": {"models"}, "memory": {"models", "diffusion"}}
    for part, forbidden in reach.items():
        reached, todo = set[str](), [name for name in MODULES if part_of(name) == part]
        while todo:
            reached.add(module := todo.pop())
            todo += set(imports_of(MODULES[module])) - reached
        assert not {part_of(name) for name in reached} & forbidden, part


def test_the_list_of_parts_is_no_longer_than_the_tree() -> None:
    assert {part_of(module) for module in MODULES} >= MAY_IMPORT.keys()


def test_no_module_imports_itself_by_a_detour() -> None:
    TopologicalSorter({name: set(imports_of(path)) - {name} for name, path in MODULES.items()}).prepare()


def test_no_file_is_too_long_to_read_at_once() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}
    assert {name: length for name, length in lengths.items() if length > LARGEST_FILE} == {}


def test_no_function_is_too_long_to_read_aloud() -> None:
    lengths = {
        f"{name}.{function.name}": (function.end_lineno or 0) - function.lineno + 1
        for name, path in FILES.items()
        for function in functions_of(path)
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def test_the_first_thing_a_file_says_is_what_it_is() -> None:
    texts = {name: path.read_text() for name, path in FILES.items()}
    assert [name for name, text in texts.items() if text and not text.startswith(('"""', 'r"""'))] == []
    assert [name for name, text in texts.items() if not text and not name.endswith("__init__")] == []


def test_every_file_is_named_for_its_one_idea() -> None:
    assert [name for name in FILES if FORBIDDEN_NAMES & set(name.split("."))] == []


def test_annotations_are_not_put_off_where_shapes_are_checked() -> None:
    assert [name for name, path in FILES.items() if "from __future__ import annotations" in path.read_text()] == []


def test_neither_the_package_nor_its_command_imports_torch() -> None:
    program = "import malt, malt.cli, malt.errors, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("name", malt.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(malt, name) is not None
    assert name in dir(malt)
