"""The package in each place where users have it: a wheel, an editable install, and a checkout that is not installed."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("zo_gym", "agents", "setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
LIBRARIES = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
EXTRAS = ("stable_baselines3", "tensorboard", "matplotlib", "rich", "tqdm", "tyro", "cma")
"""The libraries that `pip install zo-gym` alone does not bring."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is shipped and of the scripts: no git, no tests, nothing built yet."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in (*SHIPPED, "benchmarks", "train.py", "evaluate.py"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def build(kind: str, source: Path, out: Path) -> Path:
    """Build a "wheel", an "editable" or an "sdist" from the folder `source`, without a network; return the file."""
    out.mkdir(parents=True, exist_ok=True)
    code = f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(out)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.split()[-1]


def members(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(name for name in archive.namelist() if not name.endswith("/"))


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built in a copy of its own: setuptools leaves a folder build/ behind."""
    source = tmp_path_factory.mktemp("source") / "zo-gym"
    shutil.copytree(checkout, source)
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for sys.path that holds the unpacked wheel, and another distribution's top-level package `agents`."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    (folder / "agents").mkdir()
    (folder / "agents" / "__init__.py").write_text("OWNER = 'another distribution'\n")
    return folder


def run_isolated(code: str, path: Path, cwd: Path) -> Any:
    """Run code that prints JSON last, with `path` before the libraries and no other zo-gym in sight.

    Without `-S` an editable install of this very repository would hide what is missing from `path`.
    """
    head = f"import sys, site\nsys.path.insert(0, {str(path)!r})\nsys.path += {LIBRARIES!r}\n"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", head + code], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_package_is_listed() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = config["options"]["packages"].split()
    core = [path.parent.relative_to(ROOT).parts for path in ROOT.glob("zo_gym/**/__init__.py")]
    agents = [("zo_gym", *path.parent.relative_to(ROOT).parts) for path in ROOT.glob("agents/**/__init__.py")]
    assert listed == sorted(".".join(parts) for parts in core + agents)


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for name in ("zo_gym", "agents", "benchmarks") for path in ROOT.glob(f"{name}/**/*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_wheel_holds_every_module_and_policy_and_nothing_else(wheel: Path, checkout: Path) -> None:
    sources = [path.relative_to(checkout).as_posix() for path in checkout.glob("zo_gym/**/*") if path.is_file()]
    sources += [
        f"zo_gym/{path.relative_to(checkout).as_posix()}" for path in checkout.glob("agents/**/*") if path.is_file()
    ]
    shipped = [name for name in members(wheel) if ".dist-info/" not in name]
    assert shipped == sorted(sources)
    assert "zo_gym/py.typed" in shipped
    assert sum(name.endswith("/weights.safetensors") for name in shipped) >= 2


def test_sdist_makes_the_same_wheel_and_has_no_half_of_the_tests(wheel: Path, checkout: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(checkout, source)
    with tarfile.open(build("sdist", source, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert not (unpacked / "tests").exists()
    assert members(build("wheel", unpacked, tmp_path / "wheel")) == members(wheel)


USE = """
import json
import zo_gym.agents.train, zo_gym.agents.policies.pretrained as pretrained
result = zo_gym.minimize("digits_attack[0]", method="pretrained:digits-attack", budget=60, seed=0)
named = [(name, getattr(module, "__file__", None)) for name, module in sorted(sys.modules.items())]
ours = [file for name, file in named if name.split(".")[0] in ("zo_gym", "benchmarks", "agents") and file]
try:
    import agents
    owner = getattr(agents, "OWNER", None)
except ImportError:
    owner = None
print(json.dumps({
    "zo_gym": zo_gym.__file__,
    "agents": zo_gym.agents.__file__,
    "twice": sorted({file for file in ours if ours.count(file) > 1}),
    "owner": owner,
    "nfev": result.nfev,
    "success": result.success,
    "fell": bool(result.fun < result.trace.fun[0]),
}))
"""


@pytest.mark.parametrize("layout", ["wheel", pytest.param("editable", marks=pytest.mark.slow), "checkout"])
def test_agents_are_one_package_inside_zo_gym(layout: str, checkout: Path, tmp_path: Path, request: Any) -> None:
    code = USE
    if layout == "wheel":
        path, home = request.getfixturevalue("installed"), request.getfixturevalue("installed") / "zo_gym" / "agents"
    elif layout == "editable":
        path, home = tmp_path / "site", checkout / "agents"
        with zipfile.ZipFile(build("editable", checkout, tmp_path / "wheel")) as archive:
            archive.extractall(path)
        code = f"site.addsitedir({str(path)!r})\n" + USE
    else:
        path, home = checkout, checkout / "agents"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    found = run_isolated(code, path, elsewhere)
    owner = found.pop("owner")
    assert found == {
        "zo_gym": str((path if layout == "wheel" else checkout) / "zo_gym" / "__init__.py"),
        "agents": str(home / "__init__.py"),
        "twice": [],
        "nfev": 60,
        "success": True,
        "fell": True,
    }
    if layout == "wheel":
        assert owner == "another distribution"


def test_scripts_run_in_a_checkout_that_is_not_installed(checkout: Path) -> None:
    code = """
import contextlib, io, json, runpy
shown = {}
for name in ("train.py", "evaluate.py"):
    sys.argv, out = [name, "--help"], io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        runpy.run_path(name, run_name="__main__")
    shown[name] = out.getvalue()
print(json.dumps(shown))
"""
    shown = run_isolated(code, checkout, checkout)
    assert "--total-queries" in shown["train.py"]
    assert "--figure" in shown["evaluate.py"]


def test_import_loads_no_heavy_library(checkout: Path, tmp_path: Path) -> None:
    code = """
import json, torch, gymnasium
before = set(sys.modules)  # torch itself loads tqdm where it is installed
import zo_gym
print(json.dumps(sorted({name.split(".")[0] for name in set(sys.modules) - before})))
"""
    loaded = run_isolated(code, checkout, tmp_path)
    assert "zo_gym" in loaded
    assert set(loaded) & {*EXTRAS, "sklearn", "scipy", "pandas", "pooch"} == set()


WITHOUT_EXTRAS = """
import json, runpy
for name in EXTRAS:
    sys.modules[name] = None  # what an import of a library that is missing comes to
import gymnasium, zo_gym
values = {
    method: zo_gym.minimize("quadratic", method=method, budget=200, seed=0).fun
    for method, recipe in zo_gym.METHODS.items() if recipe.update != "update-rnn"
}
values |= {method: zo_gym.minimize("quadratic", method=method, budget=200, seed=0).fun
           for method in zo_gym.BASELINES if method != "cma-es"}
env = gymnasium.make(zo_gym.ENV_ID, problem="breast_cancer")
env.reset(seed=0)
info = env.step(env.action_space.sample())[-1]
messages = {}
for name, use in {
    "train.py": lambda: runpy.run_path(f"{PLACE}/train.py", run_name="__main__"),
    "zo_gym.agents": lambda: __import__("zo_gym.agents.train"),
    "zo-rl": lambda: zo_gym.minimize("quadratic", method="zo-rl", weights="policy"),
    "pretrained": lambda: zo_gym.minimize("quadratic", method="pretrained:digits-attack"),
    "cma-es": lambda: zo_gym.minimize("quadratic", method="cma-es"),
}.items():
    try:
        use()
    except ImportError as error:
        messages[name] = str(error)
start = zo_gym.minimize("quadratic", method="rand-ada", budget=3, seed=0).trace.fun[0]
print(json.dumps({"values": values, "start": start, "queries": info["queries"], "messages": messages}))
"""


def test_without_extras_everything_but_agents_works_and_they_name_the_extra(
    installed: Path, checkout: Path, tmp_path: Path
) -> None:
    code = f"EXTRAS, PLACE = {EXTRAS!r}, {str(checkout)!r}\n" + WITHOUT_EXTRAS
    found = run_isolated(code, installed, tmp_path)
    assert len(found["values"]) > 15
    assert [name for name, value in found["values"].items() if value > found["start"]] == []
    assert found["queries"] == 3
    agents = "Install it: pip install 'zo-gym[agents]'."
    assert found["messages"] == {
        "train.py": f"zo_gym.agents needs stable_baselines3. {agents}",
        "zo_gym.agents": f"zo_gym.agents needs stable_baselines3. {agents}",
        "zo-rl": f"Method 'zo-rl' needs stable_baselines3. {agents}",
        "pretrained": f"Method 'pretrained' needs stable_baselines3. {agents}",
        "cma-es": "Method 'cma-es' needs pycma. Install it: pip install 'zo-gym[baselines]'.",
    }


def test_extras_split_the_requirements(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        lines = archive.read(name).decode().split("\n\n")[0].splitlines()
    required = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist")]
    core = {line.split(">")[0] for line in required if "extra ==" not in line}
    assert core == {"numpy", "torch", "gymnasium", "scipy", "scikit-learn", "safetensors", "pooch"}
    extras = {line.removeprefix("Provides-Extra: ") for line in lines if line.startswith("Provides-Extra")}
    assert extras == {"agents", "baselines", "peers", "plot", "test", "dev", "docs"}
    of_agents = {line.split(">")[0].replace("-", "_") for line in required if 'extra == "agents"' in line}
    assert of_agents == set(EXTRAS) - {"cma"}
