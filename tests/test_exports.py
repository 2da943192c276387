"""Laws of what `from malt import ...` gives: all that a user needs, imported when it is first asked for."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import malt


@pytest.mark.parametrize("name", [name for name in malt.__all__ if name != "__version__"])
def test_every_public_name_can_be_imported_and_is_the_one_that_type_checkers_see(name: str) -> None:
    seen = {
        alias.asname: node.module
        for node in ast.walk(ast.parse(Path(malt.__file__).read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert getattr(malt, name) is getattr(sys.modules[str(seen[name])], name)


def test_every_public_name_is_listed() -> None:
    assert [*malt.__dir__()] == sorted(malt.__all__)
    assert set(malt._HOMES) | {"__version__"} == set(malt.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'malt' has no attribute 'Pipeline'"):
        malt.Pipeline  # noqa: B018


def test_errors_can_be_caught_without_what_is_heavy() -> None:
    program = "from malt import MaltError, UsageError\nimport sys\nsys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_packaged_model_loads_where_nothing_else_was_imported() -> None:
    program = "from malt import load_pipeline\nload_pipeline('default')"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
