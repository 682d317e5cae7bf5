"""`{modules} zo_gym.meta` documents every module of a package, so that a module that is added or moved is on its page.

The directive is replaced before the page is parsed: by a heading and an `automodule` for each module, in the order of
their names. The option `:except:` leaves modules out.
"""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module
from typing import Any

DIRECTIVE = re.compile(r"^```\{modules\} (?P<package>\S+)\n(?::except: (?P<left_out>.*)\n)?```$", re.MULTILINE)
# Names that a package only passes on are documented where they are defined.
BLOCK = "## `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n   :ignore-module-all:\n```"


def modules_of(package: str) -> list[str]:
    """List a package and its modules, those of its subpackages, too, by full name."""
    path = import_module(package).__path__
    found = [module.name for module in pkgutil.walk_packages(path, f"{package}.")]
    return [package, *sorted(name for name in found if not name.rpartition(".")[2].startswith("_"))]


def expand(text: str) -> str:
    """Replace the directives of a page."""

    def blocks(match: re.Match[str]) -> str:
        left_out = set((match["left_out"] or "").split())
        names = [name for name in modules_of(match["package"]) if name not in left_out]
        unknown = left_out - set(modules_of(match["package"]))
        if unknown:
            raise ValueError(f"{match['package']} has no {sorted(unknown)}: mend the option :except:.")
        return "\n\n".join(BLOCK.format(name=name) for name in names)

    return DIRECTIVE.sub(blocks, text)


def setup(app: Any) -> dict[str, Any]:
    """Expand pages as they are read."""

    def read(app: Any, page: str, source: list[str]) -> None:
        source[0] = expand(source[0])

    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
