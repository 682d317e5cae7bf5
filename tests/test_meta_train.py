"""Unrolled training of ZO-LSTM: derivatives against finite differences, counts against f's own, and that it learns."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zo_gym import Problem, single_problem
from zo_gym.base import Method
from zo_gym.estimators import forward
from zo_gym.meta import train as train_module
from zo_gym.meta.differentiable_run import (
    DifferentiableRun,
    Setting,
    advance,
    gradient_at,
    start,
    without_history,
)
from zo_gym.meta.rnn import CoordinateLSTM, load_optimizer, no_memory
from zo_gym.meta.stage import EpochReport, MetaTraining
from zo_gym.meta.train import main, meta_train
from zo_gym.oracle import Oracle
from zo_gym.problem import Generators
from zo_gym.problems import make_problem
from zo_gym.rng import make_generator
from zo_gym.samplers import gaussian, query_rnn
from zo_gym.updates import update_rnn

D, Q, MU = 4, 3, 0.01

TINY = MetaTraining(
    directions=Q, steps=7, window=3, unrolls=2, rows=2, update_epochs=2, query_epochs=2, validation_rows=2
)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=make_generator(seed), dtype=torch.float64)


class Bowls:
    """f_i(x) = |x - centre_i|^2 / 2 for three centres, with starts ~ N(0, I); counts evaluations and remembers rows."""

    def __init__(self) -> None:
        self.points, self.seen = 0, set[int]()

    def problem(self, **changes: Any) -> Problem:
        centres = randn(3, D, seed=7)

        def fun(points: Tensor, instances: Tensor) -> Tensor:
            self.points += points.shape[0] * points.shape[1]
            self.seen |= set(instances.tolist())
            return 0.5 * (points - centres[instances][:, None]).square().sum(-1)

        def initial(instances: Tensor, generators: Generators) -> Tensor:
            return torch.stack([torch.randn(D, generator=g, dtype=torch.float64) for g in generators])

        problem = Problem(
            name="bowls",
            dim=D,
            size=3,
            fun=fun,
            initial=initial,
            gradient=lambda x, instances: x - centres[instances],
        )
        return replace(problem, **changes)


def linear() -> Problem:
    """f = a . x: its Hessian is 0, so the first-order answers are exact, directions included."""
    a = randn(D, seed=3)
    return single_problem(
        "linear", D, lambda x: x @ a, lambda g: torch.zeros(D, dtype=torch.float64), lambda x: a.expand_as(x)
    )


def setting_of(problem: Problem, rows: int = 2, *, black_box: bool = False, smoothing: float = MU) -> Setting:
    return Setting(Oracle(problem, rows), [make_generator(seed) for seed in range(rows)], smoothing, black_box)


def networks(strength: float = 10.0) -> tuple[CoordinateLSTM, CoordinateLSTM]:
    """UpdateRNN and QueryRNN whose outputs matter."""
    made = CoordinateLSTM(1, make_generator(1)), CoordinateLSTM(2, make_generator(2))
    for network in made:
        network.output_weight.mul_(strength)
    return made


def drift(along: CoordinateLSTM, loss: Callable[[], Tensor], eps: float = 1e-5) -> tuple[float, float]:
    """Return the derivative of the loss along one random change of the weights: by autograd, by central differences."""
    weights = list(along.parameters())
    changes = [randn(*weight.shape, seed=9 + i) for i, weight in enumerate(weights)]
    along.requires_grad_(True)
    slopes = torch.autograd.grad(loss(), weights)
    along.requires_grad_(False)
    exact = sum((slope * change).sum().item() for slope, change in zip(slopes, changes, strict=True))
    ends = []
    for sign in (1, -1):
        for weight, change in zip(weights, changes, strict=True):
            weight.add_(change, alpha=sign * eps)
        ends.append(loss().item())
        for weight, change in zip(weights, changes, strict=True):
            weight.sub_(change, alpha=sign * eps)
    return exact, (ends[0] - ends[1]) / (2 * eps)


def run_of(problem: Problem, method: Method, steps: int, smoothing: float = MU) -> list[DifferentiableRun]:
    setting = setting_of(problem, smoothing=smoothing)
    runs = [start(setting, method)]
    for _ in range(steps):
        runs.append(advance(setting, method, runs[-1]))
    return runs


# The derivative


@pytest.mark.parametrize("which", ["update", "query"])
def test_derivative_of_an_unroll_is_exact_where_f_is_linear(which: str) -> None:
    """Five steps, both networks at work. f is ~ 1 and computed to 1e-16: the difference quotient errs by 1e-16 / 1e-5
    and by eps^2 = 1e-10 times a third derivative of a few hundred: 1e-6 of the derivative, which is ~ 1."""
    update, query = networks()
    method = Method(query_rnn(query, 1.0), forward, update_rnn(weights=update), Q)

    def loss() -> Tensor:
        runs = run_of(linear(), method, 5)
        values = torch.stack([t * run.state.iterate.fx.mean() for t, run in enumerate(runs)])
        signals = torch.stack([run.state.sampler.signal for run in runs])
        return values.sum() + 0.1 * signals.square().sum()

    exact, measured = drift(update if which == "update" else query, loss)
    assert abs(exact) > 0.01
    assert exact == pytest.approx(measured, rel=1e-6, abs=1e-7)


def test_derivative_of_one_step_is_exact_on_a_quadratic() -> None:
    """The move is the only thing that UpdateRNN decides in one step, and f's slope where it leads is exact. As above;
    f ~ 100 makes the rounding 1e-9 against a derivative ~ 10."""
    update, _ = networks()
    method = Method(gaussian(), forward, update_rnn(weights=update), Q)
    problem = make_problem("quadratic", dim=D)
    exact, measured = drift(update, lambda: run_of(problem, method, 1)[1].state.iterate.fx.mean())
    assert abs(exact) > 0.01
    assert exact == pytest.approx(measured, rel=1e-6)


def test_derivative_through_directions_on_a_quadratic_lacks_only_the_hessian() -> None:
    """From the second step on QueryRNN decides; with the iterate between held fixed (`without_history`), the slopes
    along u err by mu u' H du, mu = 1e-6 times H = 100: 1e-4 of slopes ~ 100."""
    update, query = networks()
    method = Method(query_rnn(query, 1.0), forward, update_rnn(weights=update), Q)
    problem = make_problem("quadratic", dim=D)

    def loss() -> Tensor:
        setting = setting_of(problem, smoothing=1e-6)
        first = advance(setting, method, start(setting, method))
        return advance(setting, method, without_history(first)).state.iterate.fx.mean()

    exact, measured = drift(query, loss)
    assert abs(exact) > 1e-3
    assert exact == pytest.approx(measured, rel=1e-3)


