"""In a checkout the folder `agents` stands beside the package; the wheel holds it inside. Both are `zo_gym.agents`."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any


class AgentsFinder(MetaPathFinder):
    """Finds `zo_gym.agents` in this folder, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the spec of `zo_gym.agents`; None for every other module."""
        if fullname != "zo_gym.agents":
            return None
        folder = str(self.folder)
        return spec_from_file_location(fullname, self.folder / "__init__.py", submodule_search_locations=[folder])


def find_agents() -> None:
    """Make `zo_gym.agents` importable where the package runs from a checkout."""
    package = Path(__file__).resolve().parent
    beside = package.parent / "agents"
    known = any(isinstance(finder, AgentsFinder) for finder in sys.meta_path)
    if not known and not (package / "agents").is_dir() and (beside / "__init__.py").is_file():
        # after the finder of ordinary modules, which most imports need, and before editable installs of other checkouts
        place = 1 + next((i for i, finder in enumerate(sys.meta_path) if finder is PathFinder), -1)
        sys.meta_path.insert(place, AgentsFinder(beside))
