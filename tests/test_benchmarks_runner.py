"""The runner: one file per method, problem and seed; nothing done twice or lost, or tuned on what is reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.orderings import Ordering, broken
from benchmarks.plan import MINIMUM, Job, Table, jobs_of
from benchmarks.recorder import Recorder
from benchmarks.runner import run_all, worker_pool
from benchmarks.solvers.agents import SOLVERS
from benchmarks.solvers.base import Setup, Solver, SolverOutcome, starts_of
from benchmarks.solvers.baselines import baseline_run
from benchmarks.solvers.zeroth_order import method_run
from benchmarks.stored_runs import load_all, load_record, path_of
from benchmarks.suites.paper import QUICK, SUITE
from benchmarks.suites.task import Task
from benchmarks.tuner import tuned_options
from benchmarks.worker import work
from zo_gym.agents.curves import grid_of, on_grid
from zo_gym.datasets import FILES
from zo_gym.errors import ObjectiveError
from zo_gym.minimize import minimize

SIZES = {"test": 3, "tuning": 2, "train": 6, "validation": 2}
TINY = {
    "quadratic": Task("quadratic", "classification", SIZES, budget=300),  # type: ignore[arg-type]
    "digits_attack": Task("digits_attack", "attack", SIZES, budget=100),  # type: ignore[arg-type]
}
TABLE = Table(tasks=f"{__name__}:TINY")


class Now(Executor):
    """Runs what is submitted at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def run(folder: Path, tasks: list[str], methods: list[str]) -> None:
    run_all(TABLE, tasks, methods, folder, Now(), progress=False)


def test_every_seed_of_a_problem_is_a_file_and_all_images_of_an_attack_are_one(tmp_path: Path) -> None:
    run(tmp_path, ["quadratic", "digits_attack"], ["rand-ada"])
    assert [r.seed for r in load_all(tmp_path, "quadratic", "rand-ada")] == [0, 1, 2]
    (attack,) = load_all(tmp_path, "digits_attack", "rand-ada")
    assert attack.best.shape == (3, len(grid_of(100)))
    assert attack.extras["original"].shape == (3, 64)
    assert attack.meta["victim"]["accuracy"] > 0.9


def test_a_run_is_the_same_run_as_minimize_makes(tmp_path: Path) -> None:
    """Same start, same count; the directions are drawn from another stream, so only f at the start is compared."""
    run(tmp_path, ["quadratic"], ["rand-ada"])
    for seed, record in enumerate(load_all(tmp_path, "quadratic", "rand-ada")):
        result = minimize("quadratic", method="rand-ada", budget=300, seed=seed)
        assert record.best[0, 0] == result.trace.fun[0]
        assert record.spent[0] == result.nfev
        assert (np.diff(record.best[0]) <= 0).all()
        assert record.best[0, -1] < 0.1 * record.best[0, 0]


def test_finished_results_are_not_touched_and_a_missing_one_comes_back_the_same(tmp_path: Path) -> None:
    run(tmp_path, ["quadratic"], ["zo-sgd"])
    files = [path_of(tmp_path, "quadratic", "zo-sgd", seed) for seed in range(3)]
    before = [load_record(file).best for file in files]
    times = [file.stat().st_mtime_ns for file in files]
    assert jobs_of(TABLE, ["quadratic"], ["zo-sgd"], tmp_path) == []
    files[1].unlink()
    assert jobs_of(TABLE, ["quadratic"], ["zo-sgd"], tmp_path) == [[Job("quadratic", "zo-sgd", (1,))]]
    run(tmp_path, ["quadratic"], ["zo-sgd"])
    assert [file.stat().st_mtime_ns for file in files][::2] == times[::2]
    np.testing.assert_array_equal(load_record(files[1]).best, before[1])


def test_an_interruption_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(setup: Setup) -> SolverOutcome:
        raise KeyboardInterrupt

    broken_one = Solver("broken", "control", interrupted)
    monkeypatch.setitem(SOLVERS, "broken", broken_one)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, ["quadratic"], ["rand-ada", "broken"])
    assert len(load_all(tmp_path, "quadratic", "rand-ada")) == 3
    assert load_all(tmp_path, "quadratic", "broken") == []


