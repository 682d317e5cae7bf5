"""Bad input: the error names the argument, what it should be, what it is and the way out; and nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

import zo_gym
from zo_gym import BudgetError, ObjectiveError, ZOSamplingEnv, ZOSamplingVectorEnv

DIM = 10


def square(x: np.ndarray) -> float:
    return float(x @ x)


# Arguments of gym.make. Each case: keywords, the error's type, words that its message must hold.

Case = tuple[dict[str, Any], type[Exception], tuple[str, ...]]
NAN, INF = float("nan"), float("inf")
F = {"problem": square}
GATED: dict[str, Any] = {"gate": "paper"}

ARGUMENTS: dict[str, Case] = {
    "x0 not finite": ({**F, "x0": [1.0, NAN]}, ValueError, ("x0", "finite", "nan")),
    "x0 infinite": ({**F, "x0": [INF]}, ValueError, ("x0", "finite", "inf")),
    "x0 two-dimensional": ({**F, "x0": [[1.0, 2.0]]}, ValueError, ("x0", "(d,)", "(1, 2)", "Flatten")),
    "x0 empty": ({**F, "x0": []}, ValueError, ("x0", "d >= 1", "(0,)")),
    "x0 a scalar": ({**F, "x0": 1.0}, ValueError, ("x0", "(d,)", "()")),
    "x0 text": ({**F, "x0": ["a", "b"]}, TypeError, ("x0", "numbers", "'a'")),
    "x0 ragged": ({**F, "x0": [[1.0], [2.0, 3.0]]}, TypeError, ("x0", "numbers", "[2.0, 3.0]")),
    "x0 complex": ({**F, "x0": [1j, 2.0]}, TypeError, ("x0", "real", "complex")),
    "x0 against dim": ({**F, "x0": [1.0, 2.0], "dim": 3}, ValueError, ("x0", "(3,)", "(2,)")),
    "x0 against the problem": ({"problem": "quadratic", "x0": [1.0]}, ValueError, ("x0", "(10,)", "(1,)")),
    "no start": (F, ValueError, ("function", "start", "x0=")),
    "dim zero": ({**F, "dim": 0}, ValueError, ("dim", ">= 1", "0")),
    "dim fractional": ({**F, "dim": 2.5}, TypeError, ("dim", "integer", "2.5")),
    "problem with a typo": ({"problem": "breast_cancr"}, ValueError, ("problem", "'breast_cancr'", "'breast_cancer'")),
    "problem unheard of": ({"problem": "zzz"}, ValueError, ("problem", "'zzz'", "Known:", "rosenbrock")),
    "problem a number": ({"problem": 3}, TypeError, ("problem", "name", "function", "Problem", "int: 3")),
    "option with a typo": (
        {"problem": "quadratic", "problem_options": {"conditon": 3}},
        TypeError,
        ("quadratic", "'conditon'", "'condition'"),
    ),
    "option out of range": (
        {"problem": "quadratic", "problem_options": {"condition": -3}},
        ValueError,
        ("condition", ">= 1", "-3"),
    ),
    "labels unheard of": ({"problem_options": {"labels": "10"}}, ValueError, ("labels", "'10'", "01", "pm1")),
    "options of a function": ({**F, "dim": 2, "problem_options": {"a": 1}}, TypeError, ("problem_options", "function")),
    "batched and a name": ({"batched": True}, TypeError, ("batched", "breast_cancer")),
    "dim of a fixed problem": ({"dim": 3}, TypeError, ("breast_cancer", "'dim'", "labels")),
    "smoothing zero": ({"smoothing": 0}, ValueError, ("smoothing", "> 0", "0")),
    "smoothing negative": ({"smoothing": -0.1}, ValueError, ("smoothing", "> 0", "-0.1")),
    "smoothing not a number": ({"smoothing": NAN}, ValueError, ("smoothing", "finite", "nan")),
    "smoothing infinite": ({"smoothing": INF}, ValueError, ("smoothing", "finite", "inf")),
    "smoothing below rounding": ({"smoothing": 1e-17}, ValueError, ("smoothing", "at least", "1e-17", "larger")),
    "learning_rate zero": ({"learning_rate": 0.0}, ValueError, ("learning_rate", "> 0", "0.0")),
    "learning_rate not a number": ({"learning_rate": NAN}, ValueError, ("learning_rate", "finite", "nan")),
    "budget too small": ({"budget": 2}, ValueError, ("budget", "3 queries", "2")),
    "budget too small for a gated step": ({**GATED, "budget": 22}, ValueError, ("budget", "23 queries", "22")),
    "budget too small to retry": ({"on_failure": "retry", "budget": 11}, ValueError, ("budget", "12 queries", "11")),
    "budget fractional": ({"budget": 10.5}, TypeError, ("budget", "integer", "10.5")),
    "budget text": ({"budget": "100"}, TypeError, ("budget", "integer", "'100'")),
    "budget a bool": ({"budget": True}, TypeError, ("budget", "integer", "True")),
    "budget missing": ({"budget": None}, TypeError, ("budget", "integer", "None")),
    "noise_std negative": ({"noise_std": -1.0}, ValueError, ("noise_std", ">= 0", "-1.0")),
    "noise_std not a number": ({"noise_std": NAN}, ValueError, ("noise_std", "finite", "nan")),
    "num_directions zero": ({**GATED, "num_directions": 0}, ValueError, ("num_directions", ">= 1", "0")),
    "num_directions fractional": ({**GATED, "num_directions": 1.5}, TypeError, ("num_directions", "integer", "1.5")),
    "observation with a typo": ({"observation": "histroy"}, ValueError, ("observation", "'histroy'", "'history'")),
    "reward with a typo": ({"reward": "decreese"}, ValueError, ("reward", "'decreese'", "'decrease'")),
    "direction with a typo": ({"direction": "units"}, ValueError, ("direction", "'units'", "'unit'")),
    "update with a typo": ({"update": "sdg"}, ValueError, ("update", "'sdg'", "'sgd'")),
    "update of another kind": ({"update": 3}, TypeError, ("update", "name", "3", "sgd")),
    "gate with a typo": ({"gate": "papr"}, ValueError, ("gate", "'papr'", "'paper'")),
    "sampler with a typo": ({**GATED, "sampler": "gausian"}, ValueError, ("sampler", "'gausian'", "'gaussian'")),
    "on_failure with a typo": ({"on_failure": "retri"}, ValueError, ("on_failure", "'retri'", "'retry'")),
    "diagnostics without a gradient": ({**F, "dim": 2, "diagnostics": True}, ValueError, ("diagnostics", "gradient")),
    "smoothing text": ({"smoothing": "a"}, TypeError, ("smoothing", "number", "'a'")),
    "smoothing missing": ({"smoothing": None}, TypeError, ("smoothing", "number", "None")),
    "learning_rate text": ({"learning_rate": "a"}, TypeError, ("learning_rate", "number", "'a'")),
    "noise_std text": ({"noise_std": "a"}, TypeError, ("noise_std", "number", "'a'")),
    "target text": ({"target": "a"}, TypeError, ("target", "number", "'a'")),
    "target not a number": ({"target": NAN}, ValueError, ("target", "nan")),
    "gate_threshold text": ({**GATED, "gate_threshold": "a"}, TypeError, ("gate_threshold", "number", "'a'")),
    "gate_threshold not a number": ({**GATED, "gate_threshold": NAN}, ValueError, ("gate_threshold", "nan")),
    "problem_options a number": ({"problem_options": 3}, TypeError, ("problem_options", "3")),
    "reevaluate text": ({"reevaluate": "no"}, TypeError, ("reevaluate", "bool", "'no'")),
    "dim a bool": ({**F, "dim": True}, TypeError, ("dim", "integer", "True")),
    "device unheard of": ({"device": "gpu"}, ValueError, ("device", "'gpu'", "cpu")),
    "device twice": ({"problem_options": {"device": "cpu"}}, TypeError, ("problem_options", "'device'", "device=")),
    "option of an attack": (
        {"problem": "digits_attack", "problem_options": {"augmentd_share": 0.5}},
        TypeError,
        ("digits_attack", "'augmentd_share'", "'augmented_share'"),
    ),
    "image as an option": (
        {"problem": "digits_attack", "problem_options": {"image": 7}},
        TypeError,
        ("'digits_attack'", "image=", "got 7", "the name 'digits_attack[7]'"),
    ),
    "image out of range": ({"problem": "digits_attack[60]"}, ValueError, ("image", "< 50", "'train'", "60", "split=")),
    "unknown keyword": (
        {"learning_rat": 1.0},
        TypeError,
        ("ZOSampling-v0 got an unexpected keyword argument 'learning_rat'. Did you mean 'learning_rate'?",),
    ),
    "budget by another name": ({"maxiter": 9}, TypeError, ("unexpected keyword argument 'maxiter'", "'budget'")),
}


def check_message(error: BaseException, words: tuple[str, ...]) -> None:
    text = str(error).split(" was raised from the environment creator")[0]  # gym.make appends the keywords
    missing = [word for word in words if word not in text]
    assert not missing, f"{missing} not in: {text}"


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("batched", [False, True], ids=["make", "make_vec"])
def test_bad_argument_is_explained(name: str, batched: bool) -> None:
    options, kind, words = ARGUMENTS[name]
    with pytest.raises(kind) as caught:
        gym.make_vec("ZOSampling-v0", num_envs=2, **options) if batched else gym.make("ZOSampling-v0", **options)
    assert type(caught.value) is kind
    check_message(caught.value, words)


def test_unknown_render_mode_is_explained() -> None:
    with pytest.raises(ValueError, match=r"render_mode 'rgb'.*rgb_array"):
        ZOSamplingEnv(render_mode="rgb")


# Actions

ACTIONS: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
    "too short": (np.zeros(DIM - 1), ValueError, ("action", "shape (10,)", "(9,)")),
    "batched": (np.zeros((1, DIM)), ValueError, ("action", "shape (10,)", "(1, 10)")),
    "scalar": (0.5, ValueError, ("action", "shape (10,)", "()")),
    "NaN": (np.full(DIM, NAN), ValueError, ("action", "finite", "nan", "index [0]", "policy")),
    "one infinity": (np.r_[np.zeros(DIM - 1), INF], ValueError, ("action", "finite", "inf", "index [9]")),
    "text": ("north", TypeError, ("action", "numbers", "'north'")),
    "list of text": (["a"] * DIM, TypeError, ("action", "numbers", "'a'")),
    "ragged": ([[1.0], [2.0, 3.0]], TypeError, ("action", "numbers", "[2.0, 3.0]")),
    "objects": (np.full(DIM, object()), TypeError, ("action", "numbers")),
    "complex": (np.full(DIM, 1j), TypeError, ("action", "real numbers")),
    "text of numbers": (np.full(DIM, "1"), TypeError, ("action", "real numbers")),
    "None": (None, TypeError, ("action", "numbers", "None")),
}


def running(**options: Any) -> ZOSamplingEnv:
    env = ZOSamplingEnv("quadratic", learning_rate=0.01, noise_std=0.1, **options)
    env.reset(seed=0)
    return env


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("gate", ["open", "paper"])
def test_bad_action_is_explained_and_changes_nothing(name: str, gate: str) -> None:
    action, kind, words = ACTIONS[name]
    env, untouched = running(gate=gate), running(gate=gate)
    with pytest.raises(kind) as caught:
        env.step(action)
    check_message(caught.value, words)
    good = np.ones(DIM, dtype=np.float32)
    np.testing.assert_equal(env.step(good), untouched.step(good))  # count, state and generators are as they were


@pytest.mark.parametrize("name", ACTIONS)
def test_bad_batch_of_actions_is_explained_and_changes_nothing(name: str) -> None:
    action, kind, words = ACTIONS[name]
    options = {"num_envs": 2, "learning_rate": 0.01, "noise_std": 0.1}
    env, untouched = ZOSamplingVectorEnv("quadratic", **options), ZOSamplingVectorEnv("quadratic", **options)
    env.reset(seed=0), untouched.reset(seed=0)
    bad = np.stack([action, action]) if isinstance(action, np.ndarray) else action
    with pytest.raises(kind) as caught:
        env.step(bad)
    check_message(caught.value, (words[0],))
    good = np.ones((2, DIM), dtype=np.float32)
    np.testing.assert_equal(env.step(good), untouched.step(good))


def test_index_of_the_bad_entry_in_a_batch_is_named() -> None:
    env = ZOSamplingVectorEnv("quadratic", num_envs=3)
    env.reset(seed=0)
    actions = np.zeros((3, DIM))
    actions[1, 4] = NAN
    with pytest.raises(ValueError, match=re.escape("index [1, 4]")):
        env.step(actions)


# Order of calls


@pytest.mark.parametrize("call", ["step", "render", "x", "best_x"])
def test_before_reset_the_remedy_is_named(call: str) -> None:
    env = ZOSamplingEnv("quadratic", render_mode="ansi")
    use: dict[str, Callable[[], Any]] = {
        "step": lambda: env.step(np.zeros(DIM)),
        "render": env.render,
        "x": lambda: env.x,
        "best_x": lambda: env.best_x,
    }
    with pytest.raises(ResetNeeded, match=r"reset\(\)"):
        use[call]()
    env.reset(seed=0)
    use[call]()


def test_vector_env_before_reset_the_remedy_is_named() -> None:
    env = ZOSamplingVectorEnv("quadratic", num_envs=2)
    for use in (lambda: env.step(np.zeros((2, DIM))), env.state_dict):
        with pytest.raises(ResetNeeded, match=r"reset\(\)"):
            use()


def test_after_the_end_the_reason_and_the_remedy_are_named_and_the_result_is_kept() -> None:
    env = running(budget=5)
    env.step(np.ones(DIM))
    assert env.step(np.ones(DIM))[3]
    best = env.best_x
    for _ in range(2):
        with pytest.raises(ResetNeeded, match=r"budget of 5 queries is spent\. Call reset\(\)"):
            env.step(np.ones(DIM))
    np.testing.assert_array_equal(env.best_x, best)
    assert env.oracle.queries[0] == 5
    env.reset()
    assert env.step(np.ones(DIM))[4]["queries"] == 3


def test_reset_takes_no_options_and_says_where_they_go() -> None:
    env, untouched = running(), running()
    with pytest.raises(ValueError, match=r"options.*\['x0'\].*gym\.make"):
        env.reset(options={"x0": [1.0]})
    np.testing.assert_equal(env.step(np.ones(DIM)), untouched.step(np.ones(DIM)))
    vector = ZOSamplingVectorEnv("quadratic", num_envs=2)
    with pytest.raises(ValueError, match=r"options.*\['x0'\].*gym\.make_vec"):
        vector.reset(options={"x0": [1.0]})
    env.reset(options={})
    vector.reset(options={})


@pytest.mark.parametrize("seed", [-1, "a", 1.5])
def test_bad_seed_is_gymnasiums_error(seed: Any) -> None:
    with pytest.raises(gym.error.Error, match=r"[Ss]eed"):
        ZOSamplingEnv("quadratic").reset(seed=seed)


# f itself


class Faulty:
    """x @ x, until told to return or raise something else."""

    __name__ = "faulty"

    def __init__(self) -> None:
        self.fault: Callable[[np.ndarray], Any] | None = None
        self.calls = 0

    def __call__(self, x: np.ndarray) -> Any:
        self.calls += 1
        return (x * x).sum(-1) if self.fault is None else self.fault(x)


def divide(x: np.ndarray) -> float:
    raise ZeroDivisionError("division by nothing")


FAULTS: dict[str, tuple[Callable[[np.ndarray], Any], tuple[str, ...]]] = {
    "raises": (divide, ("'faulty'", "ZeroDivisionError", "division by nothing")),
    "NaN": (lambda x: NAN, ("'faulty'", "nan", "query 2", "finite real number", "on_failure")),
    "inf": (lambda x: INF, ("'faulty'", "inf", "query 2", "finite real number", "on_failure")),
    "vector": (lambda x: x, ("f(x)", "one number", "(2,)", "batched=True")),
    "empty": (lambda x: [], ("f(x)", "one number", "(0,)")),
    "complex": (lambda x: 1j, ("f(x)", "real numbers", "complex", "1j")),
    "text": (lambda x: "1.0", ("f(x)", "real numbers", "str", "'1.0'")),
    "None": (lambda x: None, ("f(x)", "real numbers", "NoneType")),
    "dict": (lambda x: {"loss": 1.0}, ("f(x)", "real numbers", "dict", "loss")),
}
BATCHED_FAULTS: dict[str, tuple[Callable[[np.ndarray], Any], tuple[str, ...]]] = {
    "raises": (divide, ("'faulty'", "ZeroDivisionError", "division by nothing")),
    "NaN": (lambda x: np.full(len(x), NAN), ("'faulty'", "nan", "query 2", "finite real number")),
    "scalar": (lambda x: 1.0, ("batched f(X)", "one value per row", "(1,)", "()", "batched=False")),
    "matrix": (lambda x: x, ("batched f(X)", "one value per row", "(1, 2)")),
    "complex": (lambda x: np.full(len(x), 1j), ("f(X)", "real numbers")),
    "text": (lambda x: ["a"] * len(x), ("f(X)", "real numbers", "'a'")),
    "objects": (lambda x: np.full(len(x), None), ("f(X)", "real numbers")),
}
ALL_FAULTS = [(False, name) for name in FAULTS] + [(True, name) for name in BATCHED_FAULTS]


@pytest.mark.parametrize(("batched", "name"), ALL_FAULTS)
def test_f_that_fails_is_explained_and_the_episode_goes_on_once_it_is_mended(batched: bool, name: str) -> None:
    fault, words = (BATCHED_FAULTS if batched else FAULTS)[name]
    f = Faulty()
    env = ZOSamplingEnv(f, x0=[1.0, 2.0], batched=batched, learning_rate=0.1, budget=20)
    env.reset(seed=0)
    f.fault = fault
    with pytest.raises(ObjectiveError) as caught:
        env.step(np.array([1.0, 0.0]))
    check_message(caught.value, words)
    np.testing.assert_array_equal(env.x, [1.0, 2.0])
    np.testing.assert_array_equal(env.best_x, [1.0, 2.0])
    f.fault = None
    _, _, terminated, truncated, info = env.step(np.array([1.0, 0.0]))
    # x1' = 1 - 0.1 * 2.01: the failed query counts, and the step is the one that it would have been
    np.testing.assert_allclose(env.x, [1.0 - 0.1 * 2.01, 2.0], rtol=1e-9)
    assert (terminated, truncated) == (False, False)
    assert info["queries"] == f.calls == 4


def test_f_that_fails_at_the_second_query_of_a_step_leaves_x_where_it_was() -> None:
    f = Faulty()
    f.fault = lambda x: NAN if f.calls == 3 else float(x @ x)
    env = ZOSamplingEnv(f, x0=[1.0, 2.0], learning_rate=0.1)
    env.reset(seed=0)
    with pytest.raises(ObjectiveError, match="query 3"):
        env.step(np.array([1.0, 0.0]))
    np.testing.assert_array_equal(env.x, [1.0, 2.0])
    assert env.step(np.array([1.0, 0.0]))[4]["queries"] == 5


def test_f_that_fails_at_the_start_is_explained_and_can_be_mended() -> None:
    f = Faulty()
    f.fault = lambda x: NAN
    env = ZOSamplingEnv(f, x0=[1.0, 2.0])
    with pytest.raises(ObjectiveError, match=r"query 1, at x = \[1\. 2\.\]") as caught:
        env.reset(seed=0)
    np.testing.assert_array_equal(caught.value.point, [1.0, 2.0])  # type: ignore[arg-type]
    with pytest.raises(ResetNeeded, match=r"reset\(\)"):
        env.step(np.zeros(2))
    f.fault = None
    assert env.reset(seed=0)[1]["queries"] == 1


def test_reset_that_fails_leaves_no_half_started_episode() -> None:
    f = Faulty()
    env = ZOSamplingEnv(f, x0=[1.0, 2.0], budget=9)
    env.reset(seed=0)
    env.step(np.ones(2))
    f.fault = lambda x: NAN
    with pytest.raises(ObjectiveError):
        env.reset()
    f.fault = None
    with pytest.raises(ResetNeeded, match=r"reset\(\)"):
        env.step(np.ones(2))


def test_run_that_diverges_is_told_to_lower_the_learning_rate() -> None:
    env = ZOSamplingEnv(lambda x: float(np.clip(x, -1e308, 1e308).sum()) * 1e300, x0=[1.0], learning_rate=1e308)
    env.reset(seed=0)
    with pytest.raises(ObjectiveError, match="learning_rate"):
        env.step(np.ones(1))


def test_worst_value_stands_in_where_failures_are_penalised_and_a_failing_start_is_still_an_error() -> None:
    f = Faulty()
    env = ZOSamplingEnv(f, x0=[1.0, 2.0], learning_rate=0.1, on_failure="penalize")
    assert env.reset(seed=0)[1]["failures"] == 0
    f.fault = lambda x: NAN
    _, reward, _, _, info = env.step(np.array([1.0, 0.0]))
    assert (info["f"], info["failures"], reward, info["delta"]) == (5.0, 2, 0.0, 0.0)
    with pytest.raises(ObjectiveError, match="query 1"):
        env.reset()


@pytest.mark.filterwarnings("ignore:f raised:RuntimeWarning")  # ours: tested in the next lines
def test_exceptions_count_as_failures_where_failures_are_survived() -> None:
    f = Faulty()
    env = ZOSamplingEnv(f, x0=[1.0, 2.0], on_failure="penalize")
    env.reset(seed=0)
    f.fault = divide
    with pytest.warns(RuntimeWarning, match=r"ZeroDivisionError.*counts as NaN"):
        info = env.step(np.array([1.0, 0.0]))[4]
    assert info["failures"] == 2


def test_retry_gives_up_after_three_tries_and_says_so() -> None:
    f = Faulty()
    env = ZOSamplingEnv(f, x0=[1.0, 2.0], on_failure="retry")
    env.reset(seed=0)
    f.fault = lambda x: NAN
    with pytest.raises(ObjectiveError, match="after 3 retries"):
        env.step(np.array([1.0, 0.0]))
    assert f.calls == env.oracle.queries[0] == 1 + 4


def test_failed_queries_count_until_the_budget_is_spent() -> None:
    f = Faulty()
    env = ZOSamplingEnv(f, x0=[1.0, 2.0], budget=3)
    env.reset(seed=0)
    f.fault = lambda x: NAN
    for _ in range(2):
        with pytest.raises(ObjectiveError):
            env.step(np.ones(2))
    with pytest.raises(BudgetError, match=r"Budget of 3 queries has 0 left.*budget="):
        env.step(np.ones(2))
    assert f.calls == 3


def test_reward_log_of_a_value_that_is_not_positive_is_explained() -> None:
    env = ZOSamplingEnv(lambda x: float(x @ x) - 5.0, x0=[1.0, 1.0], reward="log")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"reward='log' needs f > 0.*got -.*reward='relative'"):
        env.step(np.ones(2))


def test_reward_log_that_fails_leaves_x_where_it_was() -> None:
    env = ZOSamplingEnv(lambda x: float(x @ x) - 5.0, x0=[1.0, 1.0], reward="log")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="reward='log'"):
        env.step(np.ones(2))
    np.testing.assert_array_equal(env.x, [1.0, 1.0])


# The vector environment


@pytest.mark.parametrize("num_envs", [2.5, True, "3", None])
def test_num_envs_that_is_no_integer_is_explained(num_envs: Any) -> None:
    with pytest.raises(TypeError, match=rf"num_envs must be an integer >= 1, got {num_envs!r}"):
        ZOSamplingVectorEnv("quadratic", num_envs=num_envs)


@pytest.mark.parametrize("num_envs", [0, -1])
def test_num_envs_that_is_too_small_is_explained(num_envs: int) -> None:
    with pytest.raises(ValueError, match=rf"num_envs must be >= 1, got {num_envs}"):
        ZOSamplingVectorEnv("quadratic", num_envs=num_envs)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"autoreset_mode": "nextstep"}, ValueError, r"Unknown autoreset_mode 'nextstep'\. Did you mean 'next-step'"),
        ({"autoreset_mode": AutoresetMode.DISABLED}, TypeError, r"autoreset_mode must be a name.*DISABLED.*same-step"),
        ({"max_episode_steps": 0}, ValueError, "max_episode_steps must be >= 1, got 0"),
        ({"max_episode_steps": 2.5}, TypeError, r"max_episode_steps must be an integer >= 1, got 2\.5"),
    ],
)
def test_bad_resets_and_step_limits_are_explained(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        gym.make_vec("ZOSampling-v0", num_envs=2, **options)


def test_vector_env_draws_nothing_and_says_so() -> None:
    with pytest.raises(ValueError, match=r"render_mode must be None.*'rgb_array'"):
        gym.make_vec("ZOSampling-v0", num_envs=2, render_mode="rgb_array")


def test_wrong_number_of_seeds_is_explained() -> None:
    with pytest.raises(ValueError, match=r"seed.*a list of 3 \(num_envs\), got \[1, 2\]"):
        ZOSamplingVectorEnv("quadratic", num_envs=3).reset(seed=[1, 2])


@pytest.mark.parametrize("batched", [False, True])
def test_one_failing_row_stops_the_step_for_all_and_moves_none(batched: bool) -> None:
    f = Faulty()
    env = ZOSamplingVectorEnv(f, num_envs=3, dim=2, batched=batched, learning_rate=0.1)
    before = env.reset(seed=0)[0]
    f.fault = lambda x: np.where((x * x).sum(-1) < 1e9, NAN, 1.0)
    with pytest.raises(ObjectiveError, match="query 2"):
        env.step(np.ones((3, 2)))
    f.fault = None
    observation, _, _, _, infos = env.step(np.zeros((3, 2)))
    np.testing.assert_array_equal(observation, before)
    np.testing.assert_array_equal(infos["queries"], 4)


def test_names_that_the_errors_give_are_importable() -> None:
    assert issubclass(zo_gym.ObjectiveError, ValueError)
    assert issubclass(zo_gym.BudgetError, RuntimeError)


@pytest.mark.parametrize(("name", "value"), [("update", "update_rnn"), ("sampler", "query_rnn")])
def test_a_learned_part_is_not_taken_untrained(name: str, value: str) -> None:
    key = value.replace("_", "-")
    with pytest.raises(ValueError, match=rf"{name} '{key}' needs trained weights, .*{name}=zo_gym\.{name}s\.{value}\("):
        ZOSamplingEnv("quadratic", **{name: key})
