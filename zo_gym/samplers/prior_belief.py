"""A learned guess of the gradient that a run corrects: what the guess lacks is a Gaussian process of the run's slopes.

    grad f(x) = kappa h(x) + r(x)

h is the guess, and kappa what the remembered slopes y_i = v_i . grad f(z_i) make of its length and sign. The residual r
is believed to be a Gaussian process as in `zo_gym.samplers.gradient_process`, with prior variance a w_j in coordinate
j: w is large where the guess is, since a policy that knows where f can change knows more than one direction. That is
the isotropic process in the coordinates sqrt(w) x.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.base import Estimate, Generators, Known, Sampler, State, Step
from zo_gym.checks import check_at_least, check_integer, check_positive
from zo_gym.directions import sharpen, unit
from zo_gym.rng import normal
from zo_gym.rows import leaves, with_leaves
from zo_gym.samplers import gradient_process
from zo_gym.samplers.gradient_process import (
    Belief,
    Posterior,
    combine,
    first_amplitude,
    heard,
    likely_amplitude,
    no_belief,
    posterior,
    relative_noise,
    solve,
    times_covariance,
)
from zo_gym.samplers.hybrid import Field
from zo_gym.samplers.slope_window import remember

RANK = 48
"""Slopes remembered by default; a learned guess needs few, and old ones are of another place."""
FADE, PRIOR = 0.97, 0.1
"""Weight in kappa of a slope relative to the one after it, and of an average one that says kappa = 1."""
REACH = 10.0
"""As of `zo_gym.samplers.gradient_process`: what a guess leaves over changes more slowly than the gradient itself."""
NUGGET, BEND, LONG = 1e-3, 0.05, 1.0
"""Variance in units of a of what a slope tells beside the gradient in its middle: of every slope, and of one that was
measured over an interval of length LONG or more; in between with its square, since f bends."""
FLOOR, BLUR = 0.5, 1 / 18
"""Of w: the share of it that is everywhere alike, before it is scaled to mean 1; and the standard deviation, in
widths of the image, over which h^2 is spread."""
FLAT = 1e-5
"""An unknown part that is no farther than this above the least that it can be has no slope."""
LEAST = 0.1
"""Of probes, the share that goes elsewhere at the least."""
MEMORY, GRACE, SHUT = 0.9, 4, 0.1
"""The gate: weight of the past in its means, steps before it may shut, the share explained below which it does."""
PERIOD, OPEN = 10, 4.0
"""Steps without the guess between two looks at it; squared slope along it, over that along a random direction, above
which it is taken up again."""


class Move(NamedTuple):
    """What a step tried."""

    start: Tensor
    """(B, d)."""
    trial: Tensor
    """(B, d); 0: there was none."""
    change: Tensor
    """Of the part of f that the belief is about, (B,)."""
    valid: Tensor
    """Does that tell a slope? (B,) bool."""
    kept: Tensor
    """(B,) bool."""


class Guided(NamedTuple):
    """What a row carries."""

    instance: Tensor
    """int64 (B,)."""
    on: Tensor
    """Is the guess in use? (B,) bool."""
    belief: Belief
    """Of r, in the coordinates sqrt(w) x."""
    guesses: Tensor
    """What h said of each remembered slope, (B, r)."""
    roots: Tensor
    """sqrt(w), (B, d)."""
    guess: Tensor
    """h at x, (B, d)."""
    mean: Tensor
    """The belief about grad f at x before it was probed, (B, d)."""
    move: Move
    """The last one, not remembered yet: what the guess says of it is known where it has led."""
    level: Tensor
    """The unknown part of f at x above the least that it can be, (B,); infinite where that is not known."""
    means: Tensor
    """Running means of slopes^2 along the belief's direction, of what the guess leaves of them unexplained, and of
    slopes^2 along random directions, (B, 3)."""
    debt: Tensor
    """When it is 1 or more, the next probe goes along a random direction, (B,)."""
    clock: Tensor
    """Steps since the gate moved, int64 (B,)."""


def prior_belief(
    field: Field,
    instances: Tensor,
    known: Known | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    rank: int = RANK,
    smoothing: float = 0.01,
    noise_std: float | None = None,
    sharpness: float = 1.0,
    memory: bool = True,
    gate: bool = True,
) -> Sampler:
    """u = the steepest feasible slope of the belief, or where it knows least; g = the belief after it was probed.

    One direction a step; every move tells a slope, too. At least one probe in ten goes along a random direction; more
    do where those show that the belief lacks much of |grad f|^2, up to the share min(1, r / d) of the space that the
    memory can hold. kappa h explains a share of the slopes along u, which needs no scale and no further query: near 1
    for a guess that is good, or wrong in sign or length alone, and near 0 for one that knows nothing. Then the row
    forgets the guess and what it learned under it, and goes on as the sampler `belief`; one step in ten also probes
    along h.

    Needs num_directions = 2, of which a step asks for 1, or 2 when it looks, and estimator `span`.

    Args:
        field: The guess h. Costs no queries.
        instances: Which instance of a family each row faces, int64 (B,); zeros for a single problem.
        known: The known part, where the run takes it exactly (`composite`): the belief is then about the unknown part.
        shape: Of the image behind x, over which h^2 is spread to make w; None: w = 1.
        rank: r, slopes remembered, rounded up to a multiple of 8.
        smoothing: mu of the forward differences.
        noise_std: As of `belief`.
        sharpness: p >= 1 of the direction probed.
        memory: False: r = 0, the guess with its factor alone, as long as it is in use.
        gate: False: the guess stays in use, come what may.

    Raises:
        TypeError, ValueError: An argument is not as described.
    """
    size = 8 * math.ceil(check_integer("rank", rank, 1) / 8)
    mu = check_positive("smoothing", smoothing)
    p = check_at_least("sharpness", sharpness, 1.0)
    variance = None if noise_std is None else check_at_least("noise_std", noise_std, 0.0) ** 2

    def begin(x: Tensor, instance: Tensor, on: Tensor, roots: Tensor, level: Tensor) -> Guided:
        zero, none = torch.zeros_like(x), torch.zeros_like(instance)
        return Guided(
            instance,
            on,
            no_belief(x, size),
            x.new_zeros(len(x), size),
            roots,
            zero,
            zero,
            Move(zero, zero, level, on, on),
            level,
            x.new_zeros(len(x), 3),
            x.new_zeros(len(x)),
            none,
        )

    def init(x: Tensor) -> State:
        instance = instances.to(x.device)
        on = torch.ones_like(instance, dtype=torch.bool)
        return begin(x, instance, on, _roots(field(x, instance), shape), torch.full_like(x[:, 0], math.inf))

    def sample(state: State, x: Tensor, q: int, generators: Generators) -> tuple[Tensor, State]:
        if q != 2:
            raise ValueError(f"num_directions must be 2, got {q}.")
        before, here, move = state.guess, field(x, state.instance), state.move
        midway = torch.where(move.kept.unsqueeze(1), (before + here) / 2, before)
        state = _remember(state, midway, move.start, move.trial, move.change, move.valid)
        state = state._replace(guess=here)
        mean, at = _mean(state, x, mu, variance, memory)
        state = state._replace(mean=mean)
        steepest = mean if known is None else known.subgradient(x, mean, state.instance)
        z = normal(generators, (1, x.shape[1]), like=x)[:, 0]
        anywhere = unit(state.roots * times_covariance(at, state.belief.slopes, state.roots * z))
        elsewhere = _explores(state) | (steepest == 0).all(1)
        first = torch.where(elsewhere.unsqueeze(1), anywhere, -sharpen(steepest, p))
        return torch.stack([first, unit(state.guess)], dim=1), state

    def wants(state: State) -> Tensor:
        return 1 + _looks(state).long()

    def refine(state: State, x: Tensor, directions: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        slopes = estimate.slopes
        told = _told(state, slopes, directions)
        for i in range(directions.shape[1]):
            valid = (state.level > FLAT) & (state.level + mu * slopes[:, i] > FLAT)
            told = _remember(told, told.guess, x, mu * directions[:, i], mu * slopes[:, i], valid)
        told = told._replace(belief=first_amplitude(told.belief, _residuals(told)))
        mean, at = _mean(told, x, mu, variance, memory)
        residuals = _residuals(told)
        noise = _noise(told, variance)
        amplitude = likely_amplitude(at, residuals, solve(at, residuals), noise)
        return mean, told._replace(belief=told.belief._replace(amplitude=amplitude))

    def observe(state: State, step: Step) -> State:
        start = step.iterate.x - step.move
        kept = step.change if step.kept is None else torch.where(step.kept, step.change, 0.0)
        change = step.change
        before = after = end = torch.full_like(change, math.inf)
        if known is not None:
            height, tip = (
                _known_at(known, start, state.instance),
                _known_at(known, start + step.trial, state.instance),
            )
            change = change - (tip - height)
            if known.least is not None:
                before = step.iterate.fx - kept - height - known.least
                end = before + change
                after = end if step.kept is None else torch.where(step.kept, end, before)
        stays = torch.ones_like(state.on) if step.kept is None else step.kept
        move = Move(start, step.trial, change, (before > FLAT) & (end > FLAT), stays)
        state = state._replace(belief=heard(state.belief, step.echo), move=move, level=after, clock=state.clock + 1)
        return _gated(state, step) if gate else state

    def _gated(state: Guided, step: Step) -> Guided:
        leaves_it = state.on & (state.clock > GRACE) & (_explained(state) < SHUT)
        slopes = step.estimate.slopes
        useful = torch.zeros_like(leaves_it)
        if slopes.shape[1] > 1:
            useful = ~state.on & (slopes[:, 1].square() > OPEN * state.means[:, 2])
        moved = leaves_it | useful
        if not moved.any():
            return state
        x = step.iterate.x
        roots = torch.where(useful.unsqueeze(1), _roots(state.guess, shape), 1.0)
        fresh = begin(x, state.instance, useful, roots, state.level)
        return _chosen(moved, fresh, state)

    return Sampler(init, sample, observe, refine=refine, wants=wants)


def _chosen(rows: Tensor, there: Guided, here: Guided) -> Guided:
    """`there` in these rows (B,) bool, `here` in the others."""
    pairs = zip(leaves(there), leaves(here), strict=True)
    merged: Guided = with_leaves(here, [torch.where(rows.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in pairs])
    return merged


def _looks(state: Guided) -> Tensor:
    """Does this step probe along the guess that is not in use? (B,) bool."""
    return ~state.on & (state.clock % PERIOD == PERIOD - 1)


def _explained(state: Guided) -> Tensor:
    """The share of slopes that the guess explains, from 0 to 1, (B,); 1 before any was measured."""
    measured, missed, _ = state.means.unbind(1)
    tiny = torch.finfo(measured.dtype).tiny
    return torch.where(measured > tiny, 1 - missed / measured.clamp_min(tiny), 1.0).clamp_min(0.0)


def _explores(state: Guided) -> Tensor:
    """Does this step probe where least is known? (B,) bool."""
    return ~state.on | (state.debt >= 1)


def _told(state: Guided, slopes: Tensor, directions: Tensor) -> Guided:
    """The state whose means have heard of the first slope, and that knows when to probe elsewhere next."""
    d, size = directions.shape[2], state.guesses.shape[1]
    explores, slope = _explores(state), slopes[:, 0]
    missed = slope - _kappa(state) * (state.guess * directions[:, 0]).sum(1)
    now = torch.stack([slope.square(), missed.square(), slope.square()], dim=1)
    heard_of = torch.stack([~explores, ~explores, explores], dim=1) & (state.level > FLAT).unsqueeze(1)
    mixed = torch.where(state.means == 0, now, MEMORY * state.means + (1 - MEMORY) * now)
    state = state._replace(means=torch.where(heard_of, mixed, state.means))
    whole = d * state.means[:, 2]  # |grad f|^2, as random directions show it
    lacks = torch.where(whole > 0, 1 - state.mean.square().sum(1) / whole.clamp_min(torch.finfo(whole.dtype).tiny), 0.0)
    rate = (min(1.0, size / d) * lacks).clamp_min(LEAST)
    return state._replace(debt=torch.where(explores, (state.debt - 1).clamp_min(0.0), state.debt + rate))


def _known_at(known: Known, x: Tensor, instances: Tensor) -> Tensor:
    return known.value(x.unsqueeze(1), instances).squeeze(1)


def _remember(state: Guided, guess: Tensor, point: Tensor, interval: Tensor, change: Tensor, valid: Tensor) -> Guided:
    """The state with one more slope: f changed by `change` (B,) over the interval (B, d) from the point (B, d)."""
    slopes = state.belief.slopes
    length = torch.linalg.vector_norm(state.roots * interval, dim=1)
    valid = valid & (length > 0)
    said = (guess * interval).sum(1) / torch.where(valid, length, 1.0)
    rows = torch.arange(len(point), device=point.device)
    place = slopes.told % slopes.values.shape[1]
    guesses = state.guesses.index_put((rows, place), torch.where(valid, said, state.guesses[rows, place]))
    slopes = remember(slopes, state.roots * point, state.roots * interval, change, valid)
    return state._replace(belief=state.belief._replace(slopes=slopes), guesses=guesses)


def _kappa(state: Guided) -> Tensor:
    """The factor of h, (B,): least squares over the remembered slopes, recent ones first, and one that says 1."""
    slopes = state.belief.slopes
    size = slopes.values.shape[1]
    place = torch.arange(size, device=slopes.told.device)
    age = (slopes.told.unsqueeze(1) - 1 - place) % size
    weight = torch.where(slopes.full, FADE**age, 0.0)
    squares = state.guesses.square()
    prior = PRIOR * squares.sum(1) / slopes.full.sum(1).clamp_min(1)
    above = (weight * state.guesses * slopes.values).sum(1) + prior
    below = (weight * squares).sum(1) + prior
    kappa = torch.where(below > 0, above / below.clamp_min(torch.finfo(below.dtype).tiny), 1.0)
    return torch.where(state.on, kappa, 0.0)


def _residuals(state: Guided) -> Tensor:
    """What the remembered slopes say beside kappa h, (B, r)."""
    slopes = state.belief.slopes
    return torch.where(slopes.full, slopes.values - _kappa(state).unsqueeze(1) * state.guesses, 0.0)


def _noise(state: Guided, variance: float | None) -> Tensor:
    """D / a, (B, r)."""
    bend = BEND * (state.belief.slopes.lengths / LONG).square().clamp_max(1.0)
    return relative_noise(state.belief, variance) + torch.where(state.on.unsqueeze(1), NUGGET + bend, 0.0)


def _of(state: Guided, on: float, off: float) -> Tensor:
    """One number where the guess is in use, another where it is not, (B, 1)."""
    return torch.where(state.on, on, off).to(state.guess).unsqueeze(1)


def _mean(state: Guided, x: Tensor, mu: float, variance: float | None, memory: bool) -> tuple[Tensor, Posterior]:
    """What is believed of grad f at x (B, d), 0 where f has no slope; and the belief about r."""
    at = posterior(
        state.belief.slopes, state.roots * x, _noise(state, variance), mu, _of(state, REACH, gradient_process.REACH)
    )
    residual = combine(at, state.belief.slopes, solve(at, _residuals(state)))
    if not memory:
        residual = torch.where(state.on.unsqueeze(1), 0.0, residual)
    mean = _kappa(state).unsqueeze(1) * state.guess + state.roots * residual
    return torch.where((state.level > FLAT).unsqueeze(1), mean, 0.0), at


def _roots(guess: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    """sqrt(w), (B, d), with the mean of w 1: h^2 spread over the image, and a floor."""
    if shape is None or len(shape) != 2:
        return torch.ones_like(guess)
    energy = _blurred(guess.square().view(-1, 1, *shape), BLUR * shape[1]).flatten(1)
    mean = energy.mean(1, keepdim=True)
    w = torch.where(mean > 0, energy / mean.clamp_min(torch.finfo(mean.dtype).tiny), 1.0) + FLOOR
    return (w / (1 + FLOOR)).sqrt()


def _blurred(images: Tensor, std: float) -> Tensor:
    """The images (B, 1, H, W) under a Gaussian of this standard deviation in pixels, 0 outside."""
    reach = math.ceil(3 * std)
    line = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    bell = torch.exp(-line.square() / (2 * std**2))
    bell = bell / bell.sum()
    across = torch.nn.functional.conv2d(images, bell.view(1, 1, 1, -1), padding=(0, reach))
    return torch.nn.functional.conv2d(across, bell.view(1, 1, -1, 1), padding=(reach, 0))
