"""A learned guess of the gradient that a run corrects: what the guess lacks is a Gaussian process of the run's slopes.

    grad f(x) = kappa h(x) + r(x)

h is the guess, and kappa what the remembered slopes y_i = v_i . grad f(z_i) make of its length and sign. The residual r
is believed to be a Gaussian process as in `zo_gym.gradient_models.gaussian_process`, with prior variance a w_j in coordinate
j: w is large where the guess is, since a policy that knows where f can change knows more than one direction. That is
the isotropic process in the coordinates sqrt(w) x.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import Estimate, GradientModel, State, Step
from zo_gym.checks import check_at_least, check_integer, check_positive
from zo_gym.composite.l1_penalty_estimate import here as penalty_here
from zo_gym.composite.l1_penalty_estimate import no_penalty
from zo_gym.composite.term import CompositeTerm, RowTerm
from zo_gym.directions import sharpen, unit
from zo_gym.gradient_models import gaussian_process
from zo_gym.gradient_models.gaussian_process import (
    Posterior,
    combine,
    first_amplitude,
    heard,
    likely_amplitude,
    no_belief,
    posterior,
    solve,
    times_covariance,
)
from zo_gym.gradient_models.guided_state import (
    Guided,
    Move,
    factors,
    mixed,
    moved_on,
    noise_of,
    priced,
    remembered,
    residuals_of,
)
from zo_gym.gradient_models.optimality_gap import optimality_gap
from zo_gym.gradient_models.probe_schedule import ALONE, explores, given_up, looks, owed, taken_up
from zo_gym.gradient_models.spatial_prior import spatial_prior
from zo_gym.problem import Generators
from zo_gym.rng import normal
from zo_gym.tree import leaves, put, take, with_leaves

GradientGuess = Callable[[Tensor, Tensor], Tensor]
"""x (b, d), instance of each row int64 (b,) -> h (b, d), a guess of the gradient of f, or of its black-box part."""

RANK = 24
"""Slopes remembered by default; a learned guess needs few, and old ones are of another place."""
REACH = 10.0
"""As of `zo_gym.gradient_models.gaussian_process`: what a guess leaves over changes more slowly than the gradient itself."""
FLAT = 1e-5
"""An unknown part that is no farther than this above the least that it can be has no slope."""


def guided_gp(
    field: GradientGuess,
    instances: Tensor,
    known: CompositeTerm | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    rank: int = RANK,
    smoothing: float = 0.01,
    noise_std: float | None = None,
    sharpness: float = 1.0,
    refresh_distance: float = 0.0,
    memory: bool = True,
    gate: bool = True,
    infer_penalty: bool = False,
) -> GradientModel:
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
        infer_penalty: Where nothing is known of f and the guess is in use: take f for an unknown part that is never
            negative plus c |x - x0|_1, x0 the start, in the box [0, 1]^d, and learn c >= 0 from the run's slopes; see
            `zo_gym.composite.l1_penalty_estimate`. The guess is then of the unknown part's gradient. No effect with `known`.

    Raises:
        TypeError, ValueError: An argument is not as described.
    """
    size = 8 * math.ceil(check_integer("rank", rank, 1) / 8)
    mu = check_positive("smoothing", smoothing)
    p = check_at_least("sharpness", sharpness, 1.0)
    near = check_at_least("refresh_distance", refresh_distance, 0.0)
    variance = None if noise_std is None else check_at_least("noise_std", noise_std, 0.0) ** 2

    infers = infer_penalty and known is None

    def begin(x: Tensor, instance: Tensor, on: Tensor, roots: Tensor, level: Tensor, start: Tensor) -> Guided:
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
            penalty=no_penalty(start, size) if infers else None,
        )

    def init(x: Tensor) -> State:
        instance = instances.to(x.device)
        guess = field(x, instance)
        on = (guess != 0).any(1)
        return begin(x, instance, on, spatial_prior(guess, shape).sqrt(), torch.full_like(x[:, 0], math.inf), x)

    def probe(state: State, x: Tensor, q: int, generators: Generators) -> tuple[Tensor, State]:
        if q != 2:
            raise ValueError(f"num_directions must be 2, got {q}.")
        here, asked = asked_anew(state, x)
        move = state.move
        midway = (state.guess + here) / 2
        if not move.kept.all():
            midway = torch.where(move.kept.unsqueeze(1), midway, field(move.start + move.trial / 2, state.instance))
        state, at = believe(moved_on(state, midway, x)._replace(guess=here, asked=asked), x)
        if not wants(state).any():
            return x.new_zeros(len(x), q, x.shape[1]), state
        steepest = state.mean
        if known is not None:
            steepest = known.subgradient(x, state.mean, state.instance)
        elif infers:
            steepest = composite_term(state).subgradient(x, state.mean)
        first = -sharpen(steepest, p)
        elsewhere = np.flatnonzero((explores(state) | (steepest == 0).all(1)).cpu().numpy())
        if len(elsewhere):
            drawn = normal([generators[i] for i in elsewhere.tolist()], (1, x.shape[1]), like=x).squeeze(1)
            there, slopes, roots = take((at, state.belief.slopes, state.roots), elsewhere)
            unsure = unit(roots * times_covariance(there, slopes, roots * drawn))
            first = put(first, elsewhere, unsure)
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
        kappa, c = factors(state)
        residuals = residuals_of(state, kappa, c)
        state = state._replace(belief=first_amplitude(state.belief, residuals))
        noise = noise_of(state, variance)
        reach = torch.where(state.on, REACH, gaussian_process.REACH).to(x).unsqueeze(1)
        at = posterior(state.belief.slopes, state.roots * x, noise, mu, reach)
        weights = solve(at, residuals)
        rest = state.roots * combine(at.here, state.belief.slopes, weights)
        if not memory:
            rest = torch.where(state.on.unsqueeze(1), 0.0, rest)
        mean = torch.where((state.level > FLAT).unsqueeze(1), kappa * state.guess + rest, 0.0)
        amplitude = likely_amplitude(at, residuals, weights, noise)
        return state._replace(mean=mean, belief=state.belief._replace(amplitude=amplitude)), at

    def wants(state: State) -> Tensor:
        return (explores(state) | (state.clock >= ALONE)).long() + looks(state).long()

    def correct(state: State, x: Tensor, directions: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        if directions.shape[1]:
            intervals, changes = mu * directions, mu * estimate.slopes
            told = [changes[:, i] - priced(state, x, intervals[:, i]) for i in range(directions.shape[1])]
            random = torch.where(
                explores(state) & (state.level > FLAT), mixed(state.random, told[0] / mu), state.random
            )
            state = state._replace(random=random)
            for i, change in enumerate(told):
                valid = (state.level > FLAT) & (state.level + change > FLAT)
                state = remembered(state, state.guess, x, intervals[:, i], changes[:, i], valid)
            state, _ = believe(state, x)
        return state.mean, state

    def observe(state: State, step: Step) -> State:
        (change, before, end), state = optimality_gap(state, step, known)
        stays = torch.ones_like(state.on) if step.accepted is None else step.accepted
        state = state._replace(
            belief=heard(state.belief, step.reevaluation_difference),
            move=Move(step.iterate.x - step.move, step.proposed_step, change, (before > FLAT) & (end > FLAT), stays),
            level=torch.where(stays, end, before),
            debt=owed(state),
            stuck=(step.proposed_step == 0).all(1),
            clock=state.clock + 1,
        )
        return _gated(state, step) if gate else state

    def composite_term(state: State) -> RowTerm:
        return penalty_here(state.penalty, factors(state)[1].squeeze(1), state.on)

    def _gated(state: Guided, step: Step) -> Guided:
        useful = taken_up(state, step.estimate.slopes)
        changed = given_up(state) | useful
        if not changed.any():
            return state
        x = step.iterate.x
        start = x if state.penalty is None else state.penalty.centre
        roots = torch.where(useful.unsqueeze(1), spatial_prior(state.guess, shape).sqrt(), 1.0)
        return _chosen(changed, begin(x, state.instance, useful, roots, state.level, start), state)

    return GradientModel(
        init, probe, correct, observe, num_probes=wants, composite_term=composite_term if infers else None
    )


def _chosen(rows: Tensor, there: Guided, here: Guided) -> Guided:
    """`there` in these rows (B,) bool, `here` in the others."""
    pairs = zip(leaves(there), leaves(here), strict=True)
    merged: Guided = with_leaves(here, [torch.where(rows.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in pairs])
    return merged
