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
from zo_gym.samplers.spread import spread

RANK = 32
"""Slopes remembered by default; a learned guess needs few, and old ones are of another place."""
FADE, PRIOR = 0.97, 0.03
"""Weight in kappa of a slope relative to the one after it, and of an average one that says kappa = 1."""
REACH = 10.0
"""As of `zo_gym.samplers.gradient_process`: what a guess leaves over changes more slowly than the gradient itself."""
NUGGET, BEND, LONG = 1e-3, 0.15, 1.0
"""Variance in units of a of what a slope tells beside r in its middle: of every slope; and what is added for one that
was measured over an interval of length LONG or more, since f bends; for shorter ones with the fourth power of that."""
FLAT = 1e-5
"""An unknown part that is no farther than this above the least that it can be has no slope."""
ALONE = 25
"""Steps after which every one probes first."""
LEAST = 0.1
"""Of steps, the share that probes where least is known at the least."""
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
    """h where it was asked last, (B, d)."""
    asked: Tensor
    """And where that was, (B, d); infinite before."""
    mean: Tensor
    """The belief about grad f at x, (B, d)."""
    move: Move
    """The last one, not remembered yet: what the guess says of it is known where it has led."""
    level: Tensor
    """The unknown part of f at x above the least that it can be, (B,); infinite where that is not known."""
    along: Tensor
    """Running means of squared slopes along moves, and of what the guess leaves of them unexplained, (B, 2)."""
    random: Tensor
    """Running mean of squared slopes along random directions, (B,)."""
    debt: Tensor
    """When it is 1, the next step probes, (B,)."""
    stuck: Tensor
    """Has the last step not moved? (B,) bool."""
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
    refresh_distance: float = 0.0,
    memory: bool = True,
    gate: bool = True,
) -> Sampler:
    """g = the belief about grad f after the step's probe, if it has one: at first moves are its only slopes.

    A move tells the slope along itself, so the first steps probe nothing and cost one query each, f where they lead.
    From the 26th on, when moves have to be exact, a step first probes along the steepest feasible slope of the belief.
    At least one step in ten probes where the belief knows least instead; more do where such slopes show that the belief
    lacks much of |grad f|^2, up to the share min(1, r / d) of the space that the memory can hold, and so does a step
    after one that did not move. kappa h explains a share of the slopes along moves, which needs no scale and no query:
    near 1 for a guess that is good, or wrong in sign or length alone, and near 0 for one that knows nothing. Then the
    row forgets the guess and what it learned under it, and goes on as the sampler `belief`, which probes at every step;
    one step in ten also probes along h.

    Needs num_directions = 2, of which a step asks for 0, or 1 when it probes, or 2 when it looks; and estimator `span`.

    Args:
        field: The guess h. Costs no queries.
        instances: Which instance of a family each row faces, int64 (B,); zeros for a single problem.
        known: The known part, where the run takes it exactly (`composite`): the belief is then about the unknown part.
        shape: Of the image behind x, over which h^2 is spread to make w; None: w = 1.
        rank: r, slopes remembered, rounded up to a multiple of 8.
        smoothing: mu of the forward differences.
        noise_std: As of `belief`.
        sharpness: p >= 1 of the direction probed before a move along it.
        refresh_distance: h is asked anew where x is farther than this from where it was asked last. A guess costs no
            query, but time.
        memory: False: r = 0, the guess with its factor alone, as long as it is in use.
        gate: False: the guess stays in use, come what may.

    Raises:
        TypeError, ValueError: An argument is not as described.
    """
    size = 8 * math.ceil(check_integer("rank", rank, 1) / 8)
    mu = check_positive("smoothing", smoothing)
    p = check_at_least("sharpness", sharpness, 1.0)
    near = check_at_least("refresh_distance", refresh_distance, 0.0)
    variance = None if noise_std is None else check_at_least("noise_std", noise_std, 0.0) ** 2

    def begin(x: Tensor, instance: Tensor, on: Tensor, roots: Tensor, level: Tensor) -> Guided:
        zero, none = torch.zeros_like(x), torch.zeros_like(instance)
        flat = x.new_zeros(len(x))
        return Guided(
            instance=instance,
            on=on,
            belief=no_belief(roots * x, size),
            guesses=x.new_zeros(len(x), size),
            roots=roots,
            guess=zero,
            asked=torch.full_like(x, math.inf),
            mean=zero,
            move=Move(zero, zero, flat, on, torch.ones_like(on)),
            level=level,
            along=x.new_zeros(len(x), 2),
            random=flat,
            debt=flat,
            stuck=torch.zeros_like(on),
            clock=none,
        )

    def init(x: Tensor) -> State:
        instance = instances.to(x.device)
        on = torch.ones_like(instance, dtype=torch.bool)
        return begin(x, instance, on, spread(field(x, instance), shape).sqrt(), torch.full_like(x[:, 0], math.inf))

    def sample(state: State, x: Tensor, q: int, generators: Generators) -> tuple[Tensor, State]:
        if q != 2:
            raise ValueError(f"num_directions must be 2, got {q}.")
        here, asked = asked_anew(state, x)
        move = state.move
        midway = (state.guess + here) / 2
        if not move.kept.all():
            midway = torch.where(move.kept.unsqueeze(1), midway, field(move.start + move.trial / 2, state.instance))
        state, at = believe(_moved(state, midway)._replace(guess=here, asked=asked), x)
        if not wants(state).any():
            return x.new_zeros(len(x), q, x.shape[1]), state
        steepest = state.mean if known is None else known.subgradient(x, state.mean, state.instance)
        first = -sharpen(steepest, p)
        elsewhere = _explores(state) | (steepest == 0).all(1)
        if elsewhere.any():
            rows = elsewhere.nonzero().squeeze(1)
            drawn = normal([generators[i] for i in rows.tolist()], (1, x.shape[1]), like=x)
            z = torch.zeros_like(x).index_copy(0, rows, drawn[:, 0])
            unsure = unit(state.roots * times_covariance(at, state.belief.slopes, state.roots * z))
            first = torch.where(elsewhere.unsqueeze(1), unsure, first)
        return torch.stack([first, unit(here)], dim=1), state

    def asked_anew(state: Guided, x: Tensor) -> tuple[Tensor, Tensor]:
        far = torch.linalg.vector_norm(x - state.asked, dim=1) > near
        if far.all():
            return field(x, state.instance), x
        guess, asked = state.guess, state.asked
        if far.any():
            rows = far.nonzero().squeeze(1)
            guess = guess.index_copy(0, rows, field(x[rows], state.instance[rows]))
            asked = asked.index_copy(0, rows, x[rows])
        return guess, asked

    def believe(state: Guided, x: Tensor) -> tuple[Guided, Posterior]:
        kappa = _kappa(state)
        residuals = torch.where(state.belief.slopes.full, state.belief.slopes.values - kappa * state.guesses, 0.0)
        state = state._replace(belief=first_amplitude(state.belief, residuals))
        noise = _noise(state, variance)
        reach = torch.where(state.on, REACH, gradient_process.REACH).to(x).unsqueeze(1)
        at = posterior(state.belief.slopes, state.roots * x, noise, mu, reach)
        weights = solve(at, residuals)
        rest = state.roots * combine(at, state.belief.slopes, weights)
        if not memory:
            rest = torch.where(state.on.unsqueeze(1), 0.0, rest)
        mean = torch.where((state.level > FLAT).unsqueeze(1), kappa * state.guess + rest, 0.0)
        amplitude = likely_amplitude(at, residuals, weights, noise)
        return state._replace(mean=mean, belief=state.belief._replace(amplitude=amplitude)), at

    def wants(state: State) -> Tensor:
        return (_explores(state) | (state.clock >= ALONE)).long() + _looks(state).long()

    def refine(state: State, x: Tensor, directions: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        slopes = estimate.slopes
        if slopes.shape[1]:
            random = torch.where(
                _explores(state) & (state.level > FLAT), _mixed(state.random, slopes[:, 0]), state.random
            )
            state = state._replace(random=random)
            for i in range(directions.shape[1]):
                valid = (state.level > FLAT) & (state.level + mu * slopes[:, i] > FLAT)
                state = _remember(state, state.guess, x, mu * directions[:, i], mu * slopes[:, i], valid)
            state, _ = believe(state, x)
        return state.mean, state

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
        state = state._replace(
            belief=heard(state.belief, step.echo),
            move=Move(start, step.trial, change, (before > FLAT) & (end > FLAT), stays),
            level=after,
            debt=_owed(state),
            stuck=(step.trial == 0).all(1),
            clock=state.clock + 1,
        )
        return _gated(state, step) if gate else state

    def _gated(state: Guided, step: Step) -> Guided:
        leaves_it = state.on & (state.clock > GRACE) & (_explained(state) < SHUT)
        slopes = step.estimate.slopes
        useful = torch.zeros_like(leaves_it)
        if slopes.shape[1] > 1:
            useful = ~state.on & (slopes[:, 1].square() > OPEN * state.random)
        moved = leaves_it | useful
        if not moved.any():
            return state
        x = step.iterate.x
        roots = torch.where(useful.unsqueeze(1), spread(state.guess, shape).sqrt(), 1.0)
        return _chosen(moved, begin(x, state.instance, useful, roots, state.level), state)

    return Sampler(init, sample, observe, refine=refine, wants=wants)


def _chosen(rows: Tensor, there: Guided, here: Guided) -> Guided:
    """`there` in these rows (B,) bool, `here` in the others."""
    pairs = zip(leaves(there), leaves(here), strict=True)
    merged: Guided = with_leaves(here, [torch.where(rows.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in pairs])
    return merged


def _explores(state: Guided) -> Tensor:
    """Does this step probe where least is known? (B,) bool."""
    return ~state.on | _due(state) | state.stuck


def _due(state: Guided) -> Tensor:
    """Is a probe owed? (B,) bool. Ten tenths may add up to less than 1."""
    return state.debt > 1 - LEAST / 2


def _looks(state: Guided) -> Tensor:
    """Does this step probe along the guess that is not in use? (B,) bool."""
    return ~state.on & (state.clock % PERIOD == PERIOD - 1)


def _explained(state: Guided) -> Tensor:
    """The share of slopes that the guess explains, from 0 to 1, (B,); 1 before any was measured."""
    measured, missed = state.along.unbind(1)
    tiny = torch.finfo(measured.dtype).tiny
    return torch.where(measured > tiny, 1 - missed / measured.clamp_min(tiny), 1.0).clamp_min(0.0)


def _owed(state: Guided) -> Tensor:
    """The debt after a step, (B,): a probe pays it off, steps without one add to it."""
    d, size = state.guess.shape[1], state.guesses.shape[1]
    whole = d * state.random  # |grad f|^2, as random directions show it
    lacks = torch.where(whole > 0, 1 - state.mean.square().sum(1) / whole.clamp_min(torch.finfo(whole.dtype).tiny), 0.0)
    rate = (min(1.0, size / d) * lacks).clamp_min(LEAST)
    return torch.where(_due(state), state.debt - 1, state.debt + rate)


def _mixed(mean: Tensor, slope: Tensor) -> Tensor:
    """The running mean of squares that has heard of this one, too."""
    return torch.where(mean == 0, slope.square(), MEMORY * mean + (1 - MEMORY) * slope.square())


def _known_at(known: Known, x: Tensor, instances: Tensor) -> Tensor:
    return known.value(x.unsqueeze(1), instances).squeeze(1)


def _moved(state: Guided, guess: Tensor) -> Guided:
    """The state that knows what the last move told; guess: h in its middle, (B, d)."""
    move = state.move
    length = torch.linalg.vector_norm(move.trial, dim=1)
    valid = move.valid & (length > 0)
    length = torch.where(valid, length, 1.0)
    slope, said = move.change / length, (guess * move.trial).sum(1) / length
    missed = slope - _kappa(state).squeeze(1) * said
    along = _mixed(state.along, torch.stack([slope, missed], dim=1))
    counts = valid & state.on & state.belief.slopes.full.any(1)  # before the first slope kappa is anything
    state = state._replace(along=torch.where(counts.unsqueeze(1), along, state.along))
    return _remember(state, guess, move.start, move.trial, move.change, valid)


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
    """The factor of h, (B, 1): least squares over the remembered slopes, recent ones first, and one that says 1."""
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
    return torch.where(state.on, kappa, 0.0).unsqueeze(1)


def _noise(state: Guided, variance: float | None) -> Tensor:
    """D / a, (B, r)."""
    bend = BEND * (state.belief.slopes.lengths / LONG).pow(4).clamp_max(1.0)
    return relative_noise(state.belief, variance) + torch.where(state.on.unsqueeze(1), NUGGET + bend, 0.0)
