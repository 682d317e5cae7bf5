"""The layer rule: a module imports only from layers below its own, and zo_gym loads without the optional libraries."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS: list[set[str]] = [
    # What knows no problem.
    {
        "_checkout",
        "auto",
        "checks",
        "composite.term",
        "directions",
        "files",
        "interruption",
        "metrics",
        "registry",
        "result",
        "structure",
        "tree",
        "version",
    },
    {"datasets", "errors"},
    # Problems, and the interfaces of a method's parts.
    {"problem"},
    {"base", "batch_invariant", "rng", "space"},
    {"composite", "estimators", "gate", "meta.rnn", "oracle"},
    {"gradient_models", "problems", "run_log", "samplers", "step", "updates"},
    # What moves x.
    {"baselines", "formulation", "meta.differentiable_run", "methods", "run"},
    {"portfolio"},
    {"envs", "meta.stage", "minimize", "optimizer"},
    {"meta.train"},
    {"meta", "zo_gym"},
    # Agents.
    {"agents", "agents.console", "agents.networks", "agents.peer_options", "agents.presets"},
    {"agents.sb3.slope_buffer"},
    {"agents.algorithms"},
    {"agents.sb3"},
    {"agents.build"},
    {"agents.arguments", "agents.policies"},
    {"agents.curves", "agents.training_run"},
    {"agents.compare", "agents.plots"},
    {"agents.evaluate", "agents.train"},
    # Benchmarks.
    {
        "benchmarks",
        "benchmarks.scratch_folder",
        "benchmarks.stored_runs",
        "benchmarks.suites",
        "benchmarks.text_tables",
    },
    {"benchmarks.figures.pictures", "benchmarks.minimum", "benchmarks.orderings", "benchmarks.results"},
    {"benchmarks.solvers.base"},
    {"benchmarks.plan", "benchmarks.recorder", "benchmarks.summary", "benchmarks.theory", "benchmarks.tuner"},
    {"benchmarks.bars", "benchmarks.solvers", "benchmarks.tables", "benchmarks.worker"},
    {
        "benchmarks.figures",
        "benchmarks.overhead",
        "benchmarks.publish",
        "benchmarks.runner",
        "benchmarks.seconds_per_step",
    },
    {"benchmarks.paper", "benchmarks.peers", "benchmarks.policies", "benchmarks.speed"},
    # The scripts.
    {"evaluate", "train"},
]
"""Lowest first; members of one layer are siblings and do not import each other.

A unit is a module or a package, named as it is imported, without "zo_gym."; a module in no unit of its own belongs to
that of its package. The units of `INIT_ONLY` are an __init__ alone, so that a new module in their folders is listed.
"""

LAYER_OF = {unit: layer for layer, units in enumerate(LAYERS) for unit in units}
INIT_ONLY = {"zo_gym", "agents", "benchmarks", "meta"}
OURS = {"zo_gym", "agents", "benchmarks", "train", "evaluate"}
OPTIONAL = {"cma", "matplotlib", "pandas", "rich", "stable_baselines3", "tensorboard", "tqdm", "tyro"}
SLOW = {"pooch", "scipy", "sklearn"}
"""What zo_gym requires but imports only inside functions, so that `import zo_gym` is fast."""


def sources() -> dict[str, str]:
    """Return path below the repository -> source, for every module but the tests."""
    paths = [path for name in ("zo_gym", "agents", "benchmarks") for path in ROOT.glob(f"{name}/**/*.py")]
    paths += [ROOT / "train.py", ROOT / "evaluate.py"]
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


def module_of(path: str) -> str:
    """Return the dotted name that imports a file: "agents/build.py" -> "zo_gym.agents.build"."""
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return f"zo_gym.{name}" if name.split(".")[0] == "agents" else name


def unit_of(module: str) -> str | None:
    """Return the unit that a module belongs to: "zo_gym.samplers.guessed" -> "samplers"; None where it has no place."""
    name = module.removeprefix("zo_gym.")
    if name in LAYER_OF:
        return name
    while "." in name:
        name = name.rpartition(".")[0]
        if name in LAYER_OF:
            return None if name in INIT_ONLY else name
    return None


def imports(node: ast.AST, path: str) -> Iterator[str]:
    """Yield the dotted names that one statement imports, `from package import module` as package.module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = module_of(path).split(".")
        if not path.endswith("__init__.py"):
            package.pop()
        start = package[: len(package) - node.level + 1] if node.level else []
        base = ".".join([*start, *(node.module or "").split(".")]).strip(".")
        for alias in node.names:
            name = f"{base}.{alias.name}"
            is_module = (
                name.removeprefix("zo_gym.") in LAYER_OF
                or (ROOT / f"{place(name)}.py").is_file()
                or (ROOT / place(name)).is_dir()
            )
            yield name if is_module else base


