"""Ask and tell: the same run as `minimize`, with the caller evaluating f."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from zo_gym import METHODS, ObjectiveError, Optimizer, Oracle, make_problem, minimize
from zo_gym.methods import build
from zo_gym.rng import direction_generator
from zo_gym.run import run

X0 = np.array([1.0, -2.0, 0.5])
BLIND = [name for name, recipe in METHODS.items() if not recipe.needs_gradient and "rnn" not in recipe.update]
"""The methods that need nothing but values."""


def parabola(x: Any) -> Any:
    return (x**2).sum()


def direction_seed(seed: int) -> int:
    """The seed of the directions: the third of start, noise, directions."""
    return int(np.random.SeedSequence(seed).generate_state(3)[2])


def answer(optimizer: Optimizer, rounds: int) -> None:
    for _ in range(rounds):
        optimizer.tell([parabola(x) for x in optimizer.ask()])


@pytest.mark.parametrize("reevaluate", [False, True])
@pytest.mark.parametrize("method", BLIND)
def test_ask_and_tell_is_the_run_of_minimize(method: str, reevaluate: bool) -> None:
    """Bit for bit: the same seed gives the same points, values, counts and result."""
    expected = minimize(parabola, X0, method=method, budget=200, seed=5, reevaluate=reevaluate)
    optimizer = Optimizer(X0, method=method, seed=5, reevaluate=reevaluate)
    answer(optimizer, 1 + 2 * expected.nit)
    found = optimizer.result()
    assert np.array_equal(found.x, expected.x)
    assert (found.fun, found.nfev, found.nit) == (expected.fun, expected.nfev, expected.nit)
    for ours, theirs in zip(vars(found.trace).values(), vars(expected.trace).values(), strict=True):
        assert np.array_equal(ours, theirs)


def test_ask_and_tell_takes_a_composite_term_as_minimize_does() -> None:
    """The term reaches the method, whose gradient model is then of the black-box part alone."""
    problem = make_problem("digits_attack[0]")
    x0 = problem.start(torch.Generator().manual_seed(0))
    options = {"method": "pretrained:digits-attack"}
    expected = minimize(problem, x0, composite=True, budget=60, seed=5, **options)
    optimizer = Optimizer(x0, composite=problem.composite, context=problem.context, seed=5, **options)
    while optimizer.nfev < expected.nfev:
        optimizer.tell(problem.values(optimizer.ask()))
    assert (optimizer.result().fun, optimizer.nfev) == (expected.fun, expected.nfev)


def test_a_run_over_an_oracle_is_the_same_run() -> None:
    problem = make_problem("quadratic", dim=3)
    optimizer = Optimizer(X0, method="zo-adam", seed=1)
    oracle = Oracle(problem, budget=1 + 3 * 21)
    start = torch.from_numpy(X0)[None]
    expected = [
        (int(oracle.queries[0]), moment.iterate.fx.item())
        for moment in run(
            oracle, build("zo-adam", 3), start, [direction_generator(np.random.SeedSequence(direction_seed(1)))]
        )
    ]
    for _ in range(1 + 2 * 3):
        optimizer.tell(problem.values(torch.from_numpy(optimizer.ask())))
    trace = optimizer.result().trace
    assert list(zip(trace.queries.tolist(), trace.fun.tolist(), strict=True)) == expected


def test_rounds_ask_for_the_start_then_for_probes_and_the_move_in_turn() -> None:
    optimizer = Optimizer(X0, method="zo-sgd", num_directions=4, seed=0)
    shapes = []
    for _ in range(5):
        shapes.append(optimizer.ask().shape)
        answer(optimizer, 1)
    assert shapes == [(1, 3), (4, 3), (1, 3), (4, 3), (1, 3)]


def test_asking_twice_gives_the_same_points() -> None:
    optimizer = Optimizer(X0, method="zo-sgd", seed=0)
    for _ in range(4):
        assert np.array_equal(optimizer.ask(), optimizer.ask())
        answer(optimizer, 1)


def test_asked_points_are_the_callers_to_change() -> None:
    vandalised, quiet = Optimizer(X0, seed=0), Optimizer(X0, seed=0)
    for _ in range(6):
        values = [parabola(x) for x in quiet.ask()]
        vandalised.ask()[:] = 1e9
        vandalised.tell(values)
        quiet.tell(values)
    vandalised.best_x[:] = 1e9
    vandalised.result().x[:] = 1e9
    assert np.array_equal(vandalised.result().x, quiet.result().x)


def test_start_is_the_callers_to_change() -> None:
    x0 = X0.copy()
    disturbed, quiet = Optimizer(x0, seed=0), Optimizer(X0, seed=0)
    x0[:] = 1e9
    for optimizer in (disturbed, quiet):
        answer(optimizer, 5)
    assert np.array_equal(disturbed.result().x, quiet.result().x)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_told_values_are_the_callers_to_change(kind: Any) -> None:
    disturbed, quiet = Optimizer(X0, seed=0), Optimizer(X0, seed=0)
    for _ in range(5):
        values = kind([parabola(x) for x in disturbed.ask()])
        disturbed.tell(values)
        values[:] = 1e9
        answer(quiet, 1)
    assert np.array_equal(disturbed.result().trace.fun, quiet.result().trace.fun)


def test_queries_are_counted_as_they_are_told() -> None:
    optimizer = Optimizer(X0, method="zo-sgd", num_directions=4, seed=0)
    counts = [(optimizer.nfev, optimizer.nit)]
    for _ in range(5):
        answer(optimizer, 1)
        counts.append((optimizer.nfev, optimizer.nit))
    assert counts == [(0, 0), (1, 0), (5, 0), (6, 1), (10, 1), (11, 2)]
    optimizer.ask()
    assert optimizer.nfev == 11


# Telling wrong things


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([1.0], r"tell\(\) needs 4 values, one per asked point, got shape \(1,\)"),
        (1.0, r"tell\(\) needs 4 .*, got"),
        (np.ones((4, 1)), r"needs 4 values, one per asked point, got shape \(4, 1\)"),
        ([1.0, 2.0, np.nan, 4.0], r"needs finite values, got nan for point 2\. Evaluate it again"),
        ([np.inf, 2.0, 3.0, 4.0], "needs finite values, got inf for point 0"),
        (["a", "b", "c", "d"], "needs 4 real numbers, got"),
        (None, "needs 4 real numbers, got None"),
        ([None] * 4, "needs 4 real numbers, got"),
        ([1.0, 2.0, 3.0, 4.0 + 1j], "needs 4 real numbers, got"),
        (torch.ones(4) * 1j, "needs 4 real numbers, got"),
    ],
)
def test_tell_that_fails_changes_nothing(values: Any, complaint: str) -> None:
    disturbed, quiet = (Optimizer(X0, method="zo-sgd", num_directions=4, seed=0) for _ in range(2))
    for optimizer in (disturbed, quiet):
        answer(optimizer, 1)
    with pytest.raises(ObjectiveError, match=complaint):
        disturbed.tell(values)
    assert (disturbed.nfev, disturbed.nit) == (1, 0)
    assert np.array_equal(disturbed.ask(), quiet.ask())
    for optimizer in (disturbed, quiet):
        answer(optimizer, 4)
    assert np.array_equal(disturbed.result().trace.fun, quiet.result().trace.fun)


def test_error_points_at_the_value_that_is_not_finite() -> None:
    optimizer = Optimizer(X0, method="zo-sgd", num_directions=4, seed=0)
    answer(optimizer, 1)
    with pytest.raises(ObjectiveError) as caught:
        optimizer.tell([1.0, 2.0, np.nan, 4.0])
    assert caught.value.point is not None
    assert np.array_equal(caught.value.point, optimizer.ask()[2])


@pytest.mark.parametrize(
    "wrap",
    [
        list,
        tuple,
        np.array,
        torch.tensor,
        lambda v: np.array(v, dtype=np.float32),
        lambda v: [np.float64(x) for x in v],
        lambda v: [torch.tensor(x) for x in v],
        lambda v: np.array(v[::-1])[::-1],
        lambda v: np.array(v, dtype=">f8"),
        lambda v: [torch.tensor(x, requires_grad=True) for x in v],
        lambda v: torch.tensor(v, requires_grad=True),
    ],
    ids=[
        "list",
        "tuple",
        "array",
        "tensor",
        "float32",
        "numpy scalars",
        "tensors",
        "reversed",
        "big endian",
        "graphs",
        "graph",
    ],
)
def test_values_may_come_in_any_sequence(wrap: Any) -> None:
    optimizer = Optimizer(X0, method="zo-sgd", num_directions=2, seed=0)
    optimizer.tell(wrap([4.0]))
    optimizer.tell(wrap([5.0, 6.0]))
    assert optimizer.nfev == 3
    assert optimizer.best_fun == 4.0


# Arguments and types


def test_nothing_is_known_before_the_start_is_told() -> None:
    optimizer = Optimizer(X0)
    assert np.array_equal(optimizer.ask(), X0[None, :])
    for ask in (optimizer.result, lambda: optimizer.best_x, lambda: optimizer.best_fun):
        with pytest.raises(RuntimeError, match=r"Nothing is known before f\(x0\): ask\(\), evaluate, tell\(\) first"):
            ask()


@pytest.mark.parametrize(
    ("x0", "as_numpy", "kind"),
    [
        (X0, None, np.ndarray),
        (torch.tensor(X0), None, torch.Tensor),
        (X0, False, torch.Tensor),
        (torch.tensor(X0), True, np.ndarray),
        ([1, 2], None, np.ndarray),
    ],
)
def test_points_come_back_in_the_type_of_the_start(x0: Any, as_numpy: bool | None, kind: type) -> None:
    optimizer = Optimizer(x0, as_numpy=as_numpy, seed=0)
    answer(optimizer, 3)
    assert {type(v) for v in (optimizer.ask(), optimizer.best_x, optimizer.result().x)} == {kind}


def test_reevaluation_reports_the_last_iterate_and_not_the_best() -> None:
    """sgd with eta = 1.5 on f = |x|^2 along an axis maps x to -2 x: every step is worse than the start."""
    options: dict[str, Any] = {"method": "coordinate-adam", "update": "sgd", "learning_rate": 1.5, "seed": 0}
    last, best = (Optimizer(X0, reevaluate=r, **options) for r in (True, False))
    for optimizer in (last, best):
        answer(optimizer, 5)
    assert np.array_equal(best.result().x, X0)
    assert last.result().fun == last.result().trace.fun[-1] > parabola(X0)


def test_method_may_be_given_whole() -> None:
    whole = Optimizer(X0, method=build("spsa", 3, learning_rate=0.1), seed=0)
    named = Optimizer(X0, method="spsa", learning_rate=0.1, seed=0)
    for optimizer in (whole, named):
        answer(optimizer, 5)
    assert np.array_equal(whole.result().x, named.result().x)
    with pytest.raises(
        TypeError, match=r"Optimizer with a Method got an unexpected keyword argument 'learning_rate'.*takes no further"
    ):
        Optimizer(X0, method=build("spsa", 3), learning_rate=0.1)


def test_unknown_keyword_is_corrected() -> None:
    with pytest.raises(
        TypeError, match=r"Optimizer got an unexpected keyword argument 'learning_rat'\. Did you mean 'learning_rate'"
    ):
        Optimizer(X0, learning_rat=0.1)


def test_dim_is_an_unknown_keyword() -> None:
    with pytest.raises(TypeError, match="Optimizer got an unexpected keyword argument 'dim'"):
        Optimizer(X0, dim=3)


def test_too_many_directions_for_span_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="num_directions <= dim, got 4 > 3"):
        Optimizer(X0, num_directions=4)


def test_seed_decides_the_directions() -> None:
    first, again, other = (Optimizer(X0, seed=s) for s in (1, 1, 2))
    for optimizer in (first, again, other):
        answer(optimizer, 1)
    assert np.array_equal(first.ask(), again.ask())
    assert not np.array_equal(first.ask(), other.ask())
