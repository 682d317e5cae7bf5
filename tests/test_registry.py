"""Names to things, and the messages for names that are not there."""

from __future__ import annotations

import pytest

from benchmarks.solvers.agents import SOLVERS
from benchmarks.suites.paper import SUITE
from zo_gym import BASELINES, ESTIMATORS, GATES, GRADIENT_MODELS, METHODS, PROBLEMS, RULES, SAMPLERS
from zo_gym.registry import lookup, reject_unknown, suggest

TABLES = {
    "sampler": SAMPLERS,
    "estimator": ESTIMATORS,
    "update": RULES,
    "gate": GATES,
    "method": METHODS,
    "problem": PROBLEMS,
    "gradient model": GRADIENT_MODELS,
    "baseline": BASELINES,
    "solver": SOLVERS,
    "task": SUITE,
}
TABLE = {"adam": 1, "sgd": 2}


@pytest.mark.parametrize("kind", TABLES)
def test_every_name_is_found_and_every_typo_is_corrected(kind: str) -> None:
    for name, thing in TABLES[kind].items():
        assert lookup(TABLES[kind], name, kind) is thing
        with pytest.raises(ValueError, match=rf"Unknown {kind} '{name}_'\. Did you mean '{name}'\?"):
            lookup(TABLES[kind], name + "_", kind)


def test_name_near_nothing_lists_all_names_in_order() -> None:
    with pytest.raises(ValueError, match=r"Unknown update 'zzz'\. Known: adam, sgd\."):
        lookup({"sgd": 2, "adam": 1}, "zzz", "update")


@pytest.mark.parametrize("name", [None, 3, ["sgd"]])
def test_name_that_is_no_string_is_a_type_error(name: object) -> None:
    with pytest.raises(TypeError, match=r"update must be a name \(str\), got .*Known: adam, sgd\."):
        lookup(TABLE, name, "update")  # type: ignore[arg-type]


def test_unknown_keyword_is_rejected_with_the_nearest_one() -> None:
    reject_unknown(["adam", "sgd"], TABLE, "f()")
    with pytest.raises(TypeError, match=r"f\(\) got an unexpected keyword argument 'sdg'\. Did you mean 'sgd'\?"):
        reject_unknown(["adam", "sdg"], TABLE, "f()")


def test_known_names_may_be_an_iterator_that_runs_out() -> None:
    with pytest.raises(TypeError, match="Did you mean 'adam'"):
        reject_unknown(["sgd", "adm"], iter(TABLE), "f()")


def test_suggestion_names_one_candidate_only() -> None:
    assert suggest("adm", ["adam", "adamm"]) == "Did you mean 'adam'?"


def test_unknown_keyword_where_none_is_taken_says_so() -> None:
    with pytest.raises(
        TypeError, match=r"f\(\) got an unexpected keyword argument 'sgd'\. It takes no further keyword: drop it\."
    ):
        reject_unknown(["sgd"], (), "f()")


def test_budget_by_the_name_that_others_give_it_is_recognised() -> None:
    with pytest.raises(TypeError, match=r"'maxiter'\. Did you mean 'budget', the number of queries\?"):
        reject_unknown(["maxiter"], ["budget", "maxcor"], "ZOSampling-v0")
    with pytest.raises(TypeError, match=r"'maxiter'\. Did you mean 'budget', the number of queries\?"):
        reject_unknown(["maxiter"], ["maxcor"], "method 'l-bfgs-b'")
    with pytest.raises(TypeError, match=r"'maxiter'\. Did you mean 'maxcor'\?"):
        reject_unknown(["maxiter"], ["maxcor"], "f()")