def test_values_of_an_unroll_are_those_of_the_plain_run() -> None:
    """Differentiating does not disturb: x and f with trainable and with frozen networks agree bit for bit."""
    update, query = networks()
    method = Method(query_rnn(query, 1.0), forward, update_rnn(weights=update), Q)
    frozen = run_of(make_problem("quadratic", dim=D), method, 4)[-1].state.iterate
    update.requires_grad_(True)
    query.requires_grad_(True)
    trained = run_of(make_problem("quadratic", dim=D), method, 4)[-1].state.iterate
    assert trained.fx.requires_grad
    assert torch.equal(trained.x, frozen.x)
    assert torch.equal(trained.fx, frozen.fx)
    problem = make_problem("quadratic", dim=D)
    assert torch.equal(trained.fx, problem.values(trained.x.detach()))


def test_runs_without_history_have_the_same_values_and_no_derivative() -> None:
    update, _ = networks()
    update.requires_grad_(True)
    method = Method(gaussian(), forward, update_rnn(weights=update), Q)
    runs = run_of(make_problem("quadratic", dim=D), method, 2)[-1]
    done, iterate = without_history(runs).state.iterate, runs.state.iterate
    assert iterate.x.requires_grad
    assert not done.x.requires_grad
    assert not done.rule_state.cell.requires_grad
    assert torch.equal(done.x, iterate.x)


def test_memories_are_empty_at_every_start() -> None:
    update, query = networks()
    method = Method(query_rnn(query, 1.0), forward, update_rnn(weights=update), Q)
    setting = setting_of(Bowls().problem())
    advance(setting, method, start(setting, method))
    fresh = start(setting, method)
    for memory in (fresh.state.sampler.memory, fresh.state.iterate.rule_state):
        assert not memory.hidden.any()
        assert not memory.cell.any()
    assert not fresh.state.sampler.signal.any()
    assert not fresh.last.estimate.gradient.any()


# Gradients of f


def test_measured_gradient_is_the_true_one_on_a_quadratic() -> None:
    """Central differences are exact; f ~ 100 rounds to 1e-14, divided by 2 mu = 0.02."""
    problem, x = make_problem("quadratic", dim=D), randn(2, D)
    true, measured = (gradient_at(setting_of(problem, black_box=b), x) for b in (False, True))
    torch.testing.assert_close(measured, true, rtol=0, atol=1e-10)


def test_measured_gradient_is_each_rows_own_and_counted() -> None:
    bowls = Bowls()
    setting = setting_of(bowls.problem(gradient=None), 3, black_box=True)
    x = randn(3, D)
    measured = gradient_at(setting, x)
    torch.testing.assert_close(measured, x - randn(3, D, seed=7), rtol=0, atol=1e-12)
    assert setting.oracle.queries.tolist() == [2 * D] * 3
    assert bowls.points == 6 * D


