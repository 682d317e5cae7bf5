"""Update rules that need the estimate alone, sgd, sign, momentum, Adam and AdaMM, or f(x) besides: the Polyak step."""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.checks import check_number, check_positive


def _require_fraction(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}. Pass a decay factor such as 0.9.")


def sgd(learning_rate: float) -> UpdateRule:
    """Step to x' = x - eta g (Algorithm 1, line 4)."""
    eta = check_positive("learning_rate", learning_rate)
    return UpdateRule(init=lambda x: (), propose=lambda state, x, fx, estimate: (x - eta * estimate.gradient, state))


def sign(learning_rate: float) -> UpdateRule:
    """Step to x' = x - eta sign(g).

    Reference: Liu et al. (2019), "signSGD via zeroth-order oracle", ICLR.
    """
    eta = check_positive("learning_rate", learning_rate)
    return UpdateRule(
        init=lambda x: (), propose=lambda state, x, fx, estimate: (x - eta * estimate.gradient.sign(), state)
    )


def momentum(learning_rate: float, beta: float = 0.9) -> UpdateRule:
    """Step to x' = x - eta m' with m' = beta m + g (the heavy ball).

    Reference: Polyak (1964), "Some methods of speeding up the convergence of iteration methods".
    """
    eta = check_positive("learning_rate", learning_rate)
    _require_fraction("beta", beta)

    def propose(m: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        m = beta * m + estimate.gradient
        return x - eta * m, m

    return UpdateRule(torch.zeros_like, propose)


def adam(
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    *,
    amsgrad: bool = False,
) -> UpdateRule:
    """Step to x' = x - eta m_hat / (sqrt(v_hat) + eps), m_hat and v_hat the bias-corrected moments of g.

    m' = beta1 m + (1 - beta1) g; v' = beta2 v + (1 - beta2) g^2.

    Args:
        learning_rate: eta > 0, about the length of a step in each coordinate, in units of x.
        beta1: The decay of the first moment, in [0, 1).
        beta2: The decay of the second moment, in [0, 1).
        eps: The number added to the denominator, in units of g.
        amsgrad: Keep the largest v so far in the denominator, so that it never shrinks.

    Reference: Kingma and Ba (2015), "Adam: a method for stochastic optimization", ICLR, arXiv:1412.6980, Algorithm 1.
    """
    eta = check_positive("learning_rate", learning_rate)
    _require_fraction("beta1", beta1)
    _require_fraction("beta2", beta2)

    def init(x: Tensor) -> State:
        one = x.new_ones(len(x), 1)
        return torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x), one, one

    def propose(state: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        g = estimate.gradient
        m, v, v_max, power1, power2 = state
        # b^t as running products, (B, 1): torch.pow rounds differently from one batch size to another.
        power1, power2 = beta1 * power1, beta2 * power2
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g.square()
        v_max = torch.maximum(v_max, v) if amsgrad else v
        m_hat = m / (1 - power1)
        v_hat = v_max / (1 - power2)
        return x - eta * m_hat / (v_hat.sqrt() + eps), (m, v, v_max, power1, power2)

    return UpdateRule(init, propose)


def adamm(learning_rate: float, beta1: float = 0.9, beta2: float = 0.3, eps: float = 1e-8) -> UpdateRule:
    """Step as `adam` with the running maximum of v in the denominator.

    Deviation from the source: moments are bias-corrected as in Adam, so that the first steps have the length eta.

    Reference: Chen et al. (2019), "ZO-AdaMM: zeroth-order adaptive momentum method for black-box optimization",
    NeurIPS, arXiv:1910.06513, Algorithm 1.
    """
    return adam(learning_rate, beta1, beta2, eps, amsgrad=True)


def polyak(learning_rate: float, lower_bound: float = 0.0) -> UpdateRule:
    """Step to x' = x - s g / |g| with s = max(learning_rate, (f(x) - lower_bound) / slope along g / |g|).

    Far from the least value the length follows f, close to it the floor keeps x moving. With the true gradient of a
    convex f that attains the bound, no step leads away from a minimiser. An estimate that misses most of the gradient
    has too small a slope, and its steps are too long: this rule is for good directions, such as learned ones.

    Args:
        learning_rate: The floor > 0, a length in units of x.
        lower_bound: A lower bound of f, in units of f; 0 suits losses and norms.

    Deviation from the source: it has no floor.

    Reference: Polyak (1987), "Introduction to optimization", Optimization Software, section 5.3.
    """
    floor, least = check_positive("learning_rate", learning_rate), check_number("lower_bound", lower_bound)

    def propose(state: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        g, tiny = estimate.gradient, torch.finfo(x.dtype).tiny
        norm = torch.linalg.vector_norm(g, dim=1).clamp_min(tiny)
        slope = estimate.gain / norm
        length = torch.where(slope > tiny, (fx - least) / slope.clamp_min(tiny), 0.0).clamp_min(floor)
        return x - (length / norm).unsqueeze(1) * g, state

    return UpdateRule(lambda x: (), propose)
