"""The benchmark of policies: its bars by hand, which images and policies it uses, and the quick chain."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.bars import Bar, MeanCurves, attack_bars, bar_table, online_bars
from benchmarks.policies import PoliciesArgs, run_policies
from benchmarks.runner import RunArgs
from benchmarks.solvers import policy_training
from benchmarks.solvers.policies import SOLVERS
from benchmarks.stored_runs import Record, save_record
from benchmarks.suites import policies as suites
from zo_gym.agents import curves
from zo_gym.agents.compare import compare, held_out
from zo_gym.agents.policies import pretrained
from zo_gym.agents.policies.bundle import new_policy
from zo_gym.envs.env import ZOSamplingEnv
from zo_gym.files import write_json
from zo_gym.minimize import minimize
from zo_gym.problems.attack.problem import SPLITS

GRID = np.array([1, 50, 100, 500, 1000])


def store(folder: Path, problem: str, method: str, best: list[float], success: list[int] | None = None) -> None:
    curve = np.array([best])
    extras = {} if success is None else {"success_at": np.array(success)}
    rows = 1 if success is None else len(success)
    meta: dict[str, Any] = {"label": method, "group": "further", "dim": 10}
    save_record(
        folder,
        Record(problem, method, 0, GRID, np.repeat(curve, rows, axis=0), None, np.full(rows, 1000), extras, meta),
    )


def test_the_bars_of_an_attack_by_hand(tmp_path: Path) -> None:
    store(tmp_path, "attack", "policy", [8, 2, 1.5, 1.2, 1.1], [10, 20, -1])
    store(tmp_path, "attack", "true", [8, 1, 1, 1, 1], [5, 5, 5])
    store(tmp_path, "attack", "zo-sgd", [8, 8, 7, 5, 4], [700, 800, 900])
    store(tmp_path, "attack", "zo-sgd+composite", [8, 6, 5, 3, 1.3], [400, 500, 600])
    bars = {bar.name.removeprefix("composite term exact: "): bar.value for bar in attack_bars(tmp_path, "attack")}
    assert bars["f / the true direction's, 100 queries"] == pytest.approx(1.5)
    assert bars["f / the true direction's, 1,000 queries"] == pytest.approx(1.1)
    assert bars["failures"] == pytest.approx(1 / 3)
    assert bars["median queries to success"] == 20
    assert bars["f after 50 queries / ZO-SGD's after 1,000"] == pytest.approx(0.5)
    assert bars["queries to ZO-SGD's last f, share"] == pytest.approx(0.05)
    assert bars["queries to random composite's last f, share"] == pytest.approx(0.5)
    assert len(bars) == 7  # nothing is said of policies that see f as a whole: they were not run


def test_the_bars_of_classification_by_hand(tmp_path: Path) -> None:
    store(tmp_path, "a9a", "rand-ada", [9, 7, 6, 5, 3])
    store(tmp_path, "a9a", "directional", [9, 7, 6, 5, 4])
    store(tmp_path, "a9a", "gp", [9, 7, 6, 3, 2])
    store(tmp_path, "a9a", "cma-es", [9, 7, 6, 3, 3])
    store(tmp_path, "a9a", "l-bfgs-b", [9, 7, 6, 3, 1.5])
    values = [bar.value for bar in online_bars(tmp_path, "a9a")]
    assert values[:2] == [math.inf, 0.5]
    assert values[2:] == pytest.approx([-1.0, 0.5, 0.5])


def test_a_bar_is_met_missed_or_beaten() -> None:
    assert [Bar("x", value, 2.0, 1.0).verdict for value in (1.0, 1.5, 2.5, math.nan)] == [
        "aim met",
        "met",
        "missed",
        "missed",
    ]
    assert "| x | 2.00 | 1.00 | never | missed |" in bar_table([Bar("x", math.inf, 2.0, 1.0)])
    assert "| y | 2.00 |  | 0.50 | met |" in bar_table([Bar("y", 0.5, 2.0)])


def test_what_was_not_run_is_said(tmp_path: Path) -> None:
    store(tmp_path, "attack", "policy", [8, 2, 1.5, 1.2, 1.1], [10, 20, -1])
    with pytest.raises(KeyError):
        MeanCurves(tmp_path, "attack").at("zo-sgd", 50)


def test_policies_are_tried_on_images_that_nothing_else_uses() -> None:
    """Training, tuning and validation end where the fresh images begin."""
    task = suites.SUITE["mnist_attack"]
    first, _ = SPLITS[task.splits["test"]]
    for role in ("tuning", "train", "validation"):
        start, count = SPLITS[task.splits[role]]  # type: ignore[index]
        assert count is not None
        assert start + count <= first


def test_each_repeat_has_a_policy_of_its_own_and_other_victims_share_it(tmp_path: Path) -> None:
    task = suites.SUITE["mnist_attack"]
    assert [task.repeat_of(range(50 * repeat, 50 * repeat + 50)) for repeat in range(3)] == [0, 1, 2]
    own = suites.policy_folder(task, tmp_path / task.name, "slopes", 1)
    apart = suites.ABLATIONS["mnist_attack"]
    assert suites.policy_folder(apart, tmp_path / suites.ABLATIONS_FOLDER / apart.name, "slopes", 1) == own
    oddly_named = tmp_path / suites.ABLATIONS_FOLDER  # results that are no ablations, in a folder of that name
    assert suites.policy_folder(task, oddly_named / task.name, "slopes", 1).is_relative_to(oddly_named)
    other = suites.TRANSFER["mnist_mlp_attack"]
    assert suites.policy_folder(other, tmp_path / other.name, "slopes", 1) == own


def test_a_policy_is_trained_on_the_victim_that_its_folder_is_named_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where only another victim's task is asked for."""
    trained: list[str] = []

    def stand_in(problem: str, folder: Path, *args: Any, **options: Any) -> None:
        trained.append(problem)
        write_json(folder / "config.json", {})

    monkeypatch.setattr(policy_training, "train_policy", stand_in)
    prepare = SOLVERS["policy"].prepare
    assert prepare is not None
    for name in ("mnist_mlp_attack", "mnist_attack"):
        prepare({**suites.SUITE, **suites.TRANSFER}[name], tmp_path / name)
    assert trained == ["mnist_attack"] * 3


