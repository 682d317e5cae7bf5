"""Where a baseline begins, and what it may not leave."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.space import Box


class Start(NamedTuple):
    """Holds the start of a baseline."""

    x: Tensor
    """x0, (d,)."""
    box: Box | None
    """Bounds that no point may leave; None: there are none."""
    coarsest: torch.dtype
    """The floating dtype to which f's argument is rounded."""

    def inside(self, x: Tensor) -> Tensor:
        """Return the nearest point (d,) in the box."""
        return x if self.box is None else self.box.inside(x)
