"""Tables against numbers worked out by hand from a handful of made-up runs."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.results import load_results
from benchmarks.stored_runs import Record, save_record
from benchmarks.summary import mean_std, summaries
from benchmarks.tables import csv_text, problem_table, write_tables
from zo_gym.agents.plots import running_mean

GRID = np.array([1, 10, 20, 50, 80, 90, 100])


def store(folder: Path, method: str, seed: int, best: list[list[float]], **options: Any) -> None:
    """One record on GRID; `group`, `label` and whatever else `meta` holds come as keywords."""
    values = np.array(best)
    record = Record(
        problem=options.pop("problem", "heart_scale"),
        method=method,
        seed=seed,
        queries=options.pop("queries", GRID),
        best=values,
        cosine=options.pop("cosine", None),
        spent=np.full(len(values), GRID[-1]),
        extras=options.pop("extras", {}),
        meta=options,
    )
    save_record(folder, record)


def classification(folder: Path) -> None:
    """ZO-SGD ends at a mean of 3, "fast" is there at 20 queries, "slow" never."""
    sgd = {"group": "paper", "label": "ZO-SGD", "order": 0, "seconds": 8.0, "rows_in_batch": 2}
    store(folder, "zo-sgd", 0, [[9, 8, 7, 6, 5, 4, 2]], **sgd)
    store(folder, "zo-sgd", 1, [[9, 9, 8, 7, 6, 5, 4]], **sgd)
    fast = {"group": "control", "label": "fast", "order": 1, "seconds": 1.0, "training_queries": 700}
    store(folder, "fast", 0, [[9, 4, 3, 2, 1, 1, 1]], **fast)
    store(folder, "fast", 1, [[9, 6, 3, 2, 2, 2, 1]], **(fast | {"seconds": 3.0, "training_queries": 900}))
    store(folder, "slow", 0, [[9, 8.5, 8, 7.5, 7, 6.5, 6]], group="further", label="slow", order=2)
    store(folder, "true", 0, [[9, 1, 0, 0, 0, 0, 0]], group="reference", label="true gradient", order=3)


def attack(folder: Path, success_at: list[list[int]], method: str = "zo-sgd", group: str = "paper") -> None:
    """Two images, one record per repeat, f = 1, 2 at the end."""
    for seed, at in enumerate(success_at):
        extras = {"success_at": np.array(at), "distortion": np.array([3.0 + seed, 5.0 + seed])}
        best = [[8.0, 7, 6, 5, 4, 3, 1.0 + seed], [8.0, 7, 6, 5, 4, 3, 2.0 + seed]]
        options = {"group": group, "label": method, "seconds": 10.0}
        store(folder, method, seed, best, problem="mnist_attack", extras=extras, **options)


def by_method(folder: Path, problem: str) -> dict[str, Any]:
    return {row.method: row for row in summaries(folder, problem)}


def test_mean_and_sample_deviation_at_a_tenth_a_fifth_a_half_and_all_of_the_budget(tmp_path: Path) -> None:
    classification(tmp_path)
    row = by_method(tmp_path, "heart_scale")["zo-sgd"]
    assert (row.runs, row.images, row.budget) == (2, 1, 100)
    assert row.mean == (8.5, 7.5, 6.5, 3.0)  # at 10, 20, 50 and 100 queries
    # Of two values the sample deviation is |a - b| / sqrt(2).
    assert row.std == pytest.approx((math.sqrt(0.5), math.sqrt(0.5), math.sqrt(0.5), math.sqrt(2)), rel=1e-12)


def test_one_run_has_no_deviation(tmp_path: Path) -> None:
    classification(tmp_path)
    assert np.isnan(by_method(tmp_path, "heart_scale")["slow"].std).all()
    (line,) = [x for x in problem_table(summaries(tmp_path, "heart_scale")).splitlines() if x.startswith("| slow ")]
    assert "±" not in line
    assert "nan" not in line


def test_queries_until_the_mean_curve_reaches_zo_sgds_final_mean(tmp_path: Path) -> None:
    """ZO-SGD's final mean is (2 + 4) / 2 = 3: "fast" has a mean of 5 at 10 queries and of 3 at 20."""
    classification(tmp_path)
    found = by_method(tmp_path, "heart_scale")
    assert {m: (row.to_baseline, row.ratio) for m, row in found.items()} == {
        "zo-sgd": (100.0, 1.0),
        "fast": (20.0, 5.0),
        "slow": (math.inf, 0.0),
        "true": (10.0, 10.0),
    }


