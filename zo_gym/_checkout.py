"""In a checkout the folder `agents` stands beside the package; the wheel holds it inside. Both are `zo_gym.agents`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType


class AgentsFinder(MetaPathFinder):
    """Finds `zo_gym.agents` in a folder, and nothing else.

    Args:
        folder: The folder of the package.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
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
        sys.meta_path.insert(0, AgentsFinder(beside))  # before that of an editable install of another checkout
