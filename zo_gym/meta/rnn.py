"""The recurrent networks of ZO-LSTM: a small LSTM that every coordinate runs on its own, and a file that holds two.

All coordinates share the weights, so a network trained at one dimension works at any other; each has its own memory.
A coordinate is a row of the matrix products here, and a row has the same bits in every batch, as in
`zo_gym.batch_invariant`: operands are padded to whole cache lines and blocks of rows.

References: Ruan et al. (2019), "Learning to learn by zeroth-order oracle", arXiv:1910.09464, section 3; Andrychowicz et
al. (2016), "Learning to learn by gradient descent by gradient descent", NeurIPS, arXiv:1606.04474.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from zo_gym.batch_invariant import padded, padded_product
from zo_gym.files import write_atomically

HIDDEN = 10
"""The cells of the LSTM, as in the source."""
OUTPUT_SCALE = 0.1
"""The factor of the output layer when it is drawn: an untrained network moves, or scales, by little."""
FORMAT = 1
"""The version of the file's layout."""

_GATES = 4

Part = Literal["update", "query"]
INPUTS: dict[Part, int] = {"update": 1, "query": 2}
"""The numbers per coordinate that each network reads: g; the last g and the last move."""


class Memory(NamedTuple):
    """The state of each coordinate's LSTM."""

    hidden: Tensor
    """h, (B, d, 10)."""
    cell: Tensor
    """c, (B, d, 10)."""


def no_memory(x: Tensor) -> Memory:
    """Return the memory at the start: zeros for x (B, d), 20 numbers per coordinate, in its dtype and on its device."""
    zeros = x.new_zeros(*x.shape, HIDDEN)
    return Memory(zeros, zeros.clone())


