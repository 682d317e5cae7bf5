"""`evaluate.py --peers`: what is counted, what is measured, what is kept, and what is said of missing libraries."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers import coco, solvers
from benchmarks.peers.cases import SUITES, Case, Suite, cases_of
from benchmarks.peers.coco import coco_instance
from benchmarks.peers.command import compare_peers, plan_of, write_suite
from benchmarks.peers.figure import draw_profiles, profile
from benchmarks.peers.oracle import CountedFunction, Instance, Search, Spent
from benchmarks.peers.own_problems import attack_instance, classification_instance
from benchmarks.peers.plan import jobs_left, run_name, stored_run
from benchmarks.peers.runner import do_job, run_case
from benchmarks.peers.solvers import DEFAULT_METHODS, PEERS, PeerSolver, missing_libraries, solver_of
from benchmarks.peers.summary import lines_of, outcomes_of, winners_of
from benchmarks.peers.tables import write_tables
from benchmarks.peers.targets import TARGETS, first_hits, share_hit
from benchmarks.stored_runs import Record, load_record, save_record
from zo_gym import BASELINES, METHODS
from zo_gym.agents.peer_options import PeerOptions
from zo_gym.auto import AUTO, PORTFOLIO
from zo_gym.minimize import minimize

needs_coco = pytest.mark.skipif(find_spec("cocoex") is None, reason=f"needs coco-experiment: {coco.INSTALL}")
CASE = Case("toy", "f001", 3, 1)


def sphere(x: np.ndarray) -> float:
    return float(((x - 1) ** 2).sum())


def box(fun: Callable[[np.ndarray], float] = sphere, true: Any = None, dim: int = 3) -> Instance:
    return Instance(fun, true, np.zeros(dim), np.full(dim, -5.0), np.full(dim, 5.0), 0.0)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two suites of two functions, exact and noisy."""
    groups = {"easy": ("f001",), "hard": ("f002",)}

    def noisy(case: Case) -> Instance:
        rng = np.random.default_rng(case.instance)
        return box(lambda x: sphere(x) + 0.1 * float(rng.standard_normal()), sphere)

    monkeypatch.setitem(SUITES, "toy", Suite("Toys", groups, lambda case: box(), dims=(3,)))
    monkeypatch.setitem(SUITES, "noisy-toy", Suite("Noisy toys", groups, noisy, dims=(3,), noisy=True))


def run(solver: Callable[[Search], Any], instance: Instance | None = None, suite: str = "toy", **facts: Any) -> Record:
    """Run a solver of one's own on a toy with 20 d queries."""
    (job,) = jobs_left([replace(CASE, suite=suite)], ["spsa-spall"], [20], 600.0, Path("nowhere"))
    return run_case(replace(job, **facts), PeerSolver("own", solver), instance or box(), {})


# The measure


@pytest.mark.parametrize(
    ("gap", "hit"),
    [
        (1000.0, 0),
        (100.0, 1),  # 10^2 alone
        (99.0, 1),
        (1.0, 11),  # 10^2, 10^1.8, ..., 10^0
        (0.5, 12),  # and 10^-0.2 = 0.63
        (1e-8, 51),
        (0.0, 51),
        (-1.0, 51),
        (math.inf, 0),
    ],
)
def test_the_share_counts_the_targets_that_are_hit(gap: float, hit: int) -> None:
    assert share_hit(gap) == hit / 51


def test_without_an_optimal_value_there_is_no_share() -> None:
    assert math.isnan(share_hit(math.nan))


def test_a_target_is_hit_when_f_first_falls_to_it() -> None:
    hits = first_hits(np.array([1, 7, 9, 30]), np.array([500.0, 50.0, 1.0, 1.0]))
    assert len(hits) == len(TARGETS) == 51
    np.testing.assert_array_equal(hits[:3], [7, 7, 9])  # 100, 63, 40
    assert hits[10] == 9
    assert np.isinf(hits[11:]).all()


# Counting


@pytest.mark.parametrize("name", [*PEERS, *DEFAULT_METHODS])
def test_every_query_is_counted_and_none_is_over_the_budget(name: str) -> None:
    missing = missing_libraries(name)
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: {solver_of(name).install}")
    calls: list[np.ndarray] = []

    def counting(x: np.ndarray) -> float:
        calls.append(x.copy())
        return sphere(x)

    record = run(solver_of(name).run, box(counting))
    assert record.meta["failure"] == ""
    assert 1 <= record.spent[0] == len(calls) <= 60
    assert len(calls) >= 55  # a solver that could go on would have to be restarted
    assert record.best[0, -1] == min(map(sphere, calls))
    if name not in ("torchzero", *DEFAULT_METHODS):
        assert np.abs(calls).max() <= 5 + 1e-9  # it was given the box