def test_a_failure_does_not_end_the_others_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(setup: Setup) -> SolverOutcome:
        raise ObjectiveError("f overflowed")

    monkeypatch.setitem(SOLVERS, "failing", Solver("failing", "control", failing))
    with pytest.raises(RuntimeError, match=r"1 job\(s\) failed.*failing on quadratic: ObjectiveError: f overflowed"):
        run(tmp_path, ["quadratic"], ["failing", "rand-ada"])
    assert len(load_all(tmp_path, "quadratic", "rand-ada")) == 3


def test_methods_that_run_row_by_row_are_jobs_of_one_seed() -> None:
    table = Table()
    waves = jobs_of(table, ["heart_scale"], ["zo-rl", "zo-rl-lstm", "zo-sgd"], Path("nowhere"))
    assert waves[0][0] == Job("heart_scale", MINIMUM)
    assert Job("heart_scale", "zo-lstm") in waves[0]
    assert Job("heart_scale", "zo-sgd", tuple(range(10))) in waves[0]
    assert Job("heart_scale", "zo-rl-lstm") in waves[1]  # it learns inside what zo-lstm has learned
    assert [job.rows for job in waves[1] if job.method == "zo-rl"] == [(row,) for row in range(10)]
    assert [job.rows for job in waves[2] if job.method == "zo-rl-lstm"] == [(row,) for row in range(10)]


def test_tuning_tries_the_range_then_around_the_best_and_is_kept(tmp_path: Path) -> None:
    tried: list[float] = []

    def parabola(setup: Setup) -> SolverOutcome:
        value = setup.options["delta"]
        tried.append(value)
        if value > 500:
            raise ObjectiveError("overflow")
        recorder = Recorder(setup.problem, 300)
        recorder.add(1, [(np.log10(value) - 0.4) ** 2] * setup.problem.size)
        return recorder.finish(starts_of(setup.problem))

    table = {"p": Solver("p", "control", parabola, {"delta": (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)})}
    found = tuned_options("p", table, TINY["quadratic"], tmp_path)
    assert len(tried) == 10
    assert found["delta"] == pytest.approx(10 ** (1 / 3))  # log10 = 1/3 is the nearest of the finer ones to 0.4
    stored = json.loads((tmp_path / "p" / "tuning.json").read_text())
    assert stored["search"]["1000"] == float("inf")
    assert stored["first_seed"] == 100
    assert tuned_options("p", table, TINY["quadratic"], tmp_path) == found
    assert len(tried) == 10


@pytest.mark.parametrize(("shares", "budget"), [({}, 120), ({"quadratic": 0.1}, 30), ({"a9a": 0.1}, 120)])
def test_a_task_may_be_tuned_on_a_smaller_share_of_its_budget(
    shares: dict[str, float], budget: int, tmp_path: Path
) -> None:
    def spender(setup: Setup) -> SolverOutcome:
        recorder = Recorder(setup.problem, setup.task.budget)
        recorder.add(setup.task.budget, [1.0] * setup.problem.size)
        return recorder.finish(starts_of(setup.problem))

    solver = Solver("p", "control", spender, {"delta": (1.0,)}, tuning_share=0.4, tuning_shares=shares)
    tuned_options("p", {"p": solver}, TINY["quadratic"], tmp_path)
    assert json.loads((tmp_path / "p" / "tuning.json").read_text())["budget"] == budget


def test_an_option_at_which_everything_fails_is_an_error(tmp_path: Path) -> None:
    def hopeless(setup: Setup) -> SolverOutcome:
        raise ObjectiveError("overflow")

    with pytest.raises(ValueError, match=r"p diverged on quadratic for every delta"):
        tuned_options("p", {"p": Solver("p", "control", hopeless, {"delta": (1.0,)})}, TINY["quadratic"], tmp_path)


def cheap_tasks() -> list[Any]:
    """The roles do not depend on the data: leave out what takes long to load, and mark what needs a file."""
    slow = ("mnist_attack", "a9a", "german.numer_scale")
    tasks = [t for t in (*SUITE.values(), *QUICK.values()) if t.name not in slow]
    return [
        pytest.param(t, id=f"{t.name}-{t.budget}", marks=[pytest.mark.needs_data(t.name)] if t.name in FILES else [])
        for t in tasks
    ]


