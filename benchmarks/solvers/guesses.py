"""Make guesses of the gradient, trained or not, and the runs that follow them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.solvers.base import Run, Setup
from benchmarks.solvers.zeroth_order import black_box_gradient, run_built
from benchmarks.suites.policies import policy_folder
from zo_gym.agents.policies.bundle import Policy, load_policy, new_policy
from zo_gym.agents.policies.methods import follow, gradient_guess
from zo_gym.base import Method
from zo_gym.gradient_models.guided_gp import GradientGuess
from zo_gym.rng import make_generator

Follow = Callable[[GradientGuess, Setup], Method]
"""Makes the method that follows a guess of the gradient."""


def following(composite: bool = True, **options: Any) -> Follow:
    """Return what makes a Gaussian process behind the guess; options as of `zo_gym.agents.policies.methods.follow`."""

    def make(guess: GradientGuess, setup: Setup) -> Method:
        term = setup.problem.composite if composite else None
        return follow(guess, setup.problem.size, term, shape=setup.problem.shape, **options)

    return make


def policy_run(training: str, make: Follow, *, composite: bool = True) -> Run:
    """Return what runs the policy that was trained so for the setup's repeat."""

    def trained(setup: Setup) -> GradientGuess:
        return gradient_guess(_policy(setup, training), setup.problem.context)

    return guess_run(trained, make, composite=composite)


def guess_run(guess: Callable[[Setup], GradientGuess], make: Follow, *, composite: bool = True) -> Run:
    """Return what runs a guess."""
    return lambda setup: run_built(setup, make(guess(setup), setup), composite=composite)


def _policy(setup: Setup, training: str = "slopes") -> Policy:
    repeat = setup.task.repeat_of(setup.seeds)
    return load_policy(policy_folder(setup.task, setup.folder, training, repeat))


def untrained(setup: Setup) -> GradientGuess:
    """Return the guess of the policy's network with random weights."""
    policy = new_policy(_policy(setup).config, seed=1000 + setup.task.repeat_of(setup.seeds))
    return gradient_guess(policy, setup.problem.context)


def negated(setup: Setup) -> GradientGuess:
    """Return the negative of the policy's guess."""
    guess = gradient_guess(_policy(setup), setup.problem.context)
    return lambda x, instances: -guess(x, instances)


def template(setup: Setup) -> GradientGuess:
    """Return the mean true gradient of the training images of a class, at every x.

    It is a control that is given true gradients, not a learner.
    """
    problem = setup.task.problem("train")
    assert problem.context is not None
    assert setup.problem.context is not None
    gradient = black_box_gradient(problem)
    assert gradient is not None
    starts = problem.initial(torch.arange(problem.size), [make_generator(i) for i in range(problem.size)])
    slopes = gradient(starts, torch.arange(problem.size))
    means = torch.linalg.lstsq(problem.context, slopes).solution  # (classes, d), 0 for a class that is not there
    guesses = setup.problem.context @ means
    return lambda x, instances: guesses[instances].to(x)


def truth(setup: Setup) -> GradientGuess:
    """Return the true gradient of the black-box part, which is what a perfect policy would guess."""
    gradient = black_box_gradient(setup.problem)
    assert gradient is not None
    return gradient