def test_a_query_over_the_budget_is_not_evaluated() -> None:
    calls: list[Any] = []
    f = CountedFunction(lambda x: calls.append(x) or 1.0, 2)  # type: ignore[func-returns-value]
    f(np.zeros(1))
    f(np.ones(1))
    for _ in range(3):
        with pytest.raises(Spent):
            f(np.ones(1))
    assert len(calls) == f.queries == 2


def test_a_solver_that_survives_errors_of_f_is_ended_all_the_same() -> None:
    def stubborn(search: Search) -> None:
        while True:
            try:
                search.f(search.start)
            except Exception:
                continue

    assert run(stubborn).spent[0] == 60


def test_a_solver_cannot_change_what_was_recorded() -> None:
    def scribbler(search: Search) -> None:
        x = search.start.copy()
        search.f(x)
        x[:] = 7.0

    np.testing.assert_array_equal(run(scribbler).extras["final_x"], [[0.0, 0.0, 0.0]])


def test_the_curve_holds_the_best_f_where_it_falls_and_at_the_end() -> None:
    values = iter([5.0, 7.0, math.nan, 3.0, 4.0])

    def five(search: Search) -> None:
        for _ in range(5):
            search.f(search.start)

    record = run(five, box(lambda x: next(values)))
    np.testing.assert_array_equal(record.queries, [1, 4, 5])
    np.testing.assert_array_equal(record.best, [[5.0, 3.0, 3.0]])


# Failures


def test_a_solver_that_raises_counts_with_what_it_has_and_is_listed(tmp_path: Path) -> None:
    def failing(search: Search) -> None:
        search.f(np.array([1.0, 1.0, 0.5]))
        raise ZeroDivisionError("a singular\n  matrix")

    record = run(failing)
    assert record.meta["failure"] == "ZeroDivisionError: a singular matrix"
    assert record.spent[0] == 1
    save_record(tmp_path, replace(record, method=run_name("spsa-spall", 20)))
    found = outcomes_of(tmp_path, [CASE], ["spsa-spall"], 20)
    (line,) = lines_of(found)
    assert line.failures == 1
    assert line.share == share_hit(0.25)
    files = {file.name: file for file in write_tables("toy", [found], tmp_path)}
    (row,) = csv.DictReader(files["toy-failures.csv"].read_text(encoding="utf-8").splitlines())
    assert row["failure"] == "ZeroDivisionError: a singular matrix"
    assert (row["solver"], row["function"], row["queries"]) == ("spsa-spall", "f001", "1")


def test_a_failure_after_a_budget_was_spent_is_none_of_that_budget(tmp_path: Path) -> None:
    def late(search: Search) -> None:
        for _ in range(40):
            search.f(search.start)
        raise RuntimeError("late")

    save_record(tmp_path, replace(run(late), method="scipy-powell@20d"))
    failures = {budget: outcomes_of(tmp_path, [CASE], ["scipy-powell"], budget) for budget in (10, 20)}
    assert failures[10]["scipy-powell"][0].failure == ""
    assert failures[20]["scipy-powell"][0].failure == "RuntimeError: late"


def test_a_solver_that_raises_before_its_first_query_has_nothing() -> None:
    def useless(search: Search) -> None:
        raise ImportError("no library")

    record = run(useless)
    assert record.spent[0] == 0
    assert record.best[0].tolist() == [math.inf]
    assert share_hit(record.best[0, -1]) == 0


def test_a_run_that_takes_too_long_ends_with_what_it_has() -> None:
    record = run(lambda search: [search.f(search.start) for _ in range(10**9)], seconds=0.0)
    assert record.meta["failure"] == "out of time: 0 s"
    assert record.spent[0] == 0


def test_a_descent_without_a_query_does_not_go_on_for_ever() -> None:
    solver = solvers.scipy_solvers.restarted(lambda search, start: None)
    assert run(solver).meta["failure"] == "RuntimeError: A descent ended without a single query."


# Noise


