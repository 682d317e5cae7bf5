"""The networks of ZO-LSTM, the sampler and the update rule made of them, and their file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from steps import estimate_of, step_of
from torch import Tensor

from zo_gym.meta.rnn import (
    HIDDEN,
    CoordinateLSTM,
    LSTMOptimizer,
    Memory,
    load_optimizer,
    no_memory,
    save_optimizer,
)
from zo_gym.methods import build
from zo_gym.minimize import minimize
from zo_gym.optimizer import Optimizer
from zo_gym.problem import Generators
from zo_gym.rng import make_generator
from zo_gym.samplers import gaussian, query_rnn
from zo_gym.samplers.query_rnn import QueryState
from zo_gym.updates import update_rnn

B, D, N = 3, 5, 20_000


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=make_generator(seed), dtype=dtype)


def network(inputs: int, seed: int = 1, strength: float = 20.0) -> CoordinateLSTM:
    """Return random weights; an output layer of a trained network's size, so that its output matters."""
    made = CoordinateLSTM(inputs, make_generator(seed))
    made.output_weight.mul_(strength)
    return made


def optimizer(record: dict[str, Any] | None = None) -> LSTMOptimizer:
    return LSTMOptimizer(network(1), network(2, seed=2), record or {})


def by_the_book(lstm: CoordinateLSTM, inputs: np.ndarray, h: np.ndarray, c: np.ndarray) -> Any:
    """Step one coordinate (k,), its h (10,) and c (10,), number by number."""
    wx, wh, w = (p.detach().numpy() for p in (lstm.input_weight, lstm.hidden_weight, lstm.output_weight))
    z = [sum(x * wx[a, j] for a, x in enumerate(inputs)) + sum(h[a] * wh[a, j] for a in range(10)) for j in range(40)]
    i, f, o = ([1 / (1 + math.exp(-t)) for t in z[at : at + 10]] for at in (0, 10, 30))
    g = [math.tanh(t) for t in z[20:30]]
    c = np.array([f[j] * c[j] + i[j] * g[j] for j in range(10)])
    h = np.array([o[j] * math.tanh(c[j]) for j in range(10)])
    return sum(w[j] * h[j] for j in range(10)), h, c


# The network


@pytest.mark.parametrize("k", [1, 2])
def test_lstm_is_the_lstm_of_the_book_for_every_coordinate(k: int) -> None:
    """Three steps; sums of 12 terms of size ~ 1 in another order: 1e-13 is a thousand roundings."""
    lstm, memory = network(k), no_memory(randn(B, D))
    inputs = randn(3, B, D, k)
    outputs = []
    for step in inputs:
        output, memory = lstm(step, memory)
        outputs.append(output)
    for b in range(B):
        for i in range(D):
            h, c = np.zeros(HIDDEN), np.zeros(HIDDEN)
            for t in range(3):
                expected, h, c = by_the_book(lstm, inputs[t, b, i].numpy(), h, c)
                assert outputs[t][b, i].item() == pytest.approx(expected, rel=0, abs=1e-13)
            np.testing.assert_allclose(memory.hidden[b, i], h, rtol=0, atol=1e-13)
            np.testing.assert_allclose(memory.cell[b, i], c, rtol=0, atol=1e-13)


def test_lstm_agrees_with_torchs_cell() -> None:
    """The weights mean what they mean to torch.lstm_cell, so they can be taken to and from other programs."""
    lstm, x = network(2), randn(D, 2)
    h, c = randn(D, HIDDEN, seed=1), randn(D, HIDDEN, seed=2)
    h_new, c_new = torch.lstm_cell(x, (h, c), lstm.input_weight.T, lstm.hidden_weight.T)
    _, memory = lstm(x[None], Memory(h[None], c[None]))
    torch.testing.assert_close(memory, Memory(h_new[None], c_new[None]), rtol=0, atol=1e-13)