@pytest.mark.parametrize("task", cheap_tasks())
def test_nothing_is_tuned_or_trained_on_what_is_reported(task: Task) -> None:
    reported = starts_of(task.problem("test"))
    for role in ("tuning", "train", "validation"):
        others = starts_of(task.problem(role))  # type: ignore[arg-type]
        assert torch.cdist(reported.double(), others.double()).min() > 0.01


def test_all_methods_begin_at_the_same_points(tmp_path: Path) -> None:
    run(tmp_path, ["digits_attack"], ["rand-ada", "zo-sgd", "l-bfgs-b"])
    starts = [load_all(tmp_path, "digits_attack", m)[0].best[:, 0] for m in ("rand-ada", "zo-sgd", "l-bfgs-b")]
    np.testing.assert_array_equal(starts[0], starts[1])
    np.testing.assert_allclose(starts[0], starts[2], rtol=1e-5)  # another batch size, float32


def test_success_is_the_first_adversarial_iterate(tmp_path: Path) -> None:
    run(tmp_path, ["digits_attack"], ["true-gradient"])
    (record,) = load_all(tmp_path, "digits_attack", "true-gradient")
    fooled = record.extras["predicted"] != record.extras["label"]
    at = record.extras["success_at"]
    assert (at[fooled] >= 1).all()
    assert (at <= 100).all()
    assert fooled.any()
    np.testing.assert_allclose(
        record.extras["distortion"],
        np.abs(record.extras["final_x"] - record.extras["original"]).sum(1),
        rtol=1e-4,
    )


def test_a_peer_is_charged_for_every_point_and_its_curve_is_what_it_has_seen(tmp_path: Path) -> None:
    task = TINY["quadratic"]
    outcome = baseline_run("cma-es")(Setup(task, task.problem("test"), (0, 1, 2), {}, tmp_path))
    assert (outcome.spent <= 300).all()
    assert (outcome.spent > 280).all()  # no population of more than 20 points at d = 10
    assert (np.diff(outcome.best) <= 0).all()


def test_equal_seeds_make_equal_runs_and_others_do_not(tmp_path: Path) -> None:
    task = TINY["quadratic"]

    def final(seeds: tuple[int, ...]) -> np.ndarray:
        return method_run("rand-ada")(Setup(task, task.problem("test"), seeds, {}, tmp_path)).best[:, -1]

    np.testing.assert_array_equal(final((0, 1, 2)), final((0, 1, 2)))
    assert (final((0, 1, 2)) != final((3, 4, 5))).all()


def test_rows_may_be_at_different_counts() -> None:
    problem = TINY["quadratic"].problem("test", 2)
    recorder = Recorder(problem, 300)
    recorder.add(1, [9.0, 8.0])
    recorder.add(np.array([100, 200]), [3.0, 4.0], cosine=[0.5, np.nan])
    recorder.add(np.array([100, 250]), [3.0, 2.0], cosine=[np.nan, 0.7])  # the first row has ended
    outcome = recorder.finish(starts_of(problem))
    at = outcome.queries
    np.testing.assert_array_equal(outcome.best[0], np.where(at < 100, 9.0, 3.0))
    np.testing.assert_array_equal(outcome.best[1], np.select([at < 200, at < 250], [8.0, 4.0], 2.0))
    assert outcome.spent.tolist() == [100, 250]
    assert outcome.cosine is not None
    for row, (first, value) in enumerate(((100, 0.5), (250, 0.7))):
        assert np.isnan(outcome.cosine[row, outcome.queries < first]).all()
        assert (outcome.cosine[row, outcome.queries >= first] == value).all()


