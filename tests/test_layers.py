"""The layer rule: a module imports only from layers below its own, and zo_gym loads without the optional libraries."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS: list[set[str]] = [
    {"base", "registry", "version", "metrics", "checks"},
    {"rng", "rows", "directions", "l1_box", "datasets", "render", "family", "files"},
    {"rnn"},
    {"oracle", "estimators", "samplers", "updates", "problems", "gate"},
    {"step"},
    {"methods", "settings"},
    {"peers"},
    {"optimizer", "mdp", "scene", "rollout", "unroll"},
    {"minimize", "meta_train"},
    {"env"},
    {"vector_env", "bench"},
    {"zo_gym"},
    {"agents"},
    {"train", "evaluate"},
]
"""Lowest first; members of one layer are siblings. A unit is a module or a subpackage; "zo_gym" is its __init__."""

LAYER_OF = {unit: layer for layer, units in enumerate(LAYERS) for unit in units}
OURS = {"zo_gym", "agents", "train", "evaluate"}
OPTIONAL = {"matplotlib", "pandas", "transformers", "dask", "optuna", "cma", "sklearn"}


def sources() -> dict[str, str]:
    """Path below the repository -> source, for everything that is shipped."""
    paths = [*ROOT.glob("zo_gym/**/*.py"), *ROOT.glob("agents/**/*.py"), ROOT / "train.py", ROOT / "evaluate.py"]
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


def unit_of(path: str) -> str:
    """The unit a file belongs to: "zo_gym/samplers/guided.py" -> "samplers"."""
    parts = path.removesuffix(".py").split("/")
    return parts[1] if parts[0] == "zo_gym" and parts[1] != "__init__" else parts[0]


def imported(node: ast.AST) -> list[str]:
    """The dotted names that one statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        # `from zo_gym import mdp` is the module mdp; `from zo_gym import minimize` is ambiguous and read likewise.
        below = [f"zo_gym.{a.name}" if a.name in LAYER_OF else "zo_gym" for a in node.names]
        return below if module == "zo_gym" else [module]
    return []


def at_import_time(node: ast.AST) -> list[ast.AST]:
    """The statements below `node` that run when the module is imported."""
    found: list[ast.AST] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        found += [child, *at_import_time(child)]
    return found


def violations(files: dict[str, str]) -> list[str]:
    """What breaks the rule, one line each; imports inside functions count for the layers, not for OPTIONAL."""
    found = []
    for path, source in files.items():
        unit, tree = unit_of(path), ast.parse(source)
        if unit not in LAYER_OF:
            found.append(f"{path} is in no layer")
            continue
        for name in (name for node in ast.walk(tree) for name in imported(node)):
            top, *rest = name.split(".")
            target = rest[0] if top == "zo_gym" and rest else top
            if name.startswith("."):
                found.append(f"{path} imports {name} relatively")
            elif top in OURS and target not in LAYER_OF:
                found.append(f"{path} imports {name}, which is in no layer")
            elif top in OURS and target != unit and LAYER_OF[target] >= LAYER_OF[unit]:
                found.append(f"{path} imports {name}, which is not below it")
        if path.startswith("zo_gym/"):
            eager = (name.split(".")[0] for node in at_import_time(tree) for name in imported(node))
            found += [f"{path} imports {top} when it is imported" for top in eager if top in OPTIONAL]
    return found


def test_every_import_goes_downwards() -> None:
    files = sources()
    assert len(files) > 30  # the globs found the packages
    assert violations(files) == []


def test_every_layer_names_a_unit_that_exists() -> None:
    assert {unit_of(path) for path in sources()} == set(LAYER_OF)


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("zo_gym/rng.py", "from zo_gym.step import step", "zo_gym.step, which is not below it"),
        ("zo_gym/oracle.py", "import zo_gym.gate", "zo_gym.gate, which is not below it"),
        ("zo_gym/samplers/guided.py", "from zo_gym.estimators import span", "zo_gym.estimators, which is not below it"),
        ("zo_gym/step.py", "from zo_gym import minimize", "zo_gym.minimize, which is not below it"),
        ("zo_gym/env.py", "from zo_gym import ENV_ID", "zo_gym, which is not below it"),
        (
            "zo_gym/env.py",
            "def f():\n    from zo_gym.agents.train import main",
            "zo_gym.agents.train, which is not below it",
        ),
        ("zo_gym/gate.py", "from . import base", "relatively"),
        ("zo_gym/gate.py", "from zo_gym.utils import anything", "zo_gym.utils, which is in no layer"),
        ("zo_gym/utils.py", "", "is in no layer"),
        ("zo_gym/problems/x.py", "import sklearn.datasets", "sklearn when it is imported"),
        ("zo_gym/render.py", "try:\n    from matplotlib import pyplot\nexcept ImportError: ...", "matplotlib when"),
        ("zo_gym/render.py", "class A:\n    import pandas", "pandas when it is imported"),
    ],
)
def test_rule_catches_a_bad_import(path: str, source: str, complaint: str) -> None:
    (found,) = violations({path: source})
    assert complaint in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("zo_gym/problems/x.py", "from zo_gym.datasets import load\nfrom zo_gym.batch_invariant import norm"),
        ("zo_gym/render.py", "def f():\n    import matplotlib"),
        ("zo_gym/render.py", "if TYPE_CHECKING:\n    from matplotlib.figure import Figure"),
        ("agents/plots.py", "import matplotlib\nfrom zo_gym import minimize"),
    ],
)
def test_rule_permits_a_good_import(path: str, source: str) -> None:
    assert violations({path: source}) == []