def test_under_noise_the_true_f_at_the_returned_point_counts(tmp_path: Path) -> None:
    def lucky(search: Search) -> np.ndarray:
        search.f(np.ones(3))
        return np.array([1.0, 1.0, 2.0])

    record = run(lucky, box(lambda x: -99.0, sphere), suite="noisy-toy")
    save_record(tmp_path, replace(record, problem="noisy-toy-d3-f001"))
    (outcome,) = outcomes_of(tmp_path, [replace(CASE, suite="noisy-toy")], ["spsa-spall"], 20)["spsa-spall"]
    assert outcome.f == 1.0


def test_without_a_returned_point_the_recommended_one_counts_and_else_the_best_observed() -> None:
    def recommending(search: Search) -> None:
        search.f(np.zeros(3))
        search.f.recommend(np.full(3, 4.0))

    def silent(search: Search) -> None:
        search.f(np.zeros(3))
        search.f(np.ones(3))

    assert run(recommending).extras["final_x"].tolist() == [[4.0, 4.0, 4.0]]
    assert run(silent).extras["final_x"].tolist() == [[1.0, 1.0, 1.0]]


# Plans and resuming


def left(folder: Path, names: list[str], budgets: list[int], suite: str = "toy") -> list[tuple[str, int]]:
    jobs = jobs_left([replace(CASE, suite=suite)], names, budgets, 600.0, folder)
    return [(job.solver, job.budget) for job in jobs]


def test_each_budget_is_a_run_for_those_that_use_it_and_under_noise_for_all() -> None:
    names = ["scipy-powell", "gp"]
    assert left(Path("nowhere"), names, [50, 5]) == [("scipy-powell", 50), ("gp", 5), ("gp", 50)]
    assert left(Path("nowhere"), ["scipy-powell"], [5, 50], "noisy-toy") == [("scipy-powell", 5), ("scipy-powell", 50)]


def test_a_solver_is_not_run_where_it_takes_too_long() -> None:
    slow = PEERS["optuna-tpe"]
    assert slow.budgets(10, [20, 50, 200]) == [20, 50]
    assert slow.budgets(320, [20]) == []
    assert PEERS["pycma-sep"].budgets(10, [20]) == []


def test_a_rerun_does_only_what_is_missing(tmp_path: Path) -> None:
    cases = cases_of("toy", (), (), (1, 2))
    jobs = jobs_left(cases, ["scipy-powell", "rand-ada"], [5, 10], 600.0, tmp_path)
    assert len(jobs) == 4 + 8
    assert [do_job(job, tmp_path, {}) for job in jobs] == [""] * 12
    assert jobs_left(cases, ["scipy-powell", "rand-ada"], [5, 10], 600.0, tmp_path) == []
    before = load_record(jobs[3].path(tmp_path))
    jobs[3].path(tmp_path).unlink()
    assert jobs_left(cases, ["scipy-powell", "rand-ada"], [5, 10], 600.0, tmp_path) == [jobs[3]]
    do_job(jobs[3], tmp_path, {})
    np.testing.assert_array_equal(load_record(jobs[3].path(tmp_path)).best, before.best)


def test_a_longer_run_tells_a_shorter_one_but_not_the_other_way_round(tmp_path: Path) -> None:
    (job,) = jobs_left([CASE], ["scipy-powell"], [10], 600.0, tmp_path)
    do_job(job, tmp_path, {})
    assert stored_run(tmp_path, CASE, "scipy-powell", 5) == job.path(tmp_path)
    assert stored_run(tmp_path, CASE, "scipy-powell", 20) is None
    assert left(tmp_path, ["scipy-powell"], [20]) == [("scipy-powell", 20)]


def test_a_problem_that_cannot_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(case: Case) -> Instance:
        raise FileNotFoundError("no data")

    monkeypatch.setitem(SUITES, "toy", replace(SUITES["toy"], open=closed))
    (job,) = jobs_left([CASE], ["scipy-powell"], [10], 600.0, tmp_path)
    assert do_job(job, tmp_path, {}) == "toy-d3-f001: FileNotFoundError: no data"


# Tables and figures


def store(folder: Path, solver: str, function: str, gap: float, **facts: Any) -> None:
    meta = {"label": solver.upper(), "ours": False, "f_opt": 2.0, "failure": "", "seconds_beside_f": 30e-6} | facts
    save_record(
        folder,
        Record(
            f"toy-d3-{function}",
            run_name(solver, 10),
            1,
            np.array([1, 30]),
            np.array([[1e9, 2.0 + gap]]),
            None,
            np.array([30]),
            {},
            meta,
        ),
    )