def test_a_baseline_that_stands_still_early_is_given_the_queries_that_it_needed(tmp_path: Path) -> None:
    store(tmp_path, "zo-sgd", 0, [[9, 8, 8, 3, 3, 3, 3]], group="paper")
    store(tmp_path, "fast", 0, [[9, 3, 2, 1, 1, 1, 1]], group="control")
    found = by_method(tmp_path, "heart_scale")
    assert (found["zo-sgd"].to_baseline, found["fast"].ratio) == (50.0, 5.0)  # 50 / 10, not 100 / 10


def test_without_zo_sgd_nothing_is_timed(tmp_path: Path) -> None:
    store(tmp_path, "fast", 0, [[9, 3, 2, 1, 1, 1, 1]], group="control")
    (row,) = summaries(tmp_path, "heart_scale")
    assert math.isnan(row.to_baseline)
    assert math.isnan(row.ratio)
    assert "| queries to ZO-SGD's f" not in problem_table([row])


def test_the_distance_to_the_least_known_value(tmp_path: Path) -> None:
    classification(tmp_path)
    assert math.isnan(summaries(tmp_path, "heart_scale")[0].gap)
    (tmp_path / "heart_scale" / "minimum.json").write_text(json.dumps({"f_star": 0.5, "runs": [0.5]}))
    found = by_method(tmp_path, "heart_scale")
    assert (found["zo-sgd"].gap, found["fast"].gap) == (2.5, 0.5)


def test_training_queries_and_seconds_are_those_of_one_run(tmp_path: Path) -> None:
    classification(tmp_path)
    found = by_method(tmp_path, "heart_scale")
    assert found["zo-sgd"].seconds == 4.0  # 8 s for a batch of 2
    assert (found["fast"].seconds, found["fast"].training_queries) == (2.0, 800.0)
    assert math.isnan(found["slow"].seconds)
    assert found["slow"].training_queries == 0.0


def test_cosines_over_the_run_and_over_its_last_fifth(tmp_path: Path) -> None:
    cosine = np.array([[np.nan, 0.75, 0.5, 0.25, 0.25, 0.0, 0.25]])  # exact in float32, as records store it
    store(tmp_path, "zo-sgd", 0, [[1.0] * 7], group="paper", cosine=cosine)
    store(tmp_path, "other", 0, [[1.0] * 7], group="paper")
    found = by_method(tmp_path, "heart_scale")
    assert found["zo-sgd"].cosine == pytest.approx(2.0 / 6, rel=1e-12)
    assert found["zo-sgd"].late_cosine == 0.125  # at 90 and 100 queries
    assert math.isnan(found["other"].cosine)


@pytest.mark.parametrize(
    ("success_at", "share", "median"),
    [
        ([[10, 30], [20, 40]], 1.0, 25.0),
        ([[10, -1], [20, 40]], 0.75, 30.0),  # 10, 20, 40, never
        ([[10, -1], [-1, 40]], 0.5, math.inf),  # between 40 and never
        ([[-1, -1], [-1, 0]], 0.25, math.inf),
        ([[7, -1]], 0.5, math.inf),
    ],
)
def test_failures_count_as_infinitely_many_queries(
    tmp_path: Path, success_at: list[list[int]], share: float, median: float
) -> None:
    attack(tmp_path, success_at)
    (row,) = summaries(tmp_path, "mnist_attack")
    assert (row.success, row.median_queries) == (share, median)


def test_the_deviation_of_an_attack_is_that_of_the_repeats_not_of_the_images(tmp_path: Path) -> None:
    attack(tmp_path, [[10, 30], [20, 40]])
    (row,) = summaries(tmp_path, "mnist_attack")
    assert (row.runs, row.images) == (2, 2)
    assert row.mean[-1] == 2.0  # of 1, 2, 2, 3
    assert row.std[-1] == pytest.approx(math.sqrt(0.5), rel=1e-12)  # of 1.5 and 2.5
    assert row.distortion == 4.5  # of 3, 5, 4, 6
    assert row.seconds == 5.0  # 10 s for 2 images