def test_problem_without_a_gradient_asks_for_black_box() -> None:
    with pytest.raises(ValueError, match=r"'bowls' must know its gradient\. Or pass black_box=True"):
        gradient_at(setting_of(Bowls().problem(gradient=None)), randn(2, D))


# The training


@pytest.mark.parametrize("black_box", [False, True])
def test_record_counts_every_query(black_box: bool) -> None:
    """Against f's own count, and the count that the docstring promises."""
    train, validation = Bowls(), Bowls()
    config = replace(TINY, black_box=black_box)
    record = meta_train(
        train.problem(gradient=None) if black_box else train.problem(), validation.problem(), config, seed=0
    ).record
    unrolls = (2 + 2) * 2 * 2  # epochs, unrolls an epoch, rows
    assert record["queries"] == train.points + validation.points
    assert train.points == unrolls * (1 + 7 * (Q + 1) + (2 * D * (1 + 7) if black_box else 0))
    assert record["validation_queries"] == validation.points == (3 + 3) * 2 * (1 + 7 * (Q + 1))
    assert train.seen == {0, 1, 2}
    assert record["settings"]["black_box"] == black_box


def test_training_by_measured_gradients_is_training_by_true_ones_on_a_quadratic() -> None:
    """Central differences are exact; rounding of 1e-12 in g, through Adam's division by its size, stays < 1e-6."""
    true, measured = (
        meta_train(Bowls().problem(), Bowls().problem(), replace(TINY, black_box=b)) for b in (False, True)
    )
    for ours, theirs in zip(true.update.parameters(), measured.update.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_training_lowers_the_loss_on_unseen_instances() -> None:
    """Untrained, moves are a random walk of ~ 0.01 a step, so f stays near its start, E f = d = 4. Trained for a few
    seconds it falls to a quarter at least: moving 0.2 a step towards the centre, 1 away in each coordinate, does it."""
    config = replace(TINY, directions=10, steps=20, window=10, unrolls=10, rows=8, update_epochs=6, validation_rows=20)
    reports: list[EpochReport] = []
    meta_train(
        Bowls().problem(), Bowls().problem(), replace(config, update_learning_rate=0.01), progress=reports.append
    )
    update = [report for report in reports if report.stage == "update"]
    assert [report.epoch for report in update] == list(range(7))
    assert update[-1].best_loss < 0.25 * update[0].loss
    assert [report.best_loss for report in update] == [min(r.loss for r in update[: i + 1]) for i in range(7)]
    assert all(a.queries < b.queries for a, b in pairwise(update))


def test_second_stage_leaves_the_update_network_alone() -> None:
    one, both = (meta_train(Bowls().problem(), Bowls().problem(), replace(TINY, query_epochs=e)) for e in (0, 2))
    assert one.query is None
    assert both.query is not None
    for ours, theirs in zip(one.update.parameters(), both.update.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_stage_that_makes_things_worse_is_undone() -> None:
    """A learning rate of 1e3 makes moves of ~ 1e4 at once; the network from before the stage is kept."""
    config = replace(TINY, update_learning_rate=1e3, query_epochs=0)
    wrecked = meta_train(Bowls().problem(), Bowls().problem(), config)
    untouched = meta_train(Bowls().problem(), Bowls().problem(), replace(config, update_epochs=0))
    losses = wrecked.record["validation_losses"]["update"]
    assert min(losses[1:]) > 1e3 * losses[0]
    for ours, theirs in zip(wrecked.update.parameters(), untouched.update.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("patience", [1, 3])
def test_stage_without_progress_ends_when_patience_does(patience: int) -> None:
    """Wrecked by the first epoch, as above: `patience` epochs follow the start, of 8 allowed."""
    config = replace(TINY, update_learning_rate=1e3, update_epochs=8, query_epochs=0, patience=patience)
    record = meta_train(Bowls().problem(), Bowls().problem(), config).record
    assert len(record["validation_losses"]["update"]) == 1 + patience


def test_penalty_keeps_the_outputs_of_the_query_network_small() -> None:
    """With a penalty far above the loss of ~ 100 a window, stage 2 can only shrink the output layer."""
    sizes = []
    for penalty in (0.0, 1e6):
        config = replace(TINY, update_epochs=0, query_epochs=4, query_learning_rate=0.02, penalty=penalty)
        made = meta_train(Bowls().problem(), Bowls().problem(), config)
        assert made.query is not None
        one = torch.ones(1, 1, dtype=torch.float64)
        output, _ = made.query(torch.stack([one, one], dim=-1), no_memory(one))
        sizes.append(abs(output.item()))
    assert sizes[1] < sizes[0]


def test_same_seed_gives_the_same_networks_and_leaves_global_randomness_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (meta_train(Bowls().problem(), Bowls().problem(), TINY, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.record == again.record
    for made, equal in ((again, True), (other, False)):
        for part in ("update", "query"):
            ours, theirs = (getattr(optimizer, part).hidden_weight for optimizer in (first, made))
            assert torch.equal(ours, theirs) == equal


def test_trained_networks_are_frozen() -> None:
    made = meta_train(Bowls().problem(), Bowls().problem(), TINY)
    assert made.query is not None
    assert not any(weight.requires_grad for weight in [*made.update.parameters(), *made.query.parameters()])


def test_starts_of_a_problem_are_its_instances() -> None:
    """Three unrolls of two rows: six different starts."""
    problem, starts = make_problem("quadratic", dim=D), list[Tensor]()

    def initial(instances: Tensor, generators: Generators) -> Tensor:
        starts.extend(problem.initial(instances, generators))
        return torch.stack(starts[-len(generators) :])

    config = replace(TINY, unrolls=3, update_epochs=1, query_epochs=0, validation_rows=1)
    meta_train(replace(problem, initial=initial), problem, config)
    assert len({tuple(x.tolist()) for x in starts}) == len(starts) == 6


@pytest.mark.parametrize(
    ("changes", "error", "complaint"),
    [
        ({"steps": 0}, ValueError, "steps must be >= 1, got 0"),
        ({"window": 1.5}, TypeError, "window must be an integer >= 1, got 1.5"),
        ({"patience": -1}, ValueError, "patience must be >= 0, got -1"),
        ({"query_epochs": -1}, ValueError, "query_epochs must be >= 0, got -1"),
        ({"smoothing": 0.0}, ValueError, "smoothing must be a finite number > 0, got 0.0"),
        ({"penalty": -1.0}, ValueError, "penalty must be finite and >= 0, got -1"),
        ({"clip": math.nan}, ValueError, "clip must be a finite number > 0, got nan"),
        ({"black_box": 1}, TypeError, "black_box must be a bool, got 1"),
    ],
)
def test_setting_out_of_range_is_explained(changes: dict[str, Any], error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        MetaTraining(**changes)


def test_unusable_problems_are_refused_before_a_query_is_spent() -> None:
    bowls = Bowls()
    with pytest.raises(ValueError, match=r"train must know its gradient, and 'bowls' does not\. Pass black_box=True"):
        meta_train(bowls.problem(gradient=None), bowls.problem(), TINY)
    with pytest.raises(ValueError, match=r"validation must have the dtype and device of train, torch.float64 on cpu"):
        meta_train(bowls.problem(), bowls.problem(dtype=torch.float32), TINY)
    with pytest.raises(ValueError, match="smoothing must be at least"):
        meta_train(bowls.problem(), bowls.problem(), replace(TINY, smoothing=1e-20))
    assert bowls.points == 0


@pytest.mark.parametrize("options", [[], ["--black-box"]])
def test_command_line_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    out = tmp_path / "lstm.safetensors"
    sizes = ["--steps", "3", "--unrolls", "1", "--update-epochs", "1", "--query-epochs", "1", "--validation-rows", "1"]
    main(["--problem", "quadratic", "--out", str(out), "--seed", "4", *sizes, *options])
    record = load_optimizer(out).record
    assert (record["train"], record["seed"], record["settings"]["steps"]) == ("quadratic", 4, 3)
    assert record["settings"]["black_box"] == bool(options)
    printed = capsys.readouterr().out
    assert printed.count("epoch") == 4
    assert f"Wrote {out} after {record['queries']} queries." in printed


def test_command_line_without_tyro_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tyro", None)
    with pytest.raises(SystemExit) as ended:
        main(["--problem", "quadratic", "--out", str(tmp_path / "lstm.safetensors")])
    assert ended.value.code == 2
    expected = "error: zo_gym.meta.train needs tyro. Install it: pip install 'zo-gym[agents]'.\n"
    assert capsys.readouterr().err == expected


def test_command_line_trains_on_one_split_and_judges_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bowls(name: str, *, split: str | None = None) -> Problem:
        return Bowls().problem(name=f"{name} of {split}")

    monkeypatch.setattr(train_module, "make_problem", bowls)
    out = tmp_path / "lstm.safetensors"
    sizes = ["--steps", "1", "--unrolls", "1", "--update-epochs", "1", "--query-epochs", "0", "--validation-rows", "1"]
    main(["--problem", "bowls", "--out", str(out), *sizes])
    record = load_optimizer(out).record
    assert (record["train"], record["validation"]) == ("bowls of train", "bowls of validation")
