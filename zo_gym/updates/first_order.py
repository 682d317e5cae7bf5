"""Update rules that know only the estimate: sgd, sign, momentum, Adam and AdaMM."""

from __future__ import annotations

import torch
from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.checks import check_positive


def _require_fraction(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}.")


def sgd(learning_rate: float) -> UpdateRule:
    """x' = x - eta g (Algorithm 1, line 4)."""
    eta = check_positive("learning_rate", learning_rate)
    return UpdateRule(init=lambda x: (), propose=lambda state, x, fx, estimate: (x - eta * estimate.gradient, state))


def sign(learning_rate: float) -> UpdateRule:
    """x' = x - eta sign(g). Reference: Liu et al. (2019), "signSGD via zeroth-order oracle"."""
    eta = check_positive("learning_rate", learning_rate)
    return UpdateRule(
        init=lambda x: (), propose=lambda state, x, fx, estimate: (x - eta * estimate.gradient.sign(), state)
    )


def momentum(learning_rate: float, beta: float = 0.9) -> UpdateRule:
    """m' = beta m + g; x' = x - eta m' (heavy ball, Polyak 1964)."""
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
    """m' = b1 m + (1 - b1) g; v' = b2 v + (1 - b2) g^2; x' = x - eta m_hat / (sqrt(v_hat) + eps), both bias-corrected.

    Args:
        learning_rate: eta.
        beta1: Decay of the first moment, in [0, 1).
        beta2: Decay of the second moment, in [0, 1).
        eps: Added to the denominator.
        amsgrad: Keep the largest v so far in the denominator, so that it never shrinks.

    Reference: Kingma and Ba (2015), Algorithm 1.
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
    """Adam with the running maximum of v. Reference: Chen et al. (2019), "ZO-AdaMM", Algorithm 1.

    Deviation: moments are bias-corrected as in Adam, so that the first steps have the length eta.
    """
    return adam(learning_rate, beta1, beta2, eps, amsgrad=True)
