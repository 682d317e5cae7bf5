"""A gradient model behind a learned guess: a Gaussian process corrects what the run's slopes show to be wrong with it.

    grad f(x) = kappa h(x) + r(x)

h is the guess, and kappa, fitted to the stored slopes y_i = v_i . grad f(z_i), corrects its length and sign. The
residual r is modelled as a Gaussian process as in `zo_gym.gradient_models.gp_posterior`, with prior variance a w_j
in coordinate j: w is large where the guess is large, since f can change there, and not only along the guess. That is
the isotropic process in the coordinates sqrt(w) x.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import Estimate, GradientModel, Step
from zo_gym.composite.l1_penalty_estimate import L1PenaltyEstimate, no_estimate
from zo_gym.composite.term import CompositeTerm
from zo_gym.directions import sharpen, unit
from zo_gym.gradient_models.gp_posterior import add_reevaluation, times_covariance
from zo_gym.gradient_models.guided_fit import (
    add_move,
    estimated_term,
    penalty_change,
    predict,
    spatial_prior,
    update_mean_square,
)
from zo_gym.gradient_models.guided_settings import GuidedGPSettings
from zo_gym.gradient_models.guided_state import GuidedState, Measurement, add_guided_slope, begin, optimality_gap
from zo_gym.gradient_models.probe_schedule import (
    count_probes,
    drops_guess,
    probes_uncertain,
    takes_up_guess,
    update_credit,
)
from zo_gym.problem import Generators
from zo_gym.rng import normal
from zo_gym.tree import leaves, put, take, with_leaves

GradientGuess = Callable[[Tensor, Tensor], Tensor]
"""x (b, d), instance of each row int64 (b,) -> h (b, d), a guess of the gradient of f, or of its black-box part."""

DEFAULT = GuidedGPSettings()


@dataclass(frozen=True)
class _Guided:
    """The parts that stay the same during a run: the guess, the composite term taken exactly, and the settings."""

    guess: GradientGuess
    term: CompositeTerm | None
    settings: GuidedGPSettings

    @property
    def estimates_penalty(self) -> bool:
        """Return whether the run estimates a penalty; it does not where a composite term is declared."""
        return self.settings.estimate_penalty and self.term is None

    def no_estimate(self, start: Tensor) -> L1PenaltyEstimate | None:
        """Return the penalty estimate of rows that began at start (B, d), before any move; None without estimates."""
        return no_estimate(start, self.settings.num_slopes) if self.estimates_penalty else None


def guided_gp(
    guess: GradientGuess,
    instances: Tensor,
    term: CompositeTerm | None = None,
    settings: GuidedGPSettings = DEFAULT,
) -> GradientModel:
    """Predict g = kappa h + E[r | slopes], after the step's probe if it has one; at first moves are its only slopes.

    A move measures the slope along itself, so the first steps probe nothing and cost one query each, f where they lead.
    From the 26th on, when moves have to be accurate, a step first probes along the steepest feasible slope of the
    prediction. At least one step in ten probes where the model is most uncertain instead; more do where such slopes
    show that the prediction lacks much of |grad f|^2, up to the share min(1, r / d) of the space that the stored slopes
    can span; and so does a step after one that did not move. Where kappa h explains too small a share of the slopes
    along moves, the row drops the guess and the slopes stored under it, and goes on as with the model `gp`, which
    probes at every step; one step in ten also probes along h, which is taken up again where that slope is steep.

    Needs the estimator `span` and num_directions = 2 (else the first step raises ValueError): a step uses none, 1 to
    probe, or 2 to probe the guess as well.

    Args:
        guess: Computes h. Costs no queries.
        instances: The instance that each row faces, int64 (B,); zeros for a problem of size 1.
        term: The composite term, where the run takes it exactly; guess and prediction are then of the black-box part.
        settings: The numbers.
    """
    guided = _Guided(guess, term, settings)
    return GradientModel(
        init=partial(_init, guided, instances),
        probe=partial(_probe, guided),
        correct=partial(_correct, guided),
        observe=partial(_observe, guided),
        num_probes=partial(count_probes, settings),
        composite_term=partial(estimated_term, settings) if guided.estimates_penalty else None,
    )


def _init(guided: _Guided, instances: Tensor, x: Tensor) -> GuidedState:
    instance = instances.to(x.device)
    guess = guided.guess(x, instance)
    roots = spatial_prior(guided.settings, guess).sqrt()
    gap = torch.full_like(x[:, 0], math.inf)
    return begin(x, instance, (guess != 0).any(1), roots, gap, guided.settings.num_slopes, guided.no_estimate(x))


def _probe(
    guided: _Guided, state: GuidedState, x: Tensor, q: int, generators: Generators
) -> tuple[Tensor, GuidedState]:
    if q != 2:
        raise ValueError(f"num_directions must be 2 for a guided Gaussian process, got {q}. Pass num_directions=2.")
    settings, term = guided.settings, guided.term
    here, guessed_at = _refresh_guess(guided, state, x)
    move = state.move
    midway = (state.guess + here) / 2
    if not state.accepted.all():
        middle = guided.guess(move.start + move.interval / 2, state.instance)
        midway = torch.where(state.accepted.unsqueeze(1), midway, middle)
    state = add_move(settings, state, midway, x)._replace(guess=here, guessed_at=guessed_at)
    state, at = predict(settings, state, x)
    if not count_probes(settings, state).any():
        return x.new_zeros(len(x), q, x.shape[1]), state
    steepest = state.mean
    if term is not None:
        steepest = term.subgradient(x, state.mean, state.instance)
    elif guided.estimates_penalty:
        steepest = estimated_term(settings, state).subgradient(x, state.mean)
    first = -sharpen(steepest, settings.sharpness)
    uncertain = np.flatnonzero((probes_uncertain(settings, state) | (steepest == 0).all(1)).cpu().numpy())
    if len(uncertain):
        z = normal([generators[i] for i in uncertain.tolist()], (1, x.shape[1]), like=x).squeeze(1)
        there, window, roots = take((at, state.process.window, state.root_weights), uncertain)
        first = put(first, uncertain, unit(roots * times_covariance(there, window, roots * z)))
    return torch.stack([first, unit(here)], dim=1), state


def _refresh_guess(guided: _Guided, state: GuidedState, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return h, computed anew in the rows that have moved far enough, and where it was computed, (B, d) each."""
    far = torch.linalg.vector_norm(x - state.guessed_at, dim=1) > guided.settings.refresh_distance
    if far.all():
        return guided.guess(x, state.instance), x
    guess, guessed_at = state.guess, state.guessed_at
    if far.any():
        rows = far.nonzero().squeeze(1)
        guess = guess.index_copy(0, rows, guided.guess(x[rows], state.instance[rows]))
        guessed_at = guessed_at.index_copy(0, rows, x[rows])
    return guess, guessed_at


