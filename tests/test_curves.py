"""Curves over queries: policies and methods from the same starts, at equal budgets."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import pytest
import torch

from zo_gym import PROBLEMS, ObjectiveError, Problem, ZOSamplingEnv, make_problem
from zo_gym.agents import curves
from zo_gym.agents.compare import compare, markdown, print_table, rows_of
from zo_gym.agents.curves import Curves, draw_starts, grid_of, on_grid, problem_of, run_method, run_policy, tuned_zo_sgd
from zo_gym.agents.plots import figure
from zo_gym.agents.policies.bundle import PolicyConfig, new_policy

SETTINGS: dict[str, Any] = {
    "problem": "quadratic",
    "problem_options": {"dim": 4},
    "budget": 80,
    "update": "adaptive",
    "learning_rate": 1.0,
    "diagnostics": True,
}


def bent(observations: np.ndarray) -> np.ndarray:
    """A deterministic policy without weights; row i of the answer depends on row i only."""
    return np.sin(3.0 * observations + np.arange(observations.shape[1])).astype(np.float32)


class Counter:
    """Registers a problem that counts its evaluations."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.evaluations = 0
        plain = PROBLEMS["quadratic"]

        @wraps(plain)
        def counting(**options: Any) -> Problem:
            problem = plain(**options)

            def fun(points: torch.Tensor, instances: torch.Tensor) -> torch.Tensor:
                self.evaluations += points.shape[:2].numel()
                return problem.fun(points, instances)

            return replace(problem, fun=fun)

        patch.setitem(PROBLEMS, "quadratic", counting)


def test_a_grid_goes_from_the_first_query_to_the_budget_without_repeats() -> None:
    for budget in (3, 80, 200, 201, 5000):
        grid = grid_of(budget)
        assert (grid[0], grid[-1]) == (1, budget)
        assert (np.diff(grid) > 0).all()
        assert len(grid) == min(budget, 201)


def test_values_are_carried_forward_to_the_grid() -> None:
    grid = np.array([1, 2, 3, 4, 7, 8, 20])
    assert on_grid(grid, [1, 3, 8], [9.0, 5.0, 2.0]).tolist() == [9.0, 9.0, 5.0, 5.0, 5.0, 2.0, 2.0]


def test_a_curve_shows_no_value_before_the_query_that_revealed_it() -> None:
    """The last value known at each grid point, worked out by search instead of by index."""
    rng = np.random.default_rng(0)
    queries = np.unique(np.concatenate([[1], rng.integers(2, 300, 40)]))
    values = rng.standard_normal(len(queries))
    grid = grid_of(300)
    expected = [values[max(i for i, known in enumerate(queries) if known <= at)] for at in grid]
    np.testing.assert_array_equal(on_grid(grid, queries.tolist(), values.tolist()), expected)


@pytest.mark.parametrize("gate", ["open", "paper"])
def test_a_row_of_run_policy_is_a_scalar_rollout_with_that_seed(gate: str) -> None:
    settings = {**SETTINGS, "gate": gate, "gate_threshold": 0.6, "num_directions": 3}
    seeds = [5, 900, 41]
    result = run_policy("p", settings, bent, seeds, exploration=0.0, noise_seed=0)
    assert result.cosine is not None
    for row, seed in enumerate(seeds):
        env = ZOSamplingEnv(**settings)
        observation, info = env.reset(seed=seed)
        queries, best, cosines = [1], [info["best_f"]], [math.nan]
        ended = False
        while not ended:
            observation, _, terminated, truncated, info = env.step(bent(observation[None])[0])
            ended = terminated or truncated
            queries.append(info["queries"])
            best.append(info["best_f"])
            cosines.append(abs(info["cosine"]))
        np.testing.assert_array_equal(result.best[row], on_grid(result.queries, queries, best))
        np.testing.assert_array_equal(result.cosine[row], on_grid(result.queries, queries, cosines))
        assert result.spent[row] == queries[-1]