def test_zeros_say_zero_and_are_not_remembered() -> None:
    """No biases: so the first step, with nothing observed, is isotropic, and where g = 0 nothing moves."""
    output, memory = network(2)(torch.zeros(B, D, 2, dtype=torch.float64), no_memory(randn(B, D)))
    assert not output.any()
    assert not memory.hidden.any()
    assert not memory.cell.any()


def test_fresh_weights_are_uniform_with_a_small_output_layer_and_frozen() -> None:
    """Of 400 uniform draws on [-a, a] the largest exceeds 0.97 a with chance 1 - 0.97^400 > 0.99999."""
    lstm, bound = CoordinateLSTM(1, make_generator(0)), 1 / math.sqrt(10)
    assert 0.97 * bound < lstm.hidden_weight.abs().max().item() <= bound
    assert lstm.input_weight.shape == (1, 40)
    assert lstm.output_weight.abs().max().item() <= 0.1 * bound
    assert not any(weight.requires_grad for weight in lstm.parameters())
    assert sum(weight.numel() for weight in lstm.parameters()) == 40 + 400 + 10


def test_weights_come_from_the_generator_and_not_from_global_randomness() -> None:
    before = torch.get_rng_state()
    first, again, other = (CoordinateLSTM(2, make_generator(seed)).hidden_weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_coordinates_share_weights_and_nothing_else() -> None:
    """Of a longer vector, each coordinate does what it would do alone. Bit for bit."""
    lstm, inputs = network(2), randn(1, 50, 2)
    memory = Memory(randn(1, 50, HIDDEN, seed=1), randn(1, 50, HIDDEN, seed=2))
    together, _ = lstm(inputs, memory)
    for i in range(50):
        one = slice(i, i + 1)
        alone, _ = lstm(inputs[:, one], Memory(memory.hidden[:, one], memory.cell[:, one]))
        assert torch.equal(alone, together[:, one])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_derivative_survives_inputs_that_saturate_every_cell(dtype: torch.dtype) -> None:
    """z ~ 1e5: its exponential overflows in both types."""
    lstm, inputs = network(1).requires_grad_(True), 1e6 * randn(B, D, 1, dtype=dtype)
    output, memory = lstm(inputs, no_memory(inputs[..., 0]))
    again, _ = lstm(-inputs, memory)
    (output + again).sum().backward()
    assert bool(output.isfinite().all())
    assert all(bool(weight.grad.isfinite().all()) for weight in lstm.parameters() if weight.grad is not None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("d", [1, 2, 3, 7, 33, 784])
@pytest.mark.parametrize("b", [1, 2, 5, 8])
def test_a_row_does_not_depend_on_its_companions(dtype: torch.dtype, d: int, b: int) -> None:
    """Bit for bit, memory and all."""
    lstm, inputs = network(2), randn(b, d, 2, dtype=dtype)
    memory = Memory(randn(b, d, HIDDEN, seed=1, dtype=dtype), randn(b, d, HIDDEN, seed=2, dtype=dtype))
    output, (hidden, cell) = lstm(inputs, memory)
    assert output.dtype == hidden.dtype == cell.dtype == dtype
    for row in range(b):
        one = slice(row, row + 1)
        alone, left = lstm(inputs[one], Memory(memory.hidden[one], memory.cell[one]))
        assert torch.equal(alone, output[one])
        assert torch.equal(left.hidden, hidden[one])
        assert torch.equal(left.cell, cell[one])


# UpdateRNN


def test_update_moves_by_the_network_output_times_eta() -> None:
    lstm, x, gradients = network(1), randn(B, D), randn(3, B, D, seed=1)
    rule = update_rnn(0.5, lstm)
    state, memory, at = rule.init(x), no_memory(x), x
    for g in gradients:
        output, memory = lstm(g[..., None], memory)
        at, state = rule.propose(state, at, at[:, 0], estimate_of(g))
        torch.testing.assert_close(at, x + 0.5 * output, rtol=0, atol=0)
        x = at
    assert state.cell.any()


def test_update_without_weights_is_always_the_same_untrained_network() -> None:
    x, g = randn(B, D), randn(B, D, seed=1)
    first, again = (update_rnn().propose(no_memory(x), x, x[:, 0], estimate_of(g))[0] for _ in range(2))
    assert torch.equal(first, again)
    assert 0 < (first - x).abs().max().item() <= 0.1 * math.sqrt(10)  # 10 cells of size < 1, weights <= 0.1 / sqrt(10)


@pytest.mark.parametrize("trainable", [False, True])
def test_graphs_are_built_for_trainable_networks_only(trainable: bool) -> None:
    update, query = network(1).requires_grad_(trainable), network(2).requires_grad_(trainable)
    x, g = randn(B, D), randn(B, D, seed=1)
    rule, sampler = update_rnn(weights=update), query_rnn(query, 1.0)
    x_new, memory = rule.propose(rule.init(x), x, x[:, 0], estimate_of(g))
    state = sampler.observe(sampler.init(x), step_of(g, g))
    u, _ = sampler.sample(state, x, 2, [make_generator(i) for i in range(B)])
    assert [t.requires_grad for t in (x_new, memory.cell, state.signal, u)] == [trainable] * 4


# QueryRNN


def generators(rows: int = B) -> Generators:
    return [make_generator(seed) for seed in range(rows)]


def state_with(signal: Tensor) -> QueryState:
    """Return a state whose network's last output is s = `signal` (B, d)."""
    return QueryState(no_memory(signal), signal)


def test_scale_is_the_formula_of_the_source() -> None:
    """|sigma| with sigma = (s + 1) sqrt(d) / |s + 1|; s = (0, -1, 1, -3) gives (1, 0, 2, 2) * 2 / 3."""
    signal = torch.tensor([[0.0, -1.0, 1.0, -3.0]], dtype=torch.float64)
    sampler = query_rnn()
    assert sampler.scale is not None
    expected = torch.tensor([[1.0, 0.0, 2.0, 2.0]], dtype=torch.float64) * 2 / 3
    torch.testing.assert_close(sampler.scale(state_with(signal), signal), expected, rtol=1e-14, atol=0)


def test_scales_are_one_before_anything_is_observed() -> None:
    sampler, x = query_rnn(network(2)), randn(B, D)
    assert sampler.scale is not None
    torch.testing.assert_close(sampler.scale(sampler.init(x), x), torch.ones_like(x), rtol=1e-14, atol=0)


def test_network_reads_the_last_estimate_and_the_last_move() -> None:
    lstm, x, memory = network(2), randn(B, D), no_memory(randn(B, D))
    sampler = query_rnn(lstm)
    state = sampler.init(x)
    for seed in (1, 3):
        g, move = randn(B, D, seed=seed), randn(B, D, seed=seed + 1)
        state = sampler.observe(state, step_of(g, move))
        output, memory = lstm(torch.stack([g, move], dim=2), memory)
        assert torch.equal(state.signal, output)


def test_sampling_does_not_advance_the_network() -> None:
    """So a policy that draws inside the scales, and a sampler that draws by them, see the same ones."""
    sampler, state = query_rnn(network(2)), state_with(randn(B, D))
    _, after = sampler.sample(state, randn(B, D), 2, generators())
    assert after is state


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_coordinates_have_the_standard_deviations_that_scale_predicts(probability: float) -> None:
    """Mixed with N(0, 1): variance p sigma^2 + 1 - p, within 5 standard errors of the mean square."""
    signal = randn(1, D)
    sampler, x = query_rnn(probability=probability), torch.zeros(N, D, dtype=torch.float64)
    assert sampler.scale is not None
    u, _ = sampler.sample(state_with(signal.expand(N, D)), x, 1, [make_generator(0)] * N)
    squares = u[:, 0].square()  # (N, d)
    expected = probability * sampler.scale(state_with(signal), signal).square() + 1 - probability
    error = squares.std(0) / math.sqrt(N)
    assert bool(((squares.mean(0) - expected).abs() <= 5 * error).all())


def test_coin_is_tossed_for_every_row_and_step_by_its_own_generator() -> None:
    """All q directions of a step share the coin: coordinate 0 is 0 where the scales rule, and never else."""
    signal = torch.tensor([[-1.0, 0.0]], dtype=torch.float64)
    sampler, rows, steps = query_rnn(probability=0.5), 40, 50
    x, sources = torch.zeros(rows, 2, dtype=torch.float64), generators(rows)
    ruled = []
    for _ in range(steps):
        u, _ = sampler.sample(state_with(signal.expand(rows, 2)), x, 3, sources)
        zero = u[..., 0] == 0  # (rows, q)
        assert bool((zero.all(1) | ~zero.any(1)).all())
        ruled.append(zero[:, 0])
    tosses = torch.stack(ruled).double()  # (steps, rows)
    assert abs(tosses.mean().item() - 0.5) < 5 * 0.5 / math.sqrt(rows * steps)
    assert bool(((tosses.mean(0) > 0) & (tosses.mean(0) < 1)).all())  # a row of 50 equal tosses: chance 2^-49


def test_without_the_scales_directions_are_those_of_gaussian() -> None:
    x = randn(B, D)
    u, _ = query_rnn(probability=0.0).sample(state_with(randn(B, D, seed=1)), x, 4, generators())
    assert torch.equal(u, gaussian().sample((), x, 4, generators())[0])


@pytest.mark.parametrize("probability", [-0.1, 1.1, math.nan])
def test_probability_must_be_in_the_unit_interval(probability: float) -> None:
    with pytest.raises(ValueError, match=r"probability must be in \[0, 1\], got"):
        query_rnn(probability=probability)


# The file


def test_file_gives_back_the_same_networks_and_record(tmp_path: Path) -> None:
    saved, file = optimizer({"seed": 3, "settings": {"steps": 2}}), tmp_path / "new" / "lstm.safetensors"
    save_optimizer(saved, file)
    loaded = load_optimizer(str(file))
    assert loaded.record == saved.record
    assert loaded.query is not None
    for ours, theirs in ((loaded.update, saved.update), (loaded.query, saved.query)):
        assert theirs is not None
        for name, weight in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], weight)
    assert not any(weight.requires_grad for weight in [*loaded.update.parameters(), *loaded.query.parameters()])