def _correct(
    guided: _Guided, state: GuidedState, x: Tensor, directions: Tensor, estimate: Estimate
) -> tuple[Tensor, GuidedState]:
    q = directions.shape[1]
    if not q:
        return state.mean, state
    settings = guided.settings
    intervals, changes = settings.smoothing * directions, settings.smoothing * estimate.slopes
    # without the penalty, and before the first of these slopes changes its estimate
    plain = [changes[:, i] - penalty_change(settings, state, x, intervals[:, i]) for i in range(q)]
    mean = update_mean_square(settings, state.random_square, plain[0] / settings.smoothing)
    random = probes_uncertain(settings, state) & (state.gap > settings.flat)
    state = state._replace(random_square=torch.where(random, mean, state.random_square))
    for i, change in enumerate(plain):
        valid = (state.gap > settings.flat) & (state.gap + change > settings.flat)
        state = add_guided_slope(state, state.guess, Measurement(x, intervals[:, i], changes[:, i], valid))
    state, _ = predict(settings, state, x)
    return state.mean, state


def _observe(guided: _Guided, state: GuidedState, step: Step) -> GuidedState:
    flat = guided.settings.flat
    change, before, end, state = optimality_gap(state, step, guided.term)
    accepted = torch.ones_like(state.in_use) if step.accepted is None else step.accepted
    start, steep = step.iterate.x - step.move, (before > flat) & (end > flat)
    state = state._replace(
        process=add_reevaluation(state.process, step.reevaluation_difference),
        move=Measurement(start, step.proposed_step, change, steep),
        accepted=accepted,
        gap=torch.where(accepted, end, before),
        probing_credit=update_credit(guided.settings, state),
        stalled=(step.proposed_step == 0).all(1),
        clock=state.clock + 1,
    )
    return _switch_guess(guided, state, step) if guided.settings.gate else state


def _switch_guess(guided: _Guided, state: GuidedState, step: Step) -> GuidedState:
    """Let rows drop their guess or take it up again; these start anew at the current x, without any slope."""
    settings = guided.settings
    useful = takes_up_guess(settings, state, step.estimate.slopes)
    changed = drops_guess(settings, state) | useful
    if not changed.any():
        return state
    x = step.iterate.x
    start = x if state.penalty is None else state.penalty.centre
    roots = torch.where(useful.unsqueeze(1), spatial_prior(settings, state.guess).sqrt(), 1.0)
    fresh = begin(x, state.instance, useful, roots, state.gap, settings.num_slopes, guided.no_estimate(start))
    pairs = zip(leaves(fresh), leaves(state), strict=True)
    chosen = [torch.where(changed.view(-1, *[1] * (new.dim() - 1)), new, old) for new, old in pairs]
    merged: GuidedState = with_leaves(state, chosen)
    return merged