def test_rows_that_end_early_keep_their_last_value() -> None:
    """A row that reaches the target starts anew inside the batch; its curve must not follow the new episode."""
    settings = {**SETTINGS, "budget": 400, "target": 3.0}
    result = run_policy("p", settings, bent, range(6), exploration=1.5, noise_seed=1)
    reached = result.best[:, -1] <= 3.0
    assert reached.any()
    assert len(set(result.spent[reached].tolist())) > 1  # at different times
    for row in np.flatnonzero(reached):
        after = result.queries >= result.spent[row]
        assert (result.best[row, after] == result.best[row, -1]).all()
        assert result.spent[row] < 400


def test_best_f_never_rises_along_a_curve() -> None:
    for c in (
        run_policy("p", SETTINGS, bent, range(3), exploration=1.0, noise_seed=0),
        run_method("m", draw_starts(SETTINGS, range(3)), method="zo-sgd", num_directions=3, learning_rate=0.005),
    ):
        assert (np.diff(c.best, axis=1) <= 0).all()


def test_exploration_noise_is_a_function_of_its_seed() -> None:
    first, again = (run_policy("p", SETTINGS, bent, range(3), 1.0, noise_seed=4).best for _ in range(2))
    other = run_policy("p", SETTINGS, bent, range(3), 1.0, noise_seed=5).best
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_exploration_noise_has_the_length_it_names() -> None:
    """With a policy that answers 0 the action is the noise: |n| is about `exploration`, whatever d is."""
    seen: list[np.ndarray] = []
    original = curves.ZOSamplingVectorEnv.step

    def spy(self: Any, actions: np.ndarray) -> Any:
        seen.append(actions.copy())
        return original(self, actions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves.ZOSamplingVectorEnv, "step", spy)
        run_policy("p", SETTINGS, np.zeros_like, range(50), exploration=1.5, noise_seed=0)
    draws = np.concatenate(seen)
    assert len(draws) == 50 * 39
    # E|n|^2 = 1.5^2; relative deviation sqrt(2 / (n d)) = sqrt(2 / 7800) = 0.016: 5 of them.
    assert (draws**2).sum(1).mean() == pytest.approx(2.25, rel=0.08)


@pytest.mark.parametrize("method", ["rand-ada", "zo-sgd"])
def test_methods_start_where_policies_start(method: str) -> None:
    seeds = [0, 7, 1_000_000]
    policy = run_policy("p", SETTINGS, bent, seeds, exploration=0.0, noise_seed=0)
    other = run_method("m", draw_starts(SETTINGS, seeds), method=method)
    np.testing.assert_array_equal(policy.queries, other.queries)
    np.testing.assert_array_equal(policy.best[:, 0], other.best[:, 0])  # f(x_0), the first query
    assert len(set(policy.best[:, 0].tolist())) == 3