def test_every_ablation_is_there() -> None:
    """What a policy learns from, how it probes, its steps, its parts, and its controls."""
    wanted = "rewards both in-the-loop regression plain-images polyak no-gate no-memory untrained template"
    assert set(wanted.split()) <= SOLVERS.keys()


@pytest.mark.parametrize("name", pretrained.names())
def test_a_policy_that_ships_says_what_it_is_and_attacks(name: str) -> None:
    size = sum(file.stat().st_size for file in pretrained.folder(name).iterdir())
    assert size < 1_000_000
    for word in ("Data", "Training", "Results", "Limits"):
        assert f"## {word}" in pretrained.card(name)
    if name.startswith("mnist"):
        return  # its victim takes a minute to train
    problem = suites.PRETRAINED[name].name
    result = minimize(f"{problem}[0]", method=f"pretrained:{name}", composite=True, budget=101, seed=0)
    assert result.fun < 0.6 * result.trace.fun[0]


def test_a_policy_of_ones_own_is_followed_as_one_that_ships() -> None:
    own: dict[str, Any] = {"composite": True, "budget": 8, "seed": 1}
    shipped = minimize("digits_attack[0]", method="pretrained:digits-attack", **own)
    for weights in (pretrained.folder("digits-attack"), pretrained.load("digits-attack")):
        assert minimize("digits_attack[0]", method="pretrained", weights=weights, **own).fun == shipped.fun
    other = new_policy(pretrained.load("digits-attack").config, seed=5)
    assert minimize("digits_attack[0]", method="pretrained", weights=other, **own).fun > 2 * shipped.fun


def test_the_comparison_follows_a_policy_of_a_family_as_those_that_ship_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of the batch is what `minimize` does from its start on its image, until a direction is drawn."""
    monkeypatch.setattr(curves, "DELTAS", (1.0,))
    policy = pretrained.load("digits-attack")
    settings = {**policy.config.environment, "problem_options": {"size": 5}, "budget": 42}
    seeds = [11, 12, 13]
    found = {c.name: c for c in compare(policy, settings, seeds)}
    assert list(found) == [
        "trained policy + gp",
        "untrained + gp (control)",
        "trained policy alone",
        "random, diminishing (control)",
        "ZO-SGD, composite exact, tuned eta 0.0156",
        "ZO-SGD, tuned eta 0.0156",
    ]
    for c in found.values():
        assert c.best.shape[0] == len(seeds)
        assert (c.spent <= 42).all()
        np.testing.assert_allclose(c.best[:, 0], found["trained policy alone"].best[:, 0], rtol=1e-6)
    followed = found["trained policy + gp"]
    assert (followed.spent == 42).sum() >= 1  # the first steps cost one query each
    for row, seed in enumerate(seeds):
        env = ZOSamplingEnv(**held_out(settings))
        env.reset(seed=seed)
        image = env.config.problem.instance(int(env.oracle.instances))
        alone = minimize(image, env.x, method="pretrained:digits-attack", composite=True, budget=6, seed=0)
        np.testing.assert_allclose(followed.best[row, :6], alone.trace.best, rtol=1e-4)


def test_unknown_policies_and_other_problems_are_refused() -> None:
    with pytest.raises(ValueError, match=r"needs a policy that ships.*got neither"):
        minimize("digits_attack[0]", method="pretrained", budget=50)
    with pytest.raises(ValueError, match="got both"):
        minimize("digits_attack[0]", method="pretrained:digits-attack", weights="runs/x/policy", budget=50)
    with pytest.raises(FileNotFoundError, match=r"No policy in runs.x.policy"):
        minimize("digits_attack[0]", method="pretrained", weights="runs/x/policy", budget=50)
    with pytest.raises(ValueError, match=r"pretrained policy.*'digit-attack'"):
        minimize("digits_attack[0]", method="pretrained:digit-attack", budget=50)
    with pytest.raises(ValueError, match="is for d = 64, and the problem has d = 30"):
        minimize("breast_cancer", method="pretrained:digits-attack", budget=50)
    with pytest.raises(ValueError, match="observes the context"):
        minimize(lambda x: float((x**2).sum()), torch.zeros(64), method="pretrained:digits-attack", budget=50)


@pytest.mark.slow
def test_the_quick_chain(tmp_path: Path) -> None:
    out = run_policies(PoliciesArgs(quick=True, run=RunArgs(tmp_path, progress=False)))
    assert {"tables.md", "bars.md", "gallery_digits_attack.png", "filmstrip_digits_attack.png"} <= {
        p.name for p in out.iterdir()
    }