def place(module: str) -> str:
    """Return where a module lies in the repository, without ".py"."""
    path = module.replace(".", "/")
    return path.removeprefix("zo_gym/") if path.startswith("zo_gym/agents") else path


def at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements below `node` that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from at_import_time(child)


def violations(files: Mapping[str, str]) -> list[str]:
    """Return what breaks the rule, one line each; imports inside functions count for the layers, not for libraries."""
    found = []
    for path, source in files.items():
        tree, unit = ast.parse(source), unit_of(module_of(path))
        if unit is None:
            found.append(f"{path} is in no layer")
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level and not path.startswith("agents/"):
                found.append(f"{path} imports {'.' * node.level}{node.module or ''} relatively")
                continue
            for name in imports(node, path):
                target = unit_of(name)
                if name.split(".")[0] not in OURS:
                    continue
                if name.split(".")[0] == "agents":
                    found.append(f"{path} imports {name}, which is called zo_gym.{name}")
                elif target is None:
                    found.append(f"{path} imports {name}, which is in no layer")
                elif target != unit and LAYER_OF[target] >= LAYER_OF[unit]:
                    found.append(f"{path} imports {name}, which is not below it")
        if path.startswith("zo_gym/"):
            eager = {name.split(".")[0] for node in at_import_time(tree) for name in imports(node, path)}
            found += [f"{path} imports {top} when it is imported" for top in sorted(eager & (OPTIONAL | SLOW))]
    return found


def graph(files: Mapping[str, str]) -> dict[str, set[str]]:
    """Return module -> the modules that it imports when it is imported."""
    modules = {module_of(path) for path in files}
    return {
        module_of(path): {
            name for node in at_import_time(ast.parse(source)) for name in imports(node, path) if name in modules
        }
        for path, source in files.items()
    }


def test_every_import_goes_downwards() -> None:
    files = sources()
    assert len(files) > 100  # the globs found the packages
    assert violations(files) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = graph(sources())
    assert modules["zo_gym.step"] >= {"zo_gym.base", "zo_gym.oracle"}
    assert modules["zo_gym.agents.train"] >= {"zo_gym.agents.arguments"}
    TopologicalSorter(modules).prepare()  # raises CycleError, which names the circle


def test_only_two_modules_import_upwards_by_a_name_in_a_string() -> None:
    """A method loads the agents that it follows; `python evaluate.py --figure` loads benchmarks, in a checkout."""
    files = {path: source for path, source in sources().items() if not path.startswith("benchmarks/")}
    users = {path for path, source in files.items() if "import_module" in source or "__import__" in source}
    assert users == {"zo_gym/methods.py", "agents/evaluate.py"}


