"""The rule behind method="auto": which method suits what is known of f before the first query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

AUTO = "auto"
"""The name that asks for the rule."""
PORTFOLIO = "portfolio"
"""The method of `zo_gym.portfolio`."""
MOST_VARIABLES = 500
"""The largest d of the portfolio, whose time a query grows as d^2: 0.04 ms at 500 where f takes batches."""
LEAST_BUDGET = 3
"""The portfolio needs more than so many queries a variable: a gradient costs d of them."""
MOST_MODELLED = 2000
"""The largest d at which slopes are remembered. They were no better than random directions at d = 10,000."""


class Choice(NamedTuple):
    """A method, and what to say of the choice."""

    method: str
    """The name of the method."""
    why: str
    """A phrase that begins with the method."""


def choose(dim: int, budget: int, asked: Mapping[str, Any]) -> Choice:
    """Choose a method.

    Args:
        dim: d, the number of free variables.
        budget: Queries of the run.
        asked: The arguments that the portfolio does not take: learning_rate, smoothing, sampler, reevaluate, composite
            and so on; None where the user did not give it.

    Returns:
        The portfolio, which finds out what kind of function it faces, where d queries for a gradient are affordable and
        nothing else was asked for. "gp-tr", whose parts can be replaced, where something was. "gp" and, for d > 2,000,
        "rand-ada", which lower f from the first queries on, where a gradient is not affordable.
    """
    given = sorted(name for name, value in asked.items() if value is not None)
    if given:
        return Choice("gp-tr", f"gp-tr, which takes {given[0]}=")
    if dim <= MOST_VARIABLES and budget > LEAST_BUDGET * dim:
        return Choice(PORTFOLIO, f"portfolio, since the budget holds gradients of {dim} queries")
    if dim <= MOST_MODELLED:
        return Choice("gp", f"gp, since gradients of {dim} queries are too dear")
    return Choice("rand-ada", f"rand-ada, since {dim} variables are too many to model")
