"""How long modules and functions may be, and how many parameters a function may have."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("zo_gym", "agents", "benchmarks", "docs/_ext", "examples")
MODULES = sorted(path for name in FOLDERS for path in ROOT.glob(f"{name}/**/*.py"))

MODULE_LINES = 250
FUNCTION_LINES = 60
PARAMETERS = 8
MANY_PARAMETERS = {"minimize", "Optimizer.__init__", "ZOSamplingEnv.__init__", "ZOSamplingVectorEnv.__init__"}
"""The front doors, whose parameters are what users may choose. Others take a frozen dataclass."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Yield every function with its dotted name, the nested ones too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            name = f"{prefix}{node.name}"
            if not isinstance(node, ast.ClassDef):
                yield name, node
            yield from functions(node, f"{name}.")
        else:
            yield from functions(node, prefix)


def prose_lines(function: Function, lines: list[str]) -> int:
    """Count the lines of a function that are its docstring or comments."""
    count = sum(line.strip().startswith("#") for line in lines)
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        assert docstring.end_lineno is not None
        count += docstring.end_lineno - docstring.lineno + 1
    return count


def offences(source: str) -> list[str]:
    """Return what is too long in a module's source, one line each."""
    lines, found = source.splitlines(), []
    if len(lines) > MODULE_LINES:
        found.append(f"the module has {len(lines)} lines")
    for name, function in functions(ast.parse(source)):
        assert function.end_lineno is not None
        body = lines[function.lineno - 1 : function.end_lineno]
        if len(body) > FUNCTION_LINES and prose_lines(function, body) <= len(body) / 2:
            found.append(f"{name} has {len(body)} lines")
        a = function.args
        parameters = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
        count = sum(parameter.arg not in ("self", "cls") for parameter in parameters)
        if count > PARAMETERS and name not in MANY_PARAMETERS:
            found.append(f"{name} has {count} parameters")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_and_functions_are_short(path: Path) -> None:
    assert offences(path.read_text()) == []


def test_exceptions_are_still_needed() -> None:
    names = {name for path in MODULES for name, _ in functions(ast.parse(path.read_text()))}
    assert names >= MANY_PARAMETERS


LONG = "\n".join(f"    a{i} = {i}" for i in range(60))
PROSE = "\n".join(f"    line {i}" for i in range(60))
NINE = ", ".join("abcdefghi")


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("\n" * 251, "the module has 251 lines"),
        (f"def f():\n{LONG}", "f has 61 lines"),
        (f"class A:\n  async def f(self):\n{LONG}", "A.f has 61 lines"),
        (f"def f({NINE}):\n    pass", "f has 9 parameters"),
        (f"def f():\n    def minimize({NINE}):\n        pass", "f.minimize has 9 parameters"),
        ("def f(a, b, c, d, e, f, g, *h, **i):\n    pass", "f has 9 parameters"),
    ],
)
def test_rule_catches_what_is_too_long(source: str, complaint: str) -> None:
    assert offences(source) == [complaint]


@pytest.mark.parametrize(
    "source",
    [
        "\n" * 250,
        f'def f():\n    """Do.\n\n{PROSE}\n    """\n{LONG[: len(LONG) // 2].rsplit(chr(10), 1)[0]}',
        f"def minimize({NINE}):\n    pass",
        "class A:\n  def f(self, a, b, c, d, e, f, g, h):\n    pass",
    ],
)
def test_rule_permits_what_is_short_or_prose(source: str) -> None:
    assert offences(source) == []
