"""QueryRNN: a trained network scales the directions, coordinate by coordinate."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.base import Sampler, State, Step
from zo_gym.meta.rnn import Memory, Weights, network_of, no_memory
from zo_gym.problem import Generators
from zo_gym.rng import normal


class QueryState(NamedTuple):
    """The network's memory and its last output."""

    memory: Memory
    """The memory of every coordinate."""
    signal: Tensor
    """s, the network's output for the next step, (B, d); 0 at the start, where every scale is 1."""


def query_rnn(weights: Weights = None, probability: float = 0.5) -> Sampler:
    """Draw u = |sigma| z, z ~ N(0, I), with sigma = (s + 1) sqrt(d) / |s + 1| and s = RNN(last g, last move).

    E|u|^2 = d as for every sampler here. The network advances in `observe`, so that the scales of the next step are
    known before it is sampled: `scale`.

    A network whose weights require gradients is differentiated through. The state holds 21 numbers per coordinate.

    Args:
        weights: A trained optimizer, its file, or its query network. None: untrained, which is all but isotropic.
        probability: The probability, in [0, 1], that a row uses the learned scales in a step; else its directions are
            N(0, I). The source uses 1 in training and 0.5 thereafter.

    Raises:
        FileNotFoundError, TypeError, ValueError: An argument is not as described.

    Reference: Ruan et al. (2019), "Learning to learn by zeroth-order oracle", arXiv:1910.09464, section 3.2.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must be in [0, 1], got {probability}. The source uses 0.5.")
    network = network_of(weights, "query")

    def init(x: Tensor) -> State:
        return QueryState(no_memory(x), torch.zeros_like(x))

    def sample(state: State, x: Tensor, q: int, generators: Generators) -> tuple[Tensor, State]:
        z = normal(generators, (q, x.shape[1]), like=x)
        coins = [torch.rand((), generator=g, device=g.device) < probability for g in generators]  # in [0, 1)
        scales = torch.where(torch.stack(coins).unsqueeze(1), _scale(state, x), 1.0)  # (B, d)
        return scales.unsqueeze(1) * z, state

    def observe(state: State, step: Step) -> State:
        signal, memory = network(torch.stack([step.estimate.gradient, step.move], dim=-1), state.memory)
        return QueryState(memory, signal)

    return Sampler(init, sample, observe, _scale)


def _scale(state: State, x: Tensor) -> Tensor:
    """Return |sigma|, (B, d)."""
    stretched = state.signal + 1
    length = torch.linalg.vector_norm(stretched, dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    return math.sqrt(x.shape[1]) * stretched.abs() / length
