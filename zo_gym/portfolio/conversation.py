"""The portfolio as a conversation, as `zo_gym.run.ask_run` is one: `minimize` and `Optimizer` answer it alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import Iterate
from zo_gym.portfolio import ask_portfolio
from zo_gym.run import Conversation, Moment, Question
from zo_gym.space import Box


def ask_portfolio_run(
    x: Tensor,
    seeds: np.random.SeedSequence,
    *,
    box: Box | None = None,
    coarsest: torch.dtype = torch.float64,
    fits: Callable[[int | np.ndarray], np.ndarray] | None = None,
) -> Conversation:
    """Search from x, (d,): yield questions, and after each one a moment with its best point.

    Args:
        x: The start, (d,).
        seeds: Seeds all random numbers.
        box: Bounds that no question leaves.
        coarsest: The floating dtype to which f's argument is rounded.
        fits: Tells whether the budget holds so many more queries, as `zo_gym.Oracle.fits` does. The last question is
            cut to what it holds.
    """
    start = x.cpu().double().numpy()
    infinite = np.full(len(x), np.inf)
    lower, upper = (-infinite, infinite) if box is None else (bound.cpu().double().numpy() for bound in box)
    searching = ask_portfolio(start, lower, upper, np.random.default_rng(seeds), torch.finfo(coarsest).eps)
    points = next(searching)
    best_x, best_f = x[None], x.new_full((1,), torch.inf)
    while True:
        count = len(points) if fits is None else int(fits(np.arange(1, len(points) + 1)).sum())
        if not count:
            return
        asked = torch.from_numpy(points[:count]).to(x)[None]
        values = (yield Question(asked, None))[0]
        least = int(values.argmin())
        before, now, fx = best_x, asked[:, least], values[least : least + 1]
        if bool(fx < best_f):
            best_x, best_f = now, fx
        yield Moment(Iterate(now, fx, best_x, best_f, ()), before, None)
        if count < len(points):
            return
        points = searching.send(values.cpu().double().numpy())