def test_the_table_equals_one_made_by_hand(tmp_path: Path) -> None:
    store(tmp_path, "pycma", "f001", 1.0)  # 11 of 51
    store(tmp_path, "pycma", "f002", 1e-8)  # 51 of 51
    store(tmp_path, "gp", "f001", 0.5, ours=True)  # 12 of 51
    store(tmp_path, "gp", "f002", 200.0, ours=True)  # none
    store(tmp_path, "amm", "f001", 0.5)  # not on f002: left out
    cases = cases_of("toy", (), (), (1,))
    found = outcomes_of(tmp_path, cases, ["pycma", "gp", "amm"], 10)
    files = {file.name: file.read_text(encoding="utf-8") for file in write_tables("toy", [found], tmp_path)}
    assert files["toy.md"] == (
        "## Toys, d = 3, 10 d queries (2 runs a solver)\n"
        "\n"
        "| solver | all | easy | hard | wins | mean f | failures | µs per query |\n"
        "|---|---|---|---|---|---|---|---|\n"
        "| **GP** | 0.118 | **0.235** | 0.000 | 1 | 102.25 |  | 1 |\n"
        "| PYCMA | **0.608** | 0.216 | **1.000** | 1 | 2.5 |  | 1 |\n"
    )
    assert files["toy-wins.md"] == (
        "## Toys: who has the highest share on each function\n"
        "\n"
        "| d = 3 | 10 d queries |\n"
        "|---|---|\n"
        "| f001 | gp (0.235) |\n"
        "| f002 | pycma (1) |\n"
    )
    rows = list(csv.DictReader(files["toy.csv"].splitlines()))
    assert [row["solver"] for row in rows] == ["gp", "pycma"]
    assert float(rows[1]["share"]) == pytest.approx((11 + 51) / 102)
    assert float(rows[1]["share easy"]) == pytest.approx(11 / 51)


def test_nobody_wins_where_nobody_hits_a_target_and_all_who_are_level_win(tmp_path: Path) -> None:
    for solver in ("pycma", "amm"):
        store(tmp_path, solver, "f001", 1e6)
        store(tmp_path, solver, "f002", 1e-9)
    found = outcomes_of(tmp_path, cases_of("toy", (), (), (1,)), ["pycma", "amm"], 10)
    assert winners_of(found) == {"f001": ([], 0.0), "f002": (["pycma", "amm"], 1.0)}


def test_where_no_optimal_value_is_known_the_least_f_wins(tmp_path: Path) -> None:
    store(tmp_path, "pycma", "f001", 3.0, f_opt=math.nan)
    store(tmp_path, "amm", "f001", 1.0, f_opt=math.nan)
    found = outcomes_of(tmp_path, [CASE], ["pycma", "amm"], 10)
    assert winners_of(found) == {"f001": (["amm"], 3.0)}
    assert [line.solver for line in lines_of(found)] == ["amm", "pycma"]
    assert "| AMM | 1 | 3 |" in write_tables("toy", [found], tmp_path)[0].read_text(encoding="utf-8")


def test_a_first_value_after_the_budget_is_none_within_it(tmp_path: Path) -> None:
    def late(search: Search) -> None:
        for _ in range(40):
            search.f(search.start)

    values = iter([math.nan] * 35 + [1.0] * 5)
    save_record(tmp_path, replace(run(late, box(lambda x: next(values))), method="scipy-powell@20d"))
    (early,) = outcomes_of(tmp_path, [CASE], ["scipy-powell"], 5)["scipy-powell"]
    (whole,) = outcomes_of(tmp_path, [CASE], ["scipy-powell"], 20)["scipy-powell"]
    assert (early.f, early.share, whole.f) == (math.inf, 0.0, 1.0)


def test_the_profile_rises_by_one_step_a_target_and_ends_at_the_share(tmp_path: Path) -> None:
    store(tmp_path, "pycma", "f001", 1.0)
    outcomes = outcomes_of(tmp_path, [CASE], ["pycma"], 10)["pycma"]
    x, y = profile(outcomes)
    assert x.tolist() == [10.0] * 12  # 11 targets after 30 queries, and the end
    assert y[0] == 1 / 51
    assert y[-1] == outcomes[0].share == 11 / 51