def test_an_exception_ends_what_the_workers_still_do() -> None:
    jobs: list[Future[None]] = []

    def interrupted() -> None:
        with worker_pool(1) as pool:
            jobs.append(pool.submit(time.sleep, 600))
            while not jobs[0].running():
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()  # that it returns is the proof
    with pytest.raises(BrokenProcessPool):
        jobs[0].result()


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """Also in the midst of a job, and after SIGKILL, which no parent can answer."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from benchmarks.runner import worker_pool\n"
        "if __name__ == '__main__':\n"
        "    with worker_pool(2) as pool:\n"
        "        futures = [pool.submit(time.sleep, 0.5) for _ in range(2)]  # as long as both start\n"
        "        print(*pool._processes, flush=True)\n"
        "        [future.result() for future in futures]\n"
        "        pool.submit(time.sleep, 600)\n"
        "        print('busy', flush=True)\n"
        "        time.sleep(600)\n"
    )
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    workers = [int(word) for word in parent.stdout.readline().split()]
    assert len(workers) == 2
    assert parent.stdout.readline() == "busy\n"
    assert all(alive(worker) for worker in workers)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(alive(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [worker for worker in workers if alive(worker)]
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    parent.stdout.close()
    assert left == []


def alive(process: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not (stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_unknown_names_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Did you mean 'quadratic'"):
        jobs_of(TABLE, ["quadratik"], ["zo-sgd"], tmp_path)
    with pytest.raises(ValueError, match="Did you mean 'zo-sgd'"):
        jobs_of(TABLE, ["quadratic"], ["zo-sdg"], tmp_path)


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    run(tmp_path, ["quadratic"], ["rand-ada"])
    file = path_of(tmp_path, "quadratic", "rand-ada", 0)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"0\.npz is not a result of this version"):
        load_all(tmp_path, "quadratic", "rand-ada")


def test_values_are_carried_forward_to_the_grid() -> None:
    grid = np.array([1, 2, 3, 10, 11])
    np.testing.assert_array_equal(on_grid(grid, [1, 3, 10], np.array([5.0, 4.0, 2.0])), [5, 5, 4, 2, 2])


def test_the_least_known_f_of_the_quadratic_is_its_minimum(tmp_path: Path) -> None:
    assert work(TABLE, Job("quadratic", MINIMUM), tmp_path).failure == ""
    found = json.loads((tmp_path / "quadratic" / "minimum.json").read_text())
    assert len(found["runs"]) == 6
    assert abs(found["f_star"]) < 1e-6  # L-BFGS-B's default tolerance on f of order 1


def test_a_broken_ordering_is_told_and_one_that_holds_is_not(tmp_path: Path) -> None:
    run(tmp_path, ["quadratic"], ["true-gradient-ada", "rand-ada"])
    good = Ordering("quadratic", ("true-gradient-ada",), ("rand-ada",), "reason")
    bad = Ordering("quadratic", ("rand-ada",), ("true-gradient-ada",), "reason")
    assert broken(tmp_path, (good,)) == []
    (message,) = broken(tmp_path, (good, bad))
    assert "rand-ada must end below true-gradient-ada (reason)" in message
    with pytest.raises(FileNotFoundError, match="No results of zo-sgd"):
        broken(tmp_path, (Ordering("quadratic", ("zo-sgd",), ("rand-ada",), ""),))


def test_an_attack_is_repeated_along_other_directions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"test": 2, "tuning": 1, "train": 1, "validation": 1}
    task = Task("digits_attack", "attack", sizes, budget=60, repeats=2)
    monkeypatch.setitem(TABLE.all_tasks(), task.name, task)
    monkeypatch.setitem(SOLVERS, "untuned", Solver("untuned", "control", method_run("rand-ada")))
    first, second = jobs_of(TABLE, [task.name], ["zo-sgd", "untuned"], tmp_path)
    assert first == [Job(task.name, "zo-sgd"), Job(task.name, "untuned", (0, 1)), Job(task.name, "untuned", (2, 3))]
    assert second == [Job(task.name, "zo-sgd", (0, 1)), Job(task.name, "zo-sgd", (2, 3))]
    run(tmp_path, [task.name], ["zo-sgd"])
    one, other = load_all(tmp_path, task.name, "zo-sgd")
    assert (one.seed, other.seed) == (0, 1)
    np.testing.assert_array_equal(one.extras["original"], other.extras["original"])
    np.testing.assert_array_equal(one.best[:, 0], other.best[:, 0])
    assert (one.best[:, -1] != other.best[:, -1]).all()
