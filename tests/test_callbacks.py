"""What a run logs, what it may spend, and how it ends."""

from __future__ import annotations

import io
import itertools
import signal
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from zo_gym import PROBLEMS, Problem
from zo_gym.agents import train
from zo_gym.agents.arguments import TrainArgs
from zo_gym.agents.sb3.callbacks import MetricsCallback, QueryBudget, Trajectory
from zo_gym.agents.sb3.vec_env import env_of
from zo_gym.agents.train import learn, run_training
from zo_gym.agents.training_run import prepare, train_in_memory
from zo_gym.interruption import SIGNALS, Interruption
from zo_gym.metrics import NAMES

QUADRATIC = PROBLEMS["quadratic"]
ALWAYS = {
    "zo/f",
    "zo/best_f",
    "zo/queries",
    "zo/total_queries",
    "zo/slope",
    "zo/cosine",
    "zo/saturation",
    "train/critic_loss",
    "train/actor_loss",
    "train/learning_rate",
    "rollout/ep_rew_mean",
    "rollout/ep_len_mean",
    "time/fps",
    "final/policy_f",
    "final/untrained_f",
    "final/zo_sgd_f",
}


@dataclass
class Evaluations:
    """Evaluations of f, counted inside f."""

    count: int = 0
    interrupt_at: int | None = None
    signal: signal.Signals = signal.SIGINT

    def register(self, patch: pytest.MonkeyPatch, name: str = "quadratic") -> None:
        """Make the registered problem count, and send the signal at one of its evaluations."""
        plain = PROBLEMS[name]

        @wraps(plain)
        def counting(**options: Any) -> Problem:
            problem = plain(**options)

            def fun(points: torch.Tensor, instances: torch.Tensor) -> torch.Tensor:
                before, self.count = self.count, self.count + points.shape[:2].numel()
                if self.interrupt_at is not None and before < self.interrupt_at <= self.count:
                    signal.raise_signal(self.signal)
                return problem.fun(points, instances)

            return replace(problem, fun=fun)

        patch.setitem(PROBLEMS, name, counting)