def test_every_curve_spends_the_budget_to_within_one_step_and_never_more(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(monkeypatch)
    found = {
        2: run_policy("policy", SETTINGS, bent, [1, 2], 0.0, 0),
        # The random control measures one direction and f(x'), as the policy does.
        -2: run_method(
            "rand-ada", draw_starts(SETTINGS, [1, 2]), method="rand-ada", update="adaptive", learning_rate=1.0
        ),
        21: run_method("zo-sgd", draw_starts(SETTINGS, [1, 2]), method="zo-sgd"),
    }
    for cost, c in found.items():
        assert (c.spent <= 80).all()
        assert (c.spent > 80 - abs(cost)).all()
    before = counter.evaluations
    spent = run_method("zo-sgd", draw_starts(SETTINGS, [3]), method="zo-sgd").spent
    # One more than reported: drawing a start evaluates f(x_0).
    assert counter.evaluations - before == spent[0] + 1


def test_noise_and_failures_are_the_same_for_policies_and_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    original = curves.minimize

    def spy(*args: Any, **options: Any) -> Any:
        asked.append(options)
        return original(*args, **options)

    monkeypatch.setattr(curves, "minimize", spy)
    settings = {**SETTINGS, "noise_std": 0.5, "reevaluate": True, "smoothing": 0.2, "on_failure": "penalize"}
    run_method("m", draw_starts(settings, [0]), method="rand-ada")
    shared = {name: asked[0][name] for name in ("noise_std", "reevaluate", "smoothing", "on_failure", "budget")}
    assert shared == {
        "noise_std": 0.5,
        "reevaluate": True,
        "smoothing": 0.2,
        "on_failure": "penalize",
        "budget": 80,
    }


def test_ctrl_c_ends_a_comparison_instead_of_falsifying_it(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluations = 0
    plain = PROBLEMS["quadratic"]

    @wraps(plain)
    def interrupted(**options: Any) -> Problem:
        problem = plain(**options)

        def fun(points: torch.Tensor, instances: torch.Tensor) -> torch.Tensor:
            nonlocal evaluations
            evaluations += 1
            if evaluations == 20:
                raise KeyboardInterrupt
            return problem.fun(points, instances)

        return replace(problem, fun=fun)

    monkeypatch.setitem(PROBLEMS, "quadratic", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_method("m", draw_starts(SETTINGS, [0, 1]), method="rand-ada")


def test_a_failing_f_is_no_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = PROBLEMS["quadratic"]

    @wraps(plain)
    def broken(**options: Any) -> Problem:
        problem = plain(**options)
        calls = iter([problem.fun] * 20)

        def fun(points: torch.Tensor, instances: torch.Tensor) -> torch.Tensor:
            values = problem.fun(points, instances)
            return values if next(calls, None) else values * math.nan

        return replace(problem, fun=fun)

    monkeypatch.setitem(PROBLEMS, "quadratic", broken)
    with pytest.raises(ObjectiveError, match="nan"):
        run_method("m", draw_starts(SETTINGS, [0, 1]), method="rand-ada")


def test_a_comparison_draws_its_starts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two environments draw the starts that are reported and those that are tuned on; two are acted in."""
    built: list[int] = []
    plain = curves.ZOSamplingVectorEnv

    def watched(**options: Any) -> Any:
        built.append(options["num_envs"])
        return plain(**options)

    monkeypatch.setattr(curves, "ZOSamplingVectorEnv", watched)
    config = PolicyConfig("ddpg", "mlp", 4, 4, None, 1.0, {})
    found = compare(new_policy(config, seed=0), SETTINGS, [0, 1])
    assert sorted(built) == [2, 2, 2, 3]
    assert [len(c.best) for c in found] == [2] * 4
    assert len({tuple(c.best[:, 0]) for c in found}) == 1  # all start from the same points


def test_zo_sgd_is_tuned_to_the_eta_with_the_least_mean_final_f() -> None:
    settings = {**SETTINGS, "budget": 200}
    eta, score = tuned_zo_sgd(draw_starts(settings, [1, 2]))
    dim = problem_of(settings).dim
    scores = {}
    for delta in curves.DELTAS:
        try:
            scores[delta / dim] = run_method(
                "t", draw_starts(settings, [1, 2]), method="zo-sgd", learning_rate=delta / dim
            )
        except ValueError:  # diverged
            continue
    means = {eta: c.best[:, -1].mean() for eta, c in scores.items()}
    assert score == min(means.values()) == means[eta]
    assert len(means) > 1


def test_tuning_says_so_when_every_eta_diverges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "DELTAS", (1e200, 1e300))
    with pytest.raises(ValueError, match="ZO-SGD diverged for every eta"):
        tuned_zo_sgd(draw_starts(SETTINGS, [0]))


def test_the_problem_of_settings_is_the_environments() -> None:
    settings = {"problem": "quadratic", "dim": 6}
    found, own = problem_of(settings), make_problem("quadratic", dim=6)
    x = torch.ones(1, 6, dtype=torch.float64)
    assert torch.equal(found.values(x), own.values(x))


def two_curves() -> list[Curves]:
    best = np.array([[100.0, 40.0, 10.0, 1.0], [200.0, 60.0, 30.0, 3.0]])
    return [
        Curves("first", np.array([1, 10, 50, 100]), best, None, np.array([99, 97])),
        Curves("second", np.array([1, 10, 50, 100]), best[:1] * 10, None, np.array([85])),
    ]


def test_the_table_holds_means_and_sample_deviations_at_a_tenth_a_half_and_all_of_the_budget() -> None:
    first, second = rows_of(two_curves())
    assert [first[f"f at {at}"] for at in (10, 50, 100)] == [50.0, 20.0, 2.0]
    assert [first[f"std at {at}"] for at in (10, 50, 100)] == pytest.approx(
        [math.sqrt(200), math.sqrt(200), math.sqrt(2)]
    )
    assert (first["runs"], first["queries"]) == (2, 98.0)
    assert (second["runs"], second["std at 100"]) == (1, 0.0)  # one run has no deviation


def test_the_table_begins_at_a_hundredth_where_much_has_happened_by_then() -> None:
    early = [replace(curve, early=curve.name == "second", queries=curve.queries * 10) for curve in two_curves()]
    first, second = rows_of(early)
    assert [first[f"f at {at}"] for at in (10, 100, 1000)] == [150.0, 50.0, 2.0]
    assert list(first) == list(second)


def test_the_markdown_table_has_a_line_per_method() -> None:
    lines = markdown(rows_of(two_curves())).splitlines()
    assert lines[0] == "| method | runs | f at 10 | f at 50 | f at 100 |"
    assert lines[1] == "|---|---|---|---|---|"
    assert lines[2].replace(" ", "") == "|first|2|50±1e+01|20±1e+01|2±1|"
    assert len(lines) == 4


def test_the_printed_table_is_whole_on_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    best = np.array([[122.41, 3.7012, 1.8931], [152.41, 4.7012, 2.1931]])
    grid = np.array([1, 500, 5000])
    names = ["trained policy", "untrained (control)", "random, adaptive (control)", "ZO-SGD, tuned eta 0.0333"]
    print_table(rows_of([Curves(name, grid, best, None, np.array([4999, 4999])) for name in names]), "title")
    assert "…" not in capsys.readouterr().out


def measured(cosine: np.ndarray) -> Curves:
    rows, points = cosine.shape
    best = np.linspace(9.0, 1.0, points) * np.ones((rows, 1))
    return Curves("measured", np.arange(1, points + 1), best, cosine, np.full(rows, points))


def test_the_figure_has_a_line_per_curve_and_a_cosine_panel_only_where_it_was_measured() -> None:
    drawing = figure(two_curves(), "title")
    assert len(drawing.axes) == 1
    assert [line.get_label() for line in drawing.axes[0].get_lines()] == ["first", "second"]
    drawing = figure([measured(np.full((2, 60), 0.5)), *two_curves()], "title")
    assert len(drawing.axes) == 2
    (line,) = drawing.axes[1].get_lines()
    np.testing.assert_allclose(np.asarray(line.get_ydata()), 0.5)


def test_the_figure_leaves_out_where_no_cosine_is_known_yet_without_warning() -> None:
    cosine = np.full((2, 60), 0.5)
    cosine[:, :15] = math.nan
    (line,) = figure([measured(cosine)], "title").axes[1].get_lines()
    drawn = np.asarray(line.get_ydata())  # a running mean over 20 points, which reaches 10 of them back
    assert np.isnan(drawn).tolist() == [point < 6 for point in range(60)]
    np.testing.assert_allclose(drawn[6:], 0.5)


def test_figures_without_matplotlib_name_what_to_install() -> None:
    code = "import sys; sys.modules['matplotlib'] = None; import zo_gym.agents.plots"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "zo_gym.agents needs matplotlib. Install it: pip install 'zo-gym[agents]'." in done.stderr


def test_the_figure_draws_curves_of_few_points() -> None:
    curve, cosine = figure([measured(np.full((2, 8), 0.5))], "title").axes
    for axis, expected in ((curve, np.linspace(9.0, 1.0, 8)), (cosine, np.full(8, 0.5))):
        (line,) = axis.get_lines()
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 9))
        np.testing.assert_allclose(np.asarray(line.get_ydata()), expected)
    low, high = curve.get_ylim()
    assert low < 1.0 < 9.0 < high
