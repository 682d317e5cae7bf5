"""In a checkout the folder `agents` stands beside the package; the wheel holds it inside. Both are `zo_gym.agents`."""

from __future__ import annotations

import sys
from importlib.abc import PathEntryFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
BESIDE = PACKAGE.parent / "agents"
ENTRY = f"{PACKAGE / 'agents'} is {BESIDE}"
"""An entry of the package's search path that stands for that folder and that no other finder takes: it does not exist.
The search path of the package itself would not do: there, its parent would hold `zo_gym.zo_gym`, too."""


class AgentsFinder(PathEntryFinder):
    """Finds `zo_gym.agents` beside the package, and nothing else."""

    def __init__(self, entry: str) -> None:
        if entry != ENTRY:
            raise ImportError(f"This finder is for {ENTRY!r}, got {entry!r}.")  # so that Python asks the next one

    def find_spec(self, fullname: str, target: Any = None) -> ModuleSpec | None:
        """Return the spec of `zo_gym.agents`; None for every other module."""
        if fullname != "zo_gym.agents":
            return None
        return spec_from_file_location(fullname, BESIDE / "__init__.py", submodule_search_locations=[str(BESIDE)])


def find_agents(search_path: list[str]) -> None:
    """Make `zo_gym.agents` importable where the package, which has this search path, runs from a checkout."""
    if not (PACKAGE / "agents").is_dir() and (BESIDE / "__init__.py").is_file():
        search_path.append(ENTRY)
        if AgentsFinder not in sys.path_hooks:  # reloading is harmless
            sys.path_hooks.append(AgentsFinder)
