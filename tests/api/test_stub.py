"""orchestrator/__init__.pyi, which type checkers read, says what the code says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import orchestrator

PACKAGE = Path(orchestrator.__file__ or "").parent
STUB = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
HOMES = {
    **dict.fromkeys(("Dtype", "Rerun", "SweepOptions", "Plan", "plan", "tune"), "sweeps"),
    **dict.fromkeys(("DataSet", "load"), "data_set"),
}
"""What the stub declares -> its module in orchestrator/api."""


def named(tree: ast.Module | ast.ClassDef) -> dict[str, ast.stmt]:
    """What stands in a module or class, by name."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign):
            found[ast.unparse(node.target)] = node
    return found


def declared(node: ast.stmt) -> object:
    """What a caller may rely on: arguments with defaults and types, attributes, no bodies."""
    if isinstance(node, ast.FunctionDef):
        of_object = bool(node.decorator_list)
        return ast.unparse(node.args), ast.unparse(node.returns or node), of_object
    if isinstance(node, ast.ClassDef):
        public = {name: one for name, one in named(node).items() if not name.startswith("_")}
        return [ast.unparse(base) for base in node.bases], {
            k: declared(v) for k, v in public.items()
        }
    assert isinstance(node, ast.AnnAssign)
    return ast.unparse(node.annotation), node.value and ast.unparse(node.value)


def test_the_stub_declares_every_public_name() -> None:
    others = {"TryAgainError", "UserError"}
    assert HOMES.keys() | others >= set(orchestrator.__all__)
    assert named(STUB).keys() == HOMES.keys() | {"__version__"}
    (listed,) = [node for node in STUB.body if isinstance(node, ast.Assign)]
    assert ast.literal_eval(listed.value) == orchestrator.__all__


@pytest.mark.parametrize("name", HOMES)
def test_a_declaration_is_that_of_the_code(name: str) -> None:
    code = ast.parse((PACKAGE / "api" / f"{HOMES[name]}.py").read_text(encoding="utf-8"))
    of_stub, of_code = declared(named(STUB)[name]), declared(named(code)[name])
    if name == "DataSet":
        # attributes that are set when it is made have no line of their own in the code
        _bases, attributes = of_stub
        assert {attributes.pop("folder"), attributes.pop("run")} == {
            ("Path", None),
            ("Mapping[str, Any] | None", None),
        }
    assert of_stub == of_code