class CoordinateLSTM(nn.Module):
    """An LSTM layer of 10 cells, then a linear layer 10 -> 1, both without bias: zero inputs leave a zero memory zero.

    i, f, o = sigmoid(z_i, z_f, z_o); c' = f c + i tanh(z_g); h' = o tanh(c'); output w . h', where z = [inputs, h] W.

    The weights are drawn as torch draws those of an LSTM and of a linear layer, U(-1, 1) / sqrt(10), in float64, the
    output's x 0.1; they are frozen until `requires_grad_()`.

    Args:
        inputs: The numbers per coordinate.
        generator: Draws the weights; on the CPU.
    """

    _halves: Tensor

    def __init__(self, inputs: int, generator: torch.Generator) -> None:
        super().__init__()

        def uniform(*shape: int) -> nn.Parameter:
            draw = torch.rand(*shape, generator=generator, dtype=torch.float64)
            return nn.Parameter((2 * draw - 1) / math.sqrt(HIDDEN), requires_grad=False)

        self.input_weight = uniform(inputs, _GATES * HIDDEN)
        self.hidden_weight = uniform(HIDDEN, _GATES * HIDDEN)
        self.output_weight = uniform(HIDDEN)
        self.output_weight.mul_(OUTPUT_SCALE)
        half, whole = torch.full((HIDDEN,), 0.5, dtype=torch.float64), torch.ones(HIDDEN, dtype=torch.float64)
        self.register_buffer("_halves", torch.cat([half, half, whole, half]), persistent=False)

    def forward(self, inputs: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Step every coordinate: inputs (B, d, k), memory -> outputs (B, d), memory, in the dtype of the inputs."""
        rows = torch.cat([inputs, memory.hidden], dim=-1).flatten(0, 1)  # (B d, k + 10)
        weight = torch.cat([self.input_weight, self.hidden_weight]) * self._halves  # (k + 10, 40)
        # sigmoid(z) = (1 + tanh(z / 2)) / 2: torch.sigmoid rounds otherwise in a vector's tail than in its body, and
        # the derivative of 1 / (1 + exp(-z)) overflows.
        product = padded_product(rows, padded(weight.to(rows))).view(*memory.hidden.shape[:2], -1)
        t = torch.tanh(product)  # (B, d, 40 and padding)
        enter, keep, candidate, leave = t[..., : _GATES * HIDDEN].chunk(_GATES, dim=-1)
        cell = ((1 + keep) * memory.cell + (1 + enter) * candidate) / 2
        hidden = (1 + leave) / 2 * torch.tanh(cell)
        return (hidden * self.output_weight.to(rows)).sum(-1), Memory(hidden, cell)


@dataclass(frozen=True)
class LSTMOptimizer:
    """The networks of ZO-LSTM, as meta-training returns them.

    Attributes:
        update: UpdateRNN computes the move from g.
        query: QueryRNN computes the scales of the directions from the last g and move; None before stage 2.
        record: Describes the training, as JSON: settings, data, queries, losses.
    """

    update: CoordinateLSTM
    query: CoordinateLSTM | None = None
    record: dict[str, Any] = field(default_factory=dict)


Weights = CoordinateLSTM | LSTMOptimizer | str | Path | None
"""A network, an optimizer, the file of one, or None for an untrained network."""


def network_of(weights: Weights, part: Part) -> CoordinateLSTM:
    """Return the network that `weights` holds for this part; None gives an untrained one, always the same.

    Raises:
        FileNotFoundError: There is no such file.
        TypeError, ValueError: It is none of `Weights`, or holds no network for this part.
    """
    if weights is None:
        return CoordinateLSTM(INPUTS[part], torch.Generator().manual_seed(0))
    if isinstance(weights, (str, Path)):
        weights = load_optimizer(weights)
    if isinstance(weights, LSTMOptimizer):
        found = weights.update if part == "update" else weights.query
        if found is None:
            raise ValueError("weights must hold a query network, got an optimizer without one. Train stage 2, too.")
        weights = found
    if not isinstance(weights, CoordinateLSTM):
        raise TypeError(
            f"weights must be a file, an LSTMOptimizer or a CoordinateLSTM, got {weights!r:.80}. "
            "Pass one that meta_train returned."
        )
    if len(weights.input_weight) != INPUTS[part]:
        raise ValueError(
            f"weights must read {INPUTS[part]} number(s) per coordinate for the {part} network, "
            f"got {len(weights.input_weight)}. Pass the other network, or the whole LSTMOptimizer."
        )
    return weights


def save_optimizer(optimizer: LSTMOptimizer, path: str | Path) -> None:
    """Write the networks and their record as one safetensors file, atomically."""
    networks = {"update": optimizer.update, "query": optimizer.query}
    weights = {
        f"{part}.{name}": value.detach().cpu().contiguous()
        for part, network in networks.items()
        if network is not None
        for name, value in network.state_dict().items()
    }
    metadata = {"zo_lstm": json.dumps({"format": FORMAT, "record": optimizer.record})}
    write_atomically(Path(path), lambda temporary: save_file(weights, temporary, metadata=metadata))


def load_optimizer(path: str | Path) -> LSTMOptimizer:
    """Load the optimizer that `save_optimizer` wrote, frozen. Runs no code from the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, of another version or something else.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"No weights in {file}. Train some: python -m zo_gym.meta.train --out {file}")
    try:
        with safe_open(file, framework="pt") as opened:
            header = json.loads((opened.metadata() or {}).get("zo_lstm", "{}"))
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if header.get("format") != FORMAT:
            raise ValueError(f"its format must be {FORMAT}, got {header.get('format')}")
        update, query = _network("update", weights), _network("query", weights)
        if update is None:
            raise ValueError("it holds no update network")
        return LSTMOptimizer(update, query, dict(header["record"]))
    except (SafetensorError, RuntimeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as weights of ZO-LSTM: {error}. Save or download it again.") from error


def _network(part: Part, weights: dict[str, Tensor]) -> CoordinateLSTM | None:
    """Return the network whose tensors are named "<part>.<name>", or None where there are none."""
    own = {name.removeprefix(f"{part}."): value for name, value in weights.items() if name.startswith(f"{part}.")}
    if not own:
        return None
    if not all(bool(torch.isfinite(value).all()) for value in own.values()):
        raise ValueError(f"the {part} network's weights must be finite")
    network = network_of(None, part)
    network.load_state_dict(own)  # checks names and shapes
    return network
