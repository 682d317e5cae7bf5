"""A learned guess of the gradient as a sampler: alone while it helps, then spanned with others, off where it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.base import Estimate, Generators, Known, Sampler, State, Step
from zo_gym.checks import check_at_least, check_integer
from zo_gym.directions import sharpen, unit
from zo_gym.rng import normal

Field = Callable[[Tensor, Tensor], Tensor]
"""x (b, d), instance of each row int64 (b,) -> h (b, d), a guess of the gradient of f, or of its unknown part."""

ALONE, SPAN, OFF = 0, 1, 2

MEMORY = 0.8
"""Weight of the past in the running means of squared slopes."""
PATIENCE = 2
"""Steps along the guess alone that fail to lower f, more than those that lower it, before it is spanned."""
SHUT, OPEN = 2.0, 4.0
"""Squared slope along the guess over that along a random direction, below which it is dropped, above which taken up."""
PERIOD = 10
"""Steps without the guess between two looks at it."""


class HybridState(NamedTuple):
    """What a row carries."""

    instance: Tensor
    """int64 (B,)."""
    mode: Tensor
    """ALONE, SPAN or OFF, int64 (B,)."""
    guess: Tensor
    """h at x, (B, d)."""
    last: Tensor
    """The last estimate, (B, d); 0 at the start."""
    along: Tensor
    """Running mean of the squared slope along the guess, (B,)."""
    random: Tensor
    """The same along the random directions, (B,)."""
    clock: Tensor
    """Of ALONE: net failures; of OFF: steps since the last look; int64 (B,)."""


def hybrid(
    field: Field,
    instances: Tensor,
    known: Known | None = None,
    *,
    num_random: int = 2,
    sharpness: float = 1.0,
    alone: bool = True,
    gate: bool = True,
) -> Sampler:
    """u = the guess alone; or {guess, last estimate, random}; or {last estimate, random}: a gate for each row decides.

    Alone, one direction is probed, the steepest feasible slope of the guess, and the guess takes the length that the
    measured slope gives it: g = kappa h with kappa = D / (h . u), so that a guess with the wrong sign or scale is set
    right. When such steps fail to lower f, the row goes over to the span, whose projection (estimator `span`) holds
    whatever the guess lacks. There the gate compares squares of slopes, which needs no scale: along the guess, and
    along random directions, where a direction that knows nothing has a ratio of 1 on average. Below `SHUT` the guess
    is left out; every `PERIOD` steps one step looks whether it would be worth its query again. So a wrong guess costs
    the first few steps and one query in `PERIOD` steps.

    Needs num_directions = num_random + 2, and estimator `span`.

    Args:
        field: The guess. Costs no queries.
        instances: Which instance of a family each row faces, int64 (B,); zeros for a single problem.
        known: The known part, where the run takes it exactly (`composite`).
        num_random: m >= 1.
        sharpness: p >= 1 of the direction probed alone.
        alone: Begin with the guess alone; else with the span.
        gate: False: never leave the guess out.

    Raises:
        ValueError: A number is out of its range.
    """
    m = check_integer("num_random", num_random, 1)
    p = check_at_least("sharpness", sharpness, 1.0)

    def init(x: Tensor) -> State:
        zero, none = torch.zeros_like(x), torch.zeros(len(x), dtype=torch.int64, device=x.device)
        mode = none + (ALONE if alone else SPAN)
        return HybridState(instances.to(x.device), mode, zero, zero, zero[:, 0], zero[:, 0], none)

    def sample(state: State, x: Tensor, q: int, generators: Generators) -> tuple[Tensor, State]:
        if q != m + 2:
            raise ValueError(f"num_directions must be num_random + 2 = {m + 2}, got {q}.")
        guess = field(x, state.instance)
        state = state._replace(guess=guess)
        draws = normal(generators, (m, x.shape[1]), like=x)
        spanned = torch.cat([unit(guess).unsqueeze(1), unit(state.last).unsqueeze(1), draws], dim=1)
        without = torch.cat([spanned[:, 1:], spanned[:, :1]], dim=1)
        mode = state.mode[:, None, None]
        directions = torch.where(mode == OFF, without, spanned)
        steepest = guess if known is None else known.subgradient(x, guess, state.instance)
        first = torch.where(mode[:, 0] == ALONE, -sharpen(steepest, p), directions[:, 0])
        return torch.cat([first.unsqueeze(1), directions[:, 1:]], dim=1), state

    def wants(state: State) -> Tensor:
        return torch.tensor([1, m + 2, m + 1], device=state.mode.device)[state.mode]

    def refine(state: State, x: Tensor, directions: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        u, h = directions[:, 0], state.guess
        agreement = (h * u).sum(1)
        tiny = torch.finfo(x.dtype).tiny
        kappa = torch.where(agreement.abs() > tiny, estimate.slopes[:, 0] / agreement, 0.0)
        scaled = kappa.unsqueeze(1) * h
        return torch.where((state.mode == ALONE).unsqueeze(1), scaled, estimate.gradient), state

    def observe(state: State, step: Step) -> State:
        slopes = step.estimate.slopes.square()
        alone_now, spanned, off = (state.mode == mode for mode in (ALONE, SPAN, OFF))
        if slopes.shape[1] > 1:
            along = torch.where(spanned, _mean(state.along, slopes[:, 0]), state.along)
            random = torch.where(spanned, slopes[:, 2:].mean(1), slopes[:, 1 : m + 1].mean(1))
            random = torch.where(alone_now, state.random, _mean(state.random, random))
        else:
            along, random = state.along, state.random
        failures = (state.clock + torch.where(step.change < 0, -1, 1)).clamp_min(0)
        clock = torch.where(alone_now, failures, torch.where(off, state.clock + 1, 0))
        leaves = alone_now & (failures >= PATIENCE)
        mode, clock = torch.where(leaves, SPAN, state.mode), torch.where(leaves, 0, clock)
        if gate:
            looked = spanned & (state.clock > 0)  # a look from OFF
            useful = along > torch.where(looked, OPEN, SHUT) * random
            mode = torch.where(spanned & ~useful, OFF, mode)
            mode = torch.where(off & (clock >= PERIOD), SPAN, mode)
        return state._replace(mode=mode, last=step.unknown, along=along, random=random, clock=clock)

    return Sampler(init, sample, observe, refine=refine, wants=wants)


def _mean(past: Tensor, now: Tensor) -> Tensor:
    return torch.where(past == 0, now, MEMORY * past + (1 - MEMORY) * now)
