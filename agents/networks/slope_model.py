"""Models of grad f: given an observation s of x, h(s) such that f(x + mu u) - f(x) = mu h(s).u to first order.

Every two-point step measures one signed slope along its direction. A model is fitted to these slopes, not to rewards: a
reward is even in u and does not depend on the slope's sign. Both models have the same interface: `forward` predicts the
slope along u, and the value of f where the model has one; `gradient` computes h.
"""

from __future__ import annotations

from .potential import Potential
from .slope_field import SlopeField

SlopeModel = SlopeField | Potential


def slope_model(dim: int, observation_dim: int, shape: tuple[int, ...] | None) -> SlopeModel:
    """Make the model for these observations: a potential for an image with a class, else a field.

    Args:
        dim: d.
        observation_dim: n; where x is an image, what is beyond d is the one-hot class.
        shape: Shape of the image behind x, or None.
    """
    if shape is not None and len(shape) == 2 and observation_dim > dim:
        return Potential((shape[0], shape[1]), observation_dim - dim)
    return SlopeField(dim, observation_dim)