def test_rows_are_ordered_by_group_then_order_then_name(tmp_path: Path) -> None:
    for method, group, order in [("b", "reference", 0), ("c", "paper", 2), ("d", "paper", 1), ("a", "control", None)]:
        extra = {} if order is None else {"order": order}
        store(tmp_path, method, 0, [[1.0] * 7], group=group, **extra)
    assert [row.method for row in summaries(tmp_path, "heart_scale")] == ["d", "c", "a", "b"]


def lines_of(text: str) -> dict[str, list[str]]:
    """First cell -> the other cells of each line of a Markdown table."""
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {cells[0]: cells[1:] for cells in table}


def test_the_markdown_table_names_groups_and_marks_the_best_that_competes(tmp_path: Path) -> None:
    classification(tmp_path)
    text = problem_table(summaries(tmp_path, "heart_scale"))
    found = lines_of(text)
    assert text.startswith("### heart_scale (100 queries)\n")
    assert list(found)[2:] == [
        "*The paper's methods*",
        "ZO-SGD",
        "*Controls*",
        "fast",
        "*Further methods*",
        "slow",
        "*Reference (sees the gradient)*",
        "true gradient",
    ]
    heads = found["method"]
    assert heads[:5] == ["runs", "f at 10", "f at 20", "f at 50", "f at 100"]
    cell = {name: dict(zip(heads, cells, strict=True)) for name, cells in found.items() if name in ("fast", "slow")}
    assert cell["fast"]["f at 100"] == "**1.000 ± 0.000**"  # four digits of the least competing mean, 1
    assert cell["slow"]["f at 100"] == "6.000"
    assert cell["fast"]["queries to ZO-SGD's f"] == "**20 (5x)**"
    assert cell["slow"]["queries to ZO-SGD's f"] == "-"
    assert cell["fast"]["training queries"] == "800"
    assert all("**" not in cells for cells in found["true gradient"])  # the least of all, out of competition
    assert "success" not in heads  # not an attack
    assert "cosine" not in heads  # not measured
    widths = {line.count("|") for line in text.splitlines() if line[:1] == "|"}
    assert len(widths) == 1


def test_an_attacks_table_has_success_queries_and_norm(tmp_path: Path) -> None:
    attack(tmp_path, [[10, 30], [20, 40]])
    attack(tmp_path, [[10, -1], [-1, -1]], method="worse", group="control")
    text = problem_table(summaries(tmp_path, "mnist_attack"))
    found = lines_of(text)
    cells = {name: dict(zip(found["method"], found[name], strict=True)) for name in ("zo-sgd", "worse")}
    shown = ("success", "median queries", "L1")
    assert [cells["zo-sgd"][name] for name in shown] == ["**100 %**", "**25**", "4.5"]
    assert [cells["worse"][name] for name in shown] == ["25 %", "-", "4.5"]
    assert cells["zo-sgd"]["f at 100"] == "2.000 ± 0.707"  # both end there: nobody is best
    assert text.startswith("### mnist_attack (100 queries, 2 images)\n")


def test_small_and_diverged_values_stay_readable(tmp_path: Path) -> None:
    store(tmp_path, "zo-sgd", 0, [[1.0, 1, 1, 1, 1, 1, 0.04321]], group="paper")
    store(tmp_path, "bad", 0, [[3.0e9] * 7], group="control")
    found = lines_of(problem_table(summaries(tmp_path, "heart_scale")))
    place = found["method"].index("f at 100")
    assert (found["zo-sgd"][place], found["bad"][place]) == ("**0.04321**", "3e+09")


def test_a_difference_that_rounds_to_nothing_has_no_sign(tmp_path: Path) -> None:
    classification(tmp_path)
    row = replace(summaries(tmp_path, "heart_scale")[0], gap=-1e-9)
    assert "| 0.000 |" in problem_table([row])
    assert "-0.000" not in problem_table([row])


