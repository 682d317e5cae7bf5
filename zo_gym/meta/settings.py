"""The settings of the training of ZO-LSTM."""

from __future__ import annotations

from dataclasses import dataclass, fields

from zo_gym.checks import check_at_least, check_flag, check_integer, check_positive


@dataclass(frozen=True)
class MetaTraining:
    """The settings of a training; the defaults are the source's, except `smoothing` (there 1e-6) and `validation_rows`.

    Attributes:
        directions: q, the directions per step.
        smoothing: mu, in units of x.
        steps: The steps of an unrolled run.
        window: The steps that are differentiated through at once (truncated back-propagation through time).
        unrolls: The unrolled runs per epoch.
        rows: The instances that are unrolled side by side; their losses are averaged.
        update_epochs: The epochs of stage 1.
        query_epochs: The epochs of stage 2; 0 trains no QueryRNN.
        update_learning_rate: The learning rate of Adam in stage 1.
        query_learning_rate: The learning rate of Adam in stage 2.
        penalty: The weight of the sum of the squares of QueryRNN's outputs in the loss, per step.
        clip: The largest size of an entry of the networks' gradients.
        validation_rows: The runs that the networks are judged by after an epoch.
        patience: The epochs without a lower validation loss after which a stage ends early; 0: never (the source's).
        black_box: Measure gradients, 2 d queries a step and row, instead of asking the problem for them.

    Raises:
        TypeError, ValueError: A number is not as described.
    """

    directions: int = 20
    smoothing: float = 0.01
    steps: int = 200
    window: int = 20
    unrolls: int = 10
    rows: int = 1
    update_epochs: int = 20
    query_epochs: int = 40
    update_learning_rate: float = 1e-3
    query_learning_rate: float = 5e-3
    penalty: float = 0.005
    clip: float = 1.0
    validation_rows: int = 10
    patience: int = 0
    black_box: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        for item in fields(self):
            value = getattr(self, item.name)
            if item.type == "bool":
                check_flag(item.name, value)
            elif item.type == "int":
                check_integer(item.name, value, 0 if item.name.endswith(("_epochs", "patience")) else 1)
            elif item.name == "penalty":
                check_at_least(item.name, value, 0.0)
            else:
                check_positive(item.name, value)
