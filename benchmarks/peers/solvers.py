"""List all solvers: the peers by name, with what each needs, and the methods of `zo_gym.minimize`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.peers import library_solvers, scipy_solvers
from benchmarks.peers.oracle import Search
from benchmarks.peers.spsa import spsa
from zo_gym import BASELINES
from zo_gym.auto import AUTO, PORTFOLIO
from zo_gym.methods import require_method
from zo_gym.minimize import minimize
from zo_gym.registry import lookup


@dataclass(frozen=True)
class PeerSolver:
    """Describes a solver.

    Attributes:
        label: Its name in tables and legends.
        run: Minimises until `Spent` ends it; may return its point. Without one, and without
            `CountedFunction.recommend`, its point is that of least observed f.
        uses_budget: Whether its steps depend on the budget. Then every budget is a run of its own; else the longest
            run tells the shorter ones, too.
        modules: Modules that must be there.
        install: How to install them.
        least_dim: The least d that it is run for.
        most_dim: The largest d that it is run for: beyond, it takes too long.
        most_budget: The largest budget, in units of d, for the same reason.
        ours: Whether it is a method of `minimize`.
    """

    label: str
    run: Callable[[Search], Any]
    uses_budget: bool = False
    modules: tuple[str, ...] = ()
    install: str = ""
    least_dim: int = 1
    most_dim: int = 10**6
    most_budget: int = 10**6
    ours: bool = False

    def budgets(self, dim: int, budgets: Iterable[int]) -> list[int]:
        """Return those budgets, in units of d, with which it is run in this dimension."""
        fits = self.least_dim <= dim <= self.most_dim
        return [budget for budget in budgets if fits and budget <= self.most_budget]


PEERS: dict[str, PeerSolver] = {
    "scipy-l-bfgs-b": PeerSolver("L-BFGS-B (scipy)", scipy_solvers.LBFGSB),
    "scipy-cobyqa": PeerSolver("COBYQA (scipy)", scipy_solvers.COBYQA, most_dim=40),
    "scipy-powell": PeerSolver("Powell (scipy)", scipy_solvers.POWELL),
    "scipy-nelder-mead": PeerSolver("Nelder-Mead (scipy)", scipy_solvers.NELDER_MEAD),
    "pycma": PeerSolver("IPOP-CMA-ES (pycma)", library_solvers.pycma(), False, ("cma",), "pip install cma"),
    "pycma-sep": PeerSolver(
        "sep-CMA-ES (pycma)", library_solvers.pycma(True), False, ("cma",), "pip install cma", least_dim=80
    ),
    "py-bobyqa": PeerSolver(
        "Py-BOBYQA", library_solvers.PY_BOBYQA, False, ("pybobyqa",), "pip install Py-BOBYQA", most_dim=40
    ),
    "nevergrad-ngopt": PeerSolver(
        "NGOpt (Nevergrad)", library_solvers.nevergrad_ngopt, True, ("nevergrad",), "pip install nevergrad"
    ),
    "amm": PeerSolver(
        "AMM", library_solvers.amm, True, ("amm_optimizer",), "pip install amm-optimizer (Python 3.12 or later)"
    ),
    "optuna-cma": PeerSolver(
        "CMA-ES (Optuna)",
        library_solvers.optuna_solver("CmaEsSampler"),
        False,
        ("optuna", "cmaes"),
        "pip install optuna cmaes",
        most_dim=40,
    ),
    "optuna-tpe": PeerSolver(
        "TPE (Optuna)",
        library_solvers.optuna_solver("TPESampler"),
        False,
        ("optuna",),
        "pip install optuna",
        most_dim=40,
        most_budget=50,
    ),
    "torchzero": PeerSolver(
        "BFGS (torchzero)", library_solvers.TORCHZERO, False, ("torchzero",), "pip install torchzero"
    ),
    "spsa-spall": PeerSolver("SPSA, Spall's gains", spsa, True),
}
"""What `minimize` is compared with. No key is also a method's name."""

DEFAULT_METHODS = ("auto", "gp-tr", "gp", "rand-ada")
"""The methods of `zo_gym.minimize` that are run unless others are asked for."""


def solver_of(name: str) -> PeerSolver:
    """Return the solver of this name: a peer, or a method of `minimize`.

    A method is taken to use the budget: it may, and its point is what `minimize` returns.
    """
    if name in PEERS:
        return PEERS[name]
    return PeerSolver(f"zo-gym {name}", partial(_minimize, name), uses_budget=True, ours=True)


def check_solvers(methods: Iterable[str], peers: Iterable[str]) -> None:
    """Raise ValueError where a method of `minimize`, or a peer, is unknown."""
    for name in methods:
        require_method(name, dict.fromkeys([AUTO, PORTFOLIO, *BASELINES]))
    for name in peers:
        lookup(PEERS, name, "peer")


def missing_libraries(name: str) -> list[str]:
    """Return the modules that a solver needs and that are not installed."""
    return [module for module in solver_of(name).modules if find_spec(module) is None]


def _minimize(method: str, search: Search) -> np.ndarray:
    """Run a method of `minimize` inside the box; return its point."""
    return np.asarray(
        minimize(search.f, search.start, method=method, bounds=search.bounds, budget=search.budget, seed=search.seed).x
    )