def test_the_csv_parses_back_to_the_rows(tmp_path: Path) -> None:
    classification(tmp_path)
    attack(tmp_path, [[10, -1]])
    table = [*summaries(tmp_path, "heart_scale"), *summaries(tmp_path, "mnist_attack")]
    parsed = list(csv.DictReader(csv_text(table).splitlines()))
    assert len(parsed) == len(table) == 5
    for line, row in zip(parsed, table, strict=True):
        assert (line["problem"], line["group"], line["method"]) == (row.problem, row.group, row.method)
        assert float(line["mean_all"]) == row.mean[3]
        assert float(line["mean_tenth"]) == row.mean[0]
        assert (line["std_half"] == "") == math.isnan(row.std[2])
        assert line["std_half"] == "" or float(line["std_half"]) == row.std[2]
        assert float(line["to_baseline"]) == row.to_baseline
    assert parsed[2]["to_baseline"] == "inf"  # never
    assert parsed[0]["success"] == parsed[0]["dim"] == ""  # not measured, not known
    assert parsed[-1]["success"] == "0.5"


def test_tables_of_all_problems_are_written_in_the_papers_order(tmp_path: Path) -> None:
    folder, out = tmp_path / "results", tmp_path / "out"
    classification(folder)
    attack(folder, [[10, 30]])
    store(folder, "zo-sgd", 0, [[1.0] * 7], problem="a_problem_of_mine")
    (folder / "empty").mkdir()
    text, numbers = write_tables(folder, out)
    heads = [line.split()[1] for line in text.read_text(encoding="utf-8").splitlines() if line.startswith("### ")]
    assert heads == ["mnist_attack", "heart_scale", "a_problem_of_mine"]
    assert len(numbers.read_text(encoding="utf-8").splitlines()) == 1 + 1 + 4 + 1
    assert sorted(path.name for path in out.iterdir()) == ["tables.csv", "tables.md"]


def test_no_results_say_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make paper"):
        write_tables(tmp_path, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"'heart_scale'.*make paper"):
        summaries(tmp_path, "heart_scale")
    classification(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"of zo-rl for 'heart_scale'.*make paper"):
        load_results(tmp_path, "heart_scale", ["zo-sgd", "zo-rl"])
    assert not (tmp_path / "out").exists()


def test_results_of_different_budgets_are_not_compared(tmp_path: Path) -> None:
    classification(tmp_path)
    store(tmp_path, "quick", 3, [[1.0, 1.0]], queries=np.array([1, 50]))
    with pytest.raises(ValueError, match=r"quick, seed 3, has 1 rows and a budget of 50.*and 100"):
        summaries(tmp_path, "heart_scale")


def test_results_on_different_numbers_of_images_are_not_compared(tmp_path: Path) -> None:
    attack(tmp_path, [[1, 2]])
    store(tmp_path, "other", 0, [[1.0] * 7], problem="mnist_attack")
    with pytest.raises(ValueError, match="do not match"):
        summaries(tmp_path, "mnist_attack")


def test_an_unknown_group_is_refused(tmp_path: Path) -> None:
    store(tmp_path, "zo-sgd", 0, [[1.0] * 7], group="papers")
    with pytest.raises(
        ValueError, match=r"group of 'zo-sgd' must be one of policy, ablation, paper, control.*'papers'"
    ):
        summaries(tmp_path, "heart_scale")


def test_moments_count_only_what_is_known() -> None:
    values = np.array([[1.0, np.nan, np.nan], [4.0, 2.0, np.nan], [4.0, 4.0, np.nan]])
    mean, std, count = mean_std(values)
    np.testing.assert_array_equal(mean, [3.0, 3.0, np.nan])
    np.testing.assert_allclose(std, [math.sqrt(3), math.sqrt(2), np.nan], rtol=1e-15)
    assert count.tolist() == [3, 2, 0]


def test_moments_of_a_run_that_overflowed_raise_no_warning() -> None:
    mean, std, _ = mean_std(np.array([[np.inf, 1e300], [1.0, -1e300]]))
    assert mean.tolist() == [np.inf, 0.0]
    assert not np.isfinite(std).any()


def test_a_running_mean_is_centred_and_passes_over_what_is_unknown() -> None:
    values = np.array([[np.nan, 3.0, 6.0, 9.0, np.nan], [np.nan] * 5])
    smooth = running_mean(values, 3)
    np.testing.assert_allclose(smooth[0], [3.0, 4.5, 6.0, 7.5, 9.0], rtol=1e-15)
    assert np.isnan(smooth[1]).all()