def test_file_may_hold_the_update_network_alone(tmp_path: Path) -> None:
    save_optimizer(LSTMOptimizer(network(1)), tmp_path / "w")
    assert load_optimizer(tmp_path / "w").query is None
    update_rnn(weights=tmp_path / "w")
    with pytest.raises(ValueError, match=r"weights must hold a query network.*Train stage 2"):
        query_rnn(tmp_path / "w")


def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No weights in .*python -m zo_gym\.meta\.train"):
        load_optimizer(tmp_path / "none")


def header(**changes: Any) -> dict[str, str]:
    return {"zo_lstm": json.dumps({"format": 1, "record": {}, **changes})}


@pytest.mark.parametrize(
    ("changes", "metadata", "complaint"),
    [
        ({}, None, "format must be 1, got None"),
        ({}, header(format=9), "format must be 1, got 9"),
        ({}, {"zo_lstm": "{"}, "Expecting"),
        ({}, {"zo_lstm": "[]"}, "'list' object"),
        ({}, header(record=3), "'int' object"),
        ({"update.output_weight": torch.zeros(3)}, header(), "size mismatch"),
        ({"update.output_weight": torch.full((10,), math.nan)}, header(), "update network's weights must be finite"),
        ({"update.other": torch.zeros(1)}, header(), "Unexpected key"),
        ({"query.output_weight": torch.zeros(10)}, header(), "Missing key"),
    ],
)
def test_file_of_something_else_is_refused(
    tmp_path: Path, changes: dict[str, Tensor], metadata: dict[str, str] | None, complaint: str
) -> None:
    weights = {f"update.{name}": value for name, value in network(1).state_dict().items()}
    save_file({**weights, **changes}, tmp_path / "w", metadata=metadata)
    with pytest.raises(ValueError, match="cannot be read as weights of ZO-LSTM") as caught:
        load_optimizer(tmp_path / "w")
    assert complaint in str(caught.value)


