"""Warn where a public name, or a name in one of the tables, is on no page. `make docs` turns warnings into errors."""

from __future__ import annotations

from importlib import import_module
from typing import Any

PACKAGES = ("zo_gym", "zo_gym.samplers", "zo_gym.gradient_models", "zo_gym.updates")
"""Everything in their `__all__` must be documented."""
TABLES = (
    "zo_gym.BASELINES",
    "zo_gym.ESTIMATORS",
    "zo_gym.GATES",
    "zo_gym.GRADIENT_MODELS",
    "zo_gym.PROBLEMS",
    "zo_gym.RULES",
    "zo_gym.SAMPLERS",
    "zo_gym.agents.build.AGENTS",
)
"""All must be listed by a directive `{registry}`, and `zo_gym.METHODS` by `{methods}`."""


def public_names() -> set[str]:
    """Return the full names that the reference must hold."""
    names = {"zo_gym.METHODS", *(table for table in TABLES if table.count(".") == 1)}
    for package in PACKAGES:
        public = import_module(package).__all__
        names |= {f"{package}.{name}" for name in public if not name.startswith("__")}
    # A table of a subpackage is the one of the package: zo_gym.samplers.SAMPLERS is zo_gym.SAMPLERS.
    return {name for name in names if not (name.count(".") > 1 and name.rpartition(".")[2].isupper())}


def setup(app: Any) -> dict[str, Any]:
    """Check once all pages are read."""
    from sphinx.util import logging

    def check(app: Any, env: Any) -> None:
        logger = logging.getLogger(__name__)
        documented = set(env.get_domain("py").objects)
        for name in sorted(public_names() - documented):
            logger.warning("%s is public, and no page documents it", name)
        for table in sorted({*TABLES, "zo_gym.METHODS"} - set().union(*getattr(env, "listed_tables", {}).values())):
            logger.warning("%s is a table of names, and no page lists it", table)

    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