def test_the_figure_has_a_panel_a_group_and_a_line_a_solver(tmp_path: Path) -> None:
    for function in ("f001", "f002"):
        store(tmp_path, "pycma", function, 1.0)
        store(tmp_path, "gp", function, 0.1, ours=True)
    found = outcomes_of(tmp_path, cases_of("toy", (), (), (1,)), ["pycma", "gp"], 10)
    figure = draw_profiles({10: found})
    assert [axis.get_title() for axis in figure.axes if axis.axison] == ["all functions", "easy", "hard"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["GP", "PYCMA"]  # the best first
    assert all(len(axis.get_lines()) == 4 for axis in figure.axes if axis.axison)  # a line and its marks


# The solvers' table


def test_no_peer_has_the_name_of_a_method() -> None:
    assert not PEERS.keys() & (METHODS.keys() | BASELINES.keys())
    assert {*METHODS, AUTO, PORTFOLIO} >= set(DEFAULT_METHODS)


def test_minimize_is_given_the_box(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def bounded(fun: Any, x0: Any, **keywords: Any) -> Any:
        given.update(keywords)
        return minimize(fun, x0, **keywords)

    monkeypatch.setattr(solvers, "minimize", bounded)
    assert run(solver_of("rand-ada").run).meta["failure"] == ""
    assert given["method"] == "rand-ada"
    assert given["budget"] == 60
    assert given["bounds"] == [(-5.0, 5.0)] * 3


# The problems


@needs_coco
@pytest.mark.parametrize(
    ("suite", "function", "expected"),
    [("bbob", "f001", 79.48), ("bbob", "f015", 1000.0), ("bbob-noisy", "f107", 79.48)],
)
def test_the_optimal_value_is_that_of_coco(suite: str, function: str, expected: float) -> None:
    instance = coco_instance(suite, function, 5, 1)
    assert instance.f_opt == pytest.approx(expected, abs=1e-9)
    assert (instance.lower == -5).all()
    assert (instance.upper == 5).all()


@needs_coco
@pytest.mark.parametrize("noisy", ["f101", "f102", "f103", "f107", "f108", "f109"])
@pytest.mark.parametrize("instance", [1, 2])
def test_without_its_noise_a_noisy_sphere_is_the_sphere(noisy: str, instance: int) -> None:
    x = np.random.default_rng(instance).uniform(-5, 5, 5)
    true = coco_instance("bbob-noisy", noisy, 5, instance).true
    assert true is not None
    assert true(x) == pytest.approx(coco_instance("bbob", "f001", 5, instance).fun(x), abs=1e-9)


@needs_coco
def test_a_noisy_function_without_its_noise_is_the_centre_of_its_values() -> None:
    """The noise of f116 is a factor exp(N(0, 1)): the median of 4,001 values is within 5 % (3 standard errors)."""
    instance = coco_instance("bbob-noisy", "f116", 5, 1)
    x = np.full(5, 1.5)
    values = [instance.fun(x) for _ in range(4001)]
    assert instance.true is not None
    assert np.median(values) - instance.f_opt == pytest.approx(instance.true(x) - instance.f_opt, rel=0.06)


@needs_coco
def test_a_problem_that_coco_does_not_have_is_named() -> None:
    with pytest.raises(ValueError, match=r"COCO's suite bbob has no f001 with d = 7, instance 1\."):
        coco_instance("bbob", "f001", 7, 1)


def test_a_classification_problem_is_a_box_and_its_noise_is_not_in_the_true_f() -> None:
    exact, noisy = classification_instance("breast_cancer", 1), classification_instance("breast_cancer", 1, 0.1)
    assert exact.true is None
    assert noisy.true is not None
    np.testing.assert_array_equal(exact.start, noisy.start)
    assert exact.fun(exact.start) == noisy.true(exact.start) != noisy.fun(exact.start)
    assert noisy.fun(exact.start) != noisy.fun(exact.start)
    assert exact.fun(np.full(30, 99.0)) == exact.fun(np.full(30, 5.0))
    assert 0 < exact.f_opt < exact.fun(exact.start)


def test_an_attack_is_a_box_of_pixels_without_a_known_optimum() -> None:
    instance = attack_instance("digits_attack", 1)
    assert instance.start.min() >= 0
    assert instance.start.max() <= 1
    assert math.isnan(instance.f_opt)
    assert instance.fun(instance.start) > 0


def test_cases_are_named_and_seeded_by_what_they_are() -> None:
    cases = cases_of("classification-noisy", (30,), (), (1, 2))
    assert [case.problem for case in cases[:3]] == [
        f"classification-noisy-d30-breast_cancer-s{std}" for std in (0.001, 0.01, 0.1)
    ]
    assert len({case.seed for case in cases}) == 6
    assert all(0 <= case.seed < 2**31 for case in cases)
    with pytest.raises(ValueError, match="Did you mean 'bbob'"):
        cases_of("bob", (), (), (1,))
    with pytest.raises(ValueError, match="function of suite 'bbob'"):
        cases_of("bbob", (), ("f025",), (1,))


# The command


def test_without_coco_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(coco, "find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=r"need the package coco-experiment\. Install it: pip install coco-experiment"
    ):
        compare_peers(PeerOptions(), tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_peer_without_its_library_is_left_out_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(solvers, "find_spec", lambda name: None)
    plan = plan_of(PeerOptions(suites=("classification",), methods=("gp",)))
    assert plan.solvers == [
        "gp",
        "scipy-l-bfgs-b",
        "scipy-cobyqa",
        "scipy-powell",
        "scipy-nelder-mead",
        "spsa-spall",
    ]
    assert "Left out: NGOpt (Nevergrad). To have it: pip install nevergrad\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PeerOptions(budgets=(0,)), "--budgets must be >= 1, got 0."),
        (PeerOptions(seconds=0.0), "--seconds must be a finite number > 0"),
        (PeerOptions(methods=("gp-rt",)), "Did you mean 'gp-tr'"),
        (PeerOptions(solvers=("pycam",)), "Did you mean 'pycma'"),
        (PeerOptions(suites=("bob",)), "Did you mean 'bbob'"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(options: PeerOptions, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_of(options)


def test_the_command_runs_keeps_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = PeerOptions(
        suites=("classification",),
        functions=("breast_cancer",),
        instances=(1,),
        budgets=(1, 2),
        methods=("rand-ada",),
        solvers=("scipy-powell",),
    )
    written = compare_peers(options, tmp_path, 1)
    assert {file.name for file in written} == {
        "classification.md",
        "classification.csv",
        "classification-wins.md",
        "classification-wins.csv",
        "classification-failures.csv",
        "classification-d30.png",
    }
    assert all(file.is_file() for file in written)
    runs = sorted(file.parent.name for file in tmp_path.glob("runs/classification-d30-breast_cancer/*/1.npz"))
    assert runs == ["rand-ada@1d", "rand-ada@2d", "scipy-powell@2d"]
    record = load_record(tmp_path / "runs/classification-d30-breast_cancer/rand-ada@2d/1.npz")
    assert record.meta["uses_budget"]
    assert "versions" in record.meta
    assert "3 runs to do" in capsys.readouterr().out
    compare_peers(options, tmp_path, 1)
    assert "All runs are in" in capsys.readouterr().out


def test_without_an_optimal_value_the_command_draws_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = replace(SUITES["toy"], open=lambda case: replace(box(), f_opt=math.nan))
    monkeypatch.setitem(SUITES, "toy", unknown)
    plan = plan_of(
        PeerOptions(suites=("toy",), instances=(1,), budgets=(2,), methods=("rand-ada",), solvers=("scipy-powell",))
    )
    for job in jobs_left(plan.cases["toy"], plan.solvers, (2,), 600.0, tmp_path / "runs"):
        do_job(job, tmp_path / "runs", {})
    written = write_suite("toy", plan.cases["toy"], plan, tmp_path)
    assert {file.suffix for file in written} == {".md", ".csv"}
    assert "| solver | wins | mean f |" in written[0].read_text(encoding="utf-8")


@needs_coco
def test_the_quick_comparison_runs(tmp_path: Path) -> None:
    options = PeerOptions(quick=True, functions=("f001",), methods=("rand-ada",), solvers=("scipy-l-bfgs-b",))
    written = compare_peers(options, tmp_path, 1)
    assert tmp_path / "bbob-d5.png" in written
    with (tmp_path / "bbob.csv").open(newline="") as file:
        shares = {(row["solver"], row["budget"]): float(row["share"]) for row in csv.DictReader(file)}
    assert shares.keys() == {(solver, budget) for solver in ("rand-ada", "scipy-l-bfgs-b") for budget in ("5", "20")}
    assert shares["scipy-l-bfgs-b", "20"] == 1.0  # a sphere
