"""UpdateRNN: an update rule that was learned."""

from __future__ import annotations

from torch import Tensor

from zo_gym.base import Estimate, State, UpdateRule
from zo_gym.checks import check_positive
from zo_gym.meta.rnn import Weights, network_of, no_memory


def update_rnn(learning_rate: float = 1.0, weights: Weights = None) -> UpdateRule:
    """x' = x + eta RNN(g), coordinate by coordinate; the memory is zero at the start of every run.

    A network whose weights require gradients is differentiated through; a loaded one builds no graph. Memory: 20
    numbers per coordinate.

    Args:
        learning_rate: eta > 0, a factor on what was learned (the source has 1).
        weights: A trained optimizer, its file, or its update network. None: untrained, which is of no use but as the
            start of a training.

    Raises:
        FileNotFoundError, TypeError, ValueError: The weights are not there or not as described.

    Reference: Ruan et al. (2019), section 3.1.
    """
    eta = check_positive("learning_rate", learning_rate)
    network = network_of(weights, "update")

    def propose(memory: State, x: Tensor, fx: Tensor, estimate: Estimate) -> tuple[Tensor, State]:
        move, memory = network(estimate.gradient.unsqueeze(-1), memory)
        return x + eta * move, memory

    return UpdateRule(no_memory, propose)
