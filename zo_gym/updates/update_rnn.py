"""UpdateRNN: an update rule that a trained network computes."""

from __future__ import annotations

from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.checks import check_positive
from zo_gym.meta.rnn import Weights, network_of, no_memory


def update_rnn(learning_rate: float = 1.0, weights: Weights = None) -> UpdateRule:
    """Step to x' = x + eta RNN(g), coordinate by coordinate; the memory is zero at the start of every run.

    A network whose weights require gradients is differentiated through. The state holds 20 numbers per coordinate.

    Args:
        learning_rate: eta > 0, a factor of the network's output (the source has 1).
        weights: A trained optimizer, its file, or its update network. None: untrained, as a training starts.

    Raises:
        FileNotFoundError, TypeError, ValueError: The weights are not there or not as described.

    Reference: Ruan et al. (2019), "Learning to learn by zeroth-order oracle", arXiv:1910.09464, section 3.1.
    """
    eta = check_positive("learning_rate", learning_rate)
    network = network_of(weights, "update")

    def propose(memory: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        move, memory = network(estimate.gradient.unsqueeze(-1), memory)
        return x + eta * move, memory

    return UpdateRule(no_memory, propose)