def test_file_without_an_update_network_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "w", metadata=header())
    with pytest.raises(ValueError, match="it holds no update network"):
        load_optimizer(tmp_path / "w")


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    save_optimizer(optimizer(), tmp_path / "w")
    content = (tmp_path / "w").read_bytes()
    (tmp_path / "w").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cannot be read as weights of ZO-LSTM"):
        load_optimizer(tmp_path / "w")


@pytest.mark.parametrize(
    ("weights", "error", "complaint"),
    [
        (network(2), ValueError, r"must read 1 number\(s\) per coordinate for the update network, got 2"),
        (3, TypeError, "weights must be a file, an LSTMOptimizer or a CoordinateLSTM, got 3"),
    ],
)
def test_weights_of_another_kind_are_refused(weights: Any, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        update_rnn(weights=weights)


# The method


@pytest.mark.parametrize("form", ["object", "path", "str"])
def test_zo_lstm_runs_with_weights_in_any_form(tmp_path: Path, form: str) -> None:
    made, file = optimizer(), tmp_path / "w"
    save_optimizer(made, file)
    weights = {"object": made, "path": file, "str": str(file)}[form]
    result = minimize(lambda x: float(x @ x), np.ones(4), method="zo-lstm", weights=weights, budget=64, seed=0)
    assert (result.nfev, result.nit) == (64, 3)  # 1 at the start, 20 + 1 a step
    expected = minimize(lambda x: float(x @ x), np.ones(4), method="zo-lstm", weights=made, budget=64, seed=0)
    assert np.array_equal(result.trace.fun, expected.trace.fun)


def test_every_part_of_the_weights_matters() -> None:
    """Other weights, another run; and each part alone makes a difference."""
    ours, other = optimizer(), LSTMOptimizer(network(1, seed=5), network(2, seed=6))
    swapped = LSTMOptimizer(ours.update, other.query)

    def run(weights: LSTMOptimizer) -> list[float]:
        # The first step knows no history and so has no scales; 19 coins leave them out with chance 2^-19.
        result = minimize(lambda x: float(x @ x), np.ones(4), method="zo-lstm", weights=weights, budget=421, seed=0)
        values: list[float] = result.trace.fun.tolist()
        return values

    assert run(ours) != run(other)
    assert run(ours) != run(swapped)


def test_learning_rate_scales_what_was_learned() -> None:
    x, g = torch.zeros(1, D, dtype=torch.float64), randn(1, D)
    half, whole = (build("zo-lstm", D, weights=optimizer(), learning_rate=eta).update for eta in (0.5, 1.0))
    moved = [rule.propose(rule.init(x), x, x[:, 0], estimate_of(g))[0] for rule in (half, whole)]
    torch.testing.assert_close(2 * moved[0], moved[1], rtol=1e-15, atol=0)
    default = build("zo-lstm", D, weights=optimizer()).update
    assert torch.equal(default.propose(default.init(x), x, x[:, 0], estimate_of(g))[0], moved[1])


def test_optimizer_takes_weights() -> None:
    run = Optimizer(np.ones(3), method="zo-lstm", weights=optimizer(), seed=0)
    run.tell([3.0] * len(run.ask()))
    assert len(run.ask()) == 20


@pytest.mark.parametrize(
    "options", [{"method": "zo-lstm"}, {"method": "zo-sgd", "update": "update-rnn"}, {"sampler": "query-rnn"}]
)
def test_learned_parts_without_weights_say_how_to_train_them(options: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"needs trained weights, .*weights=FILE to minimize.*python -m zo_gym\.meta\.train"
    ):
        minimize(lambda x: float(x @ x), np.ones(3), **options)


def test_weights_for_a_method_that_learns_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weights= are for learned parts, and method 'zo-sgd' has none"):
        build("zo-sgd", 3, weights=optimizer())
    with pytest.raises(ValueError, match="weights= are for learned parts"):
        build("zo-lstm", 3, sampler="gaussian", update="sgd", weights=optimizer())