def tiny(logdir: Path, **changes: Any) -> TrainArgs:
    """A run of some hundred queries on a quadratic."""
    base = TrainArgs(
        problem="quadratic",
        problem_options='{"dim": 4}',
        gate="open",
        budget=600,
        eval_seeds=0,
        progress=False,
        device="cpu",
    )
    return replace(base, **{"logdir": logdir, **changes})


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EventAccumulator]:
    """One run of every agent, the second with a gate: its TensorBoard events."""
    logdir = tmp_path_factory.mktemp("runs")
    arguments = {
        "ddpg": tiny(logdir, algo="ddpg", total_queries=600, budget=401, eval_seeds=2),
        "td3": tiny(
            logdir,
            algo="td3",
            total_queries=1000,
            budget=801,
            eval_seeds=2,
            gate="paper",
            gate_threshold=0.9,
            num_directions=2,
        ),
        "sac": tiny(logdir, algo="sac", total_queries=600, budget=401, eval_seeds=2),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zo_gym.agents.curves.DELTAS", (1.0,))  # tuning ZO-SGD is not what is tested here
        return {name: events(run_training(args)) for name, args in arguments.items()}


@pytest.mark.parametrize("algo", ["ddpg", "td3", "sac"])
def test_every_logged_name_is_in_the_table_of_metrics(runs: dict[str, EventAccumulator], algo: str) -> None:
    tags = runs[algo].Tags()
    assert set(tags["scalars"]) | set(tags["images"]) <= NAMES
    assert not any(tags[kind] for kind in ("audio", "histograms", "distributions", "tensors"))


@pytest.mark.parametrize(
    ("algo", "more"),
    [
        ("ddpg", {"zo/reward_scale"}),
        ("td3", {"zo/reward_scale", "zo/rho", "zo/gate_open"}),
        ("sac", {"zo/reward_scale", "train/ent_coef", "train/ent_coef_loss"}),
    ],
)
def test_every_promised_metric_is_logged(runs: dict[str, EventAccumulator], algo: str, more: set[str]) -> None:
    assert set(runs[algo].Tags()["scalars"]) == ALWAYS | more


def test_every_metric_of_the_table_is_logged_by_some_run(runs: dict[str, EventAccumulator]) -> None:
    logged = {tag for run in runs.values() for kind in ("scalars", "images") for tag in run.Tags()[kind]}
    assert logged == NAMES


@pytest.mark.parametrize("algo", ["ddpg", "td3", "sac"])
def test_hyper_parameters_and_the_figure_are_there(runs: dict[str, EventAccumulator], algo: str) -> None:
    run = runs[algo]
    assert run.Tags()["images"] == ["final/comparison"]
    (image,) = run.Images("final/comparison")
    assert image.encoded_image_string.startswith(b"\x89PNG")
    plugin = run.summary_metadata
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= set(plugin)
    start = plugin["_hparams_/session_start_info"].plugin_data.content
    for name in (b"algo", b"gate", b"seed", b"agent_learning_rate", b"learning_rate", b"network"):
        assert name in start
    assert b"final/policy_f" in plugin["_hparams_/experiment"].plugin_data.content


def test_logged_values_mean_what_the_table_says(runs: dict[str, EventAccumulator]) -> None:
    run = runs["ddpg"]

    def values(tag: str) -> list[float]:
        return [event.value for event in run.Scalars(tag)]

    steps = [event.step for event in run.Scalars("zo/f")]
    # Every 50 steps, and once more for the rest.
    assert steps[:-1] == [50 * (i + 1) for i in range(len(steps) - 1)]
    assert steps[-2] < steps[-1] <= steps[-2] + 50
    assert len(steps) == 6
    # One episode of 200 steps (401 queries), then a second one: 1 query at reset and 2 a step.
    assert values("zo/total_queries") == [1 + 2 * s + (s >= 200) for s in steps]
    # Mean over steps s-49..s of 1 + 2 s, all inside the first episode.
    assert values("zo/queries")[:4] == [1 + 2 * (s - 24.5) for s in steps[:4]]
    assert all(best <= f + 1e-12 for best, f in zip(values("zo/best_f"), values("zo/f"), strict=True))
    assert all(0 <= value <= 1 for value in values("zo/saturation"))
    assert all(-1 <= value <= 1 for value in values("zo/cosine"))
    assert all(value > 0 for value in values("zo/slope"))
    assert values("rollout/ep_len_mean") == [200.0] * len(values("rollout/ep_len_mean"))


def test_rho_and_the_gate_are_shares_and_cosines(runs: dict[str, EventAccumulator]) -> None:
    rho = [event.value for event in runs["td3"].Scalars("zo/rho")]
    share = [event.value for event in runs["td3"].Scalars("zo/gate_open")]
    assert all(-1 <= value <= 1 for value in rho)
    assert all(0 <= value <= 1 for value in share)
    assert max(share) > 0  # it did open: both phases are in this run


@pytest.mark.parametrize(
    "changes",
    [
        {"total_queries": 301},
        {"total_queries": 302, "num_envs": 3},
        {"total_queries": 303, "gate": "paper", "gate_threshold": 0.8},
        {"total_queries": 304, "gate": "hysteresis", "num_envs": 3, "budget": 70},
        {"total_queries": 305, "noise_std": 0.1, "budget": 50},
        {"total_queries": 40, "num_envs": 5, "budget": 5},
    ],
)
def test_training_never_spends_more_than_its_budget_counted_inside_f(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluations = Evaluations()
    evaluations.register(monkeypatch)
    run = prepare(tiny(tmp_path, **{"budget": 60, **changes}), tmp_path)
    interrupted, metrics, _ = learn(run)
    assert not interrupted
    assert evaluations.count == metrics.total_queries() <= run.preset.total_queries
    # What is left would not hold the dearest step of every row and a fresh start for it.
    spec = env_of(run.agent.env).config
    dearest = (spec.policy_cost if spec.settings.gate == "open" else spec.random_cost) + 1
    assert evaluations.count + dearest * run.preset.num_envs > run.preset.total_queries


@pytest.mark.parametrize("total", [-5, 0, 2])
def test_a_budget_too_small_for_one_step_is_refused_before_f_is_called(
    total: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluations = Evaluations()
    evaluations.register(monkeypatch)
    with pytest.raises(ValueError, match="--total-queries must be at least"):
        run_training(tiny(tmp_path, total_queries=total, num_envs=3))
    assert evaluations.count == 0


def test_episodes_are_kept_with_their_own_last_values(tmp_path: Path) -> None:
    """A row that ended has started anew by the time the callback looks."""
    _, metrics, _ = learn(prepare(tiny(tmp_path, total_queries=400, num_envs=2, budget=51), tmp_path))
    assert len(metrics.episodes) >= 6
    assert all(queries == 51 for queries, _ in metrics.episodes)
    assert len({best for _, best in metrics.episodes}) == len(metrics.episodes)


def test_training_in_memory_follows_the_first_row_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepare(tiny(tmp_path, total_queries=100, budget=100), tmp_path)
    monkeypatch.delenv("SB3_LOGDIR")  # Stable-Baselines3 would log there, else among the temporary files
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    queries, best = train_in_memory(run)
    assert queries == list(range(1, 100, 2))
    assert all(after <= before for before, after in itertools.pairwise(best))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: signal.Signals(number).name)
@pytest.mark.parametrize("at", [50, 299])
def test_a_signal_ends_training_between_two_steps_and_is_given_back(
    at: int, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    outside = signal.signal(number, before)  # the tests themselves may run under nohup
    try:
        evaluations = Evaluations(interrupt_at=at, signal=number)
        evaluations.register(monkeypatch)
        run = prepare(tiny(tmp_path, total_queries=1000), tmp_path)
        interrupted, metrics, _ = learn(run)
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, outside)
    assert interrupted
    assert at <= evaluations.count == metrics.total_queries() <= at + 1  # the step that ran was finished
    assert evaluations.count == 1 + 2 * run.agent.num_timesteps
    assert (tmp_path / "checkpoint.pt").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP")
def test_a_hangup_that_nohup_ignores_stays_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Evaluations(interrupt_at=50, signal=signal.SIGHUP).register(monkeypatch)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        interrupted, metrics, _ = learn(prepare(tiny(tmp_path, total_queries=300), tmp_path))
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not interrupted
    assert metrics.total_queries() > 290


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP")
@pytest.mark.parametrize("first", ["SIGHUP", "SIGTERM"])
def test_a_second_sighup_never_acts(first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that closes sends two; a test would not survive one that acts."""
    outside = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    raise_when_asked(monkeypatch, [getattr(signal, first), signal.SIGHUP])
    try:
        interrupted, *_ = learn(prepare(tiny(tmp_path, total_queries=300), tmp_path))
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, outside)
    assert interrupted
    assert (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: signal.Signals(number).name)
@pytest.mark.parametrize("saving", ["save_checkpoint", "save_policy"])
def test_no_signal_acts_while_all_is_saved(
    saving: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither after one that ended training nor after training that ended by itself; a test would not survive one."""
    plain = getattr(train, saving)

    def save(*args: Any) -> Any:
        for _ in range(2):
            signal.raise_signal(number)
        return plain(*args)

    before = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    outside = signal.signal(number, before)  # the tests themselves may run under nohup
    try:
        monkeypatch.setattr(train, saving, save)
        for ends_training in ([], [number]):
            raise_when_asked(monkeypatch, ends_training)
            interrupted, *_ = learn(prepare(tiny(tmp_path, total_queries=100), tmp_path))
            assert interrupted
            assert signal.getsignal(number) is before
            (tmp_path / "checkpoint.pt").unlink()
            (tmp_path / "policy" / "weights.safetensors").unlink()
    finally:
        signal.signal(number, outside)


def raise_when_asked(patch: pytest.MonkeyPatch, numbers: list[signal.Signals], at: int = 20) -> None:
    """Raise these signals when the registered quadratic has been asked `at` times."""
    plain = QUADRATIC

    @wraps(plain)
    def raising(**options: Any) -> Problem:
        problem, calls = plain(**options), itertools.count(1)

        def fun(points: torch.Tensor, instances: torch.Tensor) -> torch.Tensor:
            if next(calls) == at:
                for number in numbers:
                    signal.raise_signal(number)
            return problem.fun(points, instances)

        return replace(problem, fun=fun)

    patch.setitem(PROBLEMS, "quadratic", raising)


def test_a_second_sigterm_kills_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first one the default action is back; a test would not survive the second."""
    plain, found = PROBLEMS["quadratic"], list[Any]()

    @wraps(plain)
    def watched(**options: Any) -> Problem:
        problem = plain(**options)

        def fun(points: torch.Tensor, instances: torch.Tensor) -> torch.Tensor:
            found.append(None)
            if len(found) == 20:
                signal.raise_signal(signal.SIGTERM)
                found.append(signal.getsignal(signal.SIGTERM))
            return problem.fun(points, instances)

        return replace(problem, fun=fun)

    monkeypatch.setitem(PROBLEMS, "quadratic", watched)
    interrupted, *_ = learn(prepare(tiny(tmp_path, total_queries=300), tmp_path))
    assert interrupted
    assert found[20] == signal.SIG_DFL


def test_a_second_ctrl_c_ends_training_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    raise_when_asked(monkeypatch, [signal.SIGINT, signal.SIGINT])
    with pytest.raises(KeyboardInterrupt):
        learn(prepare(tiny(tmp_path, total_queries=1000), tmp_path))
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP")
def test_a_progress_bar_is_not_written_to_a_terminal_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for noted in (signal.SIGTERM, signal.SIGHUP):
        interruption = Interruption()
        budget = QueryBudget(10, True, interruption)
        shown = terminal.getvalue()
        assert "0/10" in shown
        interruption.noted.add(noted)
        budget.close()
        assert (terminal.getvalue() == shown) == (noted == signal.SIGHUP)


def test_an_interrupted_training_in_memory_is_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a curve must not be drawn as a whole one."""
    Evaluations(interrupt_at=50).register(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train_in_memory(prepare(tiny(tmp_path, total_queries=200), tmp_path))


def test_callbacks_begin_empty() -> None:
    assert MetricsCallback().episodes == []
    assert (Trajectory().queries, Trajectory().best) == ([], [])
    assert QueryBudget(10, progress=False).total_queries == 10