def test_every_layer_names_a_unit_that_exists() -> None:
    assert {unit_of(module_of(path)) for path in sources()} == set(LAYER_OF)


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("zo_gym/rng.py", "from zo_gym.step import step", "zo_gym.step, which is not below it"),
        ("zo_gym/oracle.py", "import zo_gym.gate", "zo_gym.gate, which is not below it"),
        ("zo_gym/samplers/guided_es.py", "from zo_gym.updates import RULES", "zo_gym.updates, which is not below it"),
        ("zo_gym/step.py", "from zo_gym import minimize", "zo_gym.minimize, which is not below it"),
        ("zo_gym/oracle.py", "from zo_gym.meta import train", "zo_gym.meta.train, which is not below it"),
        ("zo_gym/oracle.py", "from zo_gym.meta.rnn import load", "zo_gym.meta.rnn, which is not below it"),
        (
            "zo_gym/problem.py",
            "from zo_gym.composite import norm_penalty",
            "norm_penalty, which is not below it",
        ),
        ("zo_gym/envs/env.py", "from zo_gym import ENV_ID", "zo_gym, which is not below it"),
        (
            "zo_gym/envs/env.py",
            "def f():\n    from zo_gym.agents.train import main",
            "agents.train, which is not below it",
        ),
        ("agents/build.py", "from .train import main", "zo_gym.agents.train, which is not below it"),
        ("agents/sb3/vec_env.py", "from ..build import build", "zo_gym.agents.build, which is not below it"),
        ("agents/networks/a.py", "from .. import train", "zo_gym.agents.train, which is not below it"),
        (
            "agents/build.py",
            "from agents.presets import PRESETS",
            "agents.presets, which is called zo_gym.agents.presets",
        ),
        ("agents/train.py", "def f():\n    import benchmarks.runner", "benchmarks.runner, which is not below it"),
        ("benchmarks/suites/a.py", "from benchmarks import runner", "benchmarks.runner, which is not below it"),
        ("benchmarks/runner.py", "from . import plan", "relatively"),
        ("benchmarks/helpers.py", "", "is in no layer"),
        ("zo_gym/gate.py", "from . import base", "relatively"),
        ("zo_gym/gate.py", "from zo_gym.utils import anything", "zo_gym.utils, which is in no layer"),
        ("zo_gym/utils.py", "", "is in no layer"),
        ("agents/utils.py", "", "is in no layer"),
        ("zo_gym/problems/x.py", "import sklearn.datasets", "sklearn when it is imported"),
        ("zo_gym/run.py", "from scipy import optimize", "scipy when it is imported"),
        ("zo_gym/run.py", "try:\n    from matplotlib import pyplot\nexcept ImportError: ...", "matplotlib when"),
        ("zo_gym/run.py", "class A:\n    import pandas", "pandas when it is imported"),
    ],
)
def test_rule_catches_a_bad_import(path: str, source: str, complaint: str) -> None:
    (found,) = violations({path: source})
    assert complaint in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("zo_gym/problems/x.py", "from zo_gym.datasets import load\nfrom zo_gym.batch_invariant import norm"),
        ("zo_gym/problem.py", "from zo_gym.composite.term import CompositeTerm"),
        ("zo_gym/composite/a.py", "from zo_gym.composite.norm_penalty import inside"),
        ("zo_gym/run.py", "def f():\n    import matplotlib"),
        ("zo_gym/run.py", "if TYPE_CHECKING:\n    from matplotlib.figure import Figure"),
        ("agents/plots.py", "import matplotlib\nfrom zo_gym import minimize\nfrom .curves import Curves"),
        ("agents/sb3/callbacks.py", "from ..algorithms.zorl import ZODDPG\nfrom .checkpoint import Episode"),
        ("benchmarks/runner.py", "from zo_gym.agents.train import main\nfrom benchmarks.plan import plan"),
        ("train.py", "from zo_gym.agents.train import main"),
    ],
)
def test_rule_permits_a_good_import(path: str, source: str) -> None:
    assert violations({path: source}) == []


def test_circles_are_found() -> None:
    files = {
        "zo_gym/updates/a.py": "import zo_gym.updates.b",
        "zo_gym/updates/b.py": "def f(): ...\nimport zo_gym.updates.a",
    }
    with pytest.raises(CycleError):
        TopologicalSorter(graph(files)).prepare()
    files["zo_gym/updates/b.py"] = "def f():\n    import zo_gym.updates.a"
    TopologicalSorter(graph(files)).prepare()
