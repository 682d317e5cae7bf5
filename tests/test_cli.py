"""The two commands as a user runs them: what they write, how they go on after Ctrl-C, and what their errors say."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from zo_gym import PROBLEMS, Problem
from zo_gym.agents import evaluate, train, training_run
from zo_gym.agents.arguments import TrainArgs, check_resumed, load_args
from zo_gym.agents.curves import draw_starts, run_method
from zo_gym.agents.evaluate import EvaluateArgs, learn_from_scratch, run_evaluation
from zo_gym.agents.peer_options import PeerOptions
from zo_gym.agents.policies.bundle import load_policy
from zo_gym.agents.train import run_training
from zo_gym.files import provenance

ROOT = Path(__file__).resolve().parents[1]
# From a budget of 302 on, a grid point beside the first has a cosine: see test_curves on warnings of the figure.
BUDGET = 310
TINY = ["--problem", "quadratic", "--problem-options", '{"dim": 4}', "--gate", "open"]
TINY += ["--budget", str(BUDGET), "--device", "cpu"]
RUN_FILES = {"config.json", "checkpoint.pt", "policy", "result.json", "comparison.md", "comparison.png"}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The commands set torch's number of threads, which is global: give it back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def command(script: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-u", "-W", "error", str(ROOT / script), *map(str, arguments)]


def tiny(logdir: Path, **changes: Any) -> TrainArgs:
    base = TrainArgs(
        problem="quadratic",
        problem_options='{"dim": 4}',
        gate="open",
        budget=BUDGET,
        total_queries=400,
        eval_seeds=0,
        progress=False,
        device="cpu",
        logdir=logdir,
    )
    return replace(base, **changes)


def go_on(folder: Path, **changes: Any) -> TrainArgs:
    """The arguments that resume a run."""
    return replace(load_args(folder), **{"resume": folder, "progress": False, **changes})


def fail(
    main: Any, script: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """What the command prints on stderr before it exits with status 2."""
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    monkeypatch.delenv("ZO_GYM_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """`python train.py`, all of it, in a process of its own with warnings as errors."""
    logdir = tmp_path_factory.mktemp("whole")
    finished = subprocess.run(
        command("train.py", *TINY, "--total-queries", "400", "--eval-seeds", "2", "--logdir", logdir),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=logdir,
    )
    assert finished.returncode == 0, finished.stderr
    (folder,) = (path for path in logdir.iterdir() if path.is_dir())
    return folder, finished


@pytest.mark.parametrize(("script", "arguments"), [("train.py", TrainArgs), ("evaluate.py", EvaluateArgs)])
def test_help_names_every_argument(script: str, arguments: Any) -> None:
    shown = subprocess.run(command(script, "--help"), capture_output=True, text=True, timeout=60, check=True).stdout
    shown_fields = [
        field for field in fields(arguments) if field.name != "comparison"
    ]  # whose fields are shown instead
    for field in (*shown_fields, *(fields(PeerOptions) if arguments is EvaluateArgs else ())):
        name = "RUN" if field.name == "run" else "--" + field.name.replace("_", "-")
        assert name in shown


def test_a_run_folder_holds_everything(whole: tuple[Path, Any]) -> None:
    folder, _ = whole
    names = {path.name for path in folder.iterdir()}
    assert names >= RUN_FILES
    assert [name for name in names - RUN_FILES if not name.startswith("events.out.tfevents")] == []
    assert {path.name for path in (folder / "policy").iterdir()} == {"config.json", "weights.safetensors"}
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_the_config_is_resolved_and_says_where_the_run_came_from(whole: tuple[Path, Any]) -> None:
    folder, _ = whole
    config = json.loads((folder / "config.json").read_text())
    assert set(config["args"]) == {field.name for field in fields(TrainArgs)}
    assert config["args"]["budget"] == BUDGET
    assert config["args"]["algo"] == "ddpg"
    assert None not in config["preset"].values()  # what None stood for is written out
    assert config["preset"]["network"] == "mlp"
    assert config["environment"]["update"] == "adaptive"
    assert config["command"].startswith("train.py --problem quadratic")
    assert config["versions"]["torch"] == version("torch")  # torch.__version__ has the build behind a "+"
    assert config["git"] == provenance()["git"]  # None outside a git checkout; tests/test_files.py says what it is


def test_the_result_counts_every_query_and_compares_at_equal_queries(whole: tuple[Path, Any]) -> None:
    folder, finished = whole
    result = json.loads((folder / "result.json").read_text())
    assert 390 < result["training_queries"] <= 400
    assert result["training_queries"] == 1 + 2 * result["training_steps"] + len(result["episodes"])
    assert [episode["queries"] for episode in result["episodes"]] == [309]
    rows = result["comparison"]
    assert len(rows) == 4
    assert [row["method"] for row in rows][:2] == ["trained policy", "untrained (control)"]
    assert all(BUDGET - 21 < row["queries"] <= BUDGET for row in rows)
    markdown = (folder / "comparison.md").read_text()
    for row in rows:
        assert row["method"] in markdown
        assert row["method"] in finished.stdout
    assert "after 309 queries" in finished.stdout
    assert f"python evaluate.py {folder}" in finished.stdout


def test_the_saved_policy_acts(whole: tuple[Path, Any]) -> None:
    policy = load_policy(whole[0] / "policy")
    assert policy.config.algo == "ddpg"
    assert policy.config.environment["budget"] == BUDGET
    assert policy(torch.zeros(2, 4).numpy()).shape == (2, 4)


@pytest.mark.parametrize("algo", ["td3", "sac"])
def test_the_other_agents_train_too(algo: str, tmp_path: Path) -> None:
    folder = run_training(tiny(tmp_path, algo=algo))
    assert load_policy(folder / "policy").config.algo == algo
    assert (folder / "checkpoint.pt").exists()


def test_the_papers_preset_trains_with_its_gate_and_networks(tmp_path: Path) -> None:
    folder = run_training(
        tiny(tmp_path, preset="paper", gate=None, learning_rate=0.002, num_directions=3, total_queries=700, num_envs=2)
    )
    config = json.loads((folder / "config.json").read_text())
    assert (config["preset"]["gate"], config["preset"]["network"]) == ("paper", "cnn")
    assert config["environment"]["num_directions"] == 3


def test_two_runs_in_one_second_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run.time, "strftime", lambda form: "now")
    names = [training_run.new_folder(tiny(tmp_path)).name for _ in range(3)]
    assert names == ["now-ddpg-quadratic", "now-ddpg-quadratic-2", "now-ddpg-quadratic-3"]


def test_the_same_seed_gives_the_same_policy_and_another_seed_another(tmp_path: Path) -> None:
    first, again, other = (
        load_file(run_training(tiny(tmp_path, seed=seed, total_queries=230)) / "policy" / "weights.safetensors")
        for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def interrupt(patch: pytest.MonkeyPatch, at: int, times: int = 1) -> None:
    """Ctrl-C, once or more, when the registered quadratic has been asked `at` times."""
    plain = PROBLEMS["quadratic"]
    asked = 0

    @wraps(plain)
    def counting(**options: Any) -> Problem:
        problem = plain(**options)

        def fun(points: torch.Tensor, instances: torch.Tensor) -> torch.Tensor:
            nonlocal asked
            asked += 1
            if asked == at:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
            return problem.fun(points, instances)

        return replace(problem, fun=fun)

    patch.setitem(PROBLEMS, "quadratic", counting)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights and results of a run that was left alone, and of one that was interrupted and resumed."""
    logdir = tmp_path_factory.mktemp("both")
    alone = run_training(tiny(logdir, total_queries=750))
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, at=500)
        resumed = run_training(tiny(logdir, total_queries=750))
    assert not (resumed / "result.json").exists()
    assert run_training(go_on(resumed)) == resumed
    return tuple(
        {
            "weights": load_file(folder / "policy" / "weights.safetensors"),
            "result": json.loads((folder / "result.json").read_text()),
        }
        for folder in (alone, resumed)
    )  # type: ignore[return-value]


def test_an_interrupted_and_resumed_run_ends_with_the_same_policy(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    alone, resumed = both
    for name, value in alone["weights"].items():
        assert torch.equal(resumed["weights"][name], value), name
    for name in ("training_queries", "training_steps"):
        assert resumed["result"][name] == alone["result"][name]


def test_ctrl_c_in_the_comparison_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "compare", stop)
        folder = run_training(tiny(tmp_path, eval_seeds=1))
    assert f"python train.py --resume {folder}" in capsys.readouterr().out
    assert not (folder / "result.json").exists()
    assert run_training(go_on(folder)) == folder
    assert (folder / "result.json").exists()


def test_an_interrupted_and_resumed_run_reports_the_same_episodes(
    both: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    alone, resumed = both
    assert len(alone["result"]["episodes"]) == 2
    assert resumed["result"]["episodes"] == alone["result"]["episodes"]


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize(
    ("names", "pause"),
    [
        (["SIGINT"], 0.0),
        (["SIGTERM"], 0.0),
        (["SIGHUP", "SIGHUP"], 0.0),  # the kernel and the shell each send one where a terminal closes
        (["SIGHUP", "SIGHUP"], 0.002),
        (["SIGTERM", "SIGHUP"], 0.0),
        (["SIGTERM", "SIGHUP"], 0.002),
    ],
)
def test_a_signal_saves_everything_and_training_can_go_on(names: list[str], pause: float, tmp_path: Path) -> None:
    arguments = [*TINY, "--total-queries", "100000", "--eval-seeds", "0", "--checkpoint-every", "20"]
    process = subprocess.Popen(
        command("train.py", *arguments, "--logdir", tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may run under nohup
    )
    try:
        limit = time.monotonic() + 60
        while not list(tmp_path.glob("*/checkpoint.pt")):  # training is under way
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.02)
        for name in names:
            process.send_signal(getattr(signal, name))
            time.sleep(pause)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert "Traceback" not in err
    if process.returncode != -signal.SIGHUP:  # the second one may come when all is saved
        assert process.returncode == 0
        assert f"Interrupted; everything is saved. Go on from there: python train.py --resume {folder}" in out
    assert load_policy(folder / "policy").config.algo == "ddpg"
    assert not (folder / "result.json").exists()

    # Resume it in this process with less to do.
    steps = torch.load(folder / "checkpoint.pt", weights_only=True)["counters"]["num_timesteps"]
    assert run_training(go_on(folder, total_queries=2 * steps + 200)) == folder
    result = json.loads((folder / "result.json").read_text())
    assert result["training_steps"] > steps
    assert result["training_queries"] <= 2 * steps + 200


def test_a_second_ctrl_c_says_what_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, at=130, times=2)
        folder = run_training(tiny(tmp_path, checkpoint_every=20))
    said = capsys.readouterr().out
    assert "everything is saved" not in said
    expected = f"of step 60. Go on from there: python train.py --resume {folder}"
    assert f"Interrupted at once; what is saved is the last checkpoint, {expected}" in said
    assert not (folder / "policy").exists()
    run_training(go_on(folder))
    assert f"Resuming {folder} at step 60." in capsys.readouterr().out
    assert (folder / "result.json").exists()


def test_ctrl_c_in_the_first_query_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, at=1)
        folder = run_training(tiny(tmp_path))
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["counters"]["num_timesteps"] == 0
    run_training(go_on(folder))
    assert (folder / "result.json").exists()


def test_a_second_ctrl_c_before_the_first_checkpoint_is_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, at=30, times=2)
    with pytest.raises(KeyboardInterrupt):
        run_training(tiny(tmp_path))


def test_a_crash_in_a_run_of_4000_queries_leaves_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, asked = PROBLEMS["quadratic"], 0

    @wraps(plain)
    def failing(**options: Any) -> Problem:
        problem = plain(**options)

        def fun(points: torch.Tensor, instances: torch.Tensor) -> torch.Tensor:
            nonlocal asked
            asked += 1
            if asked == 1100:
                raise RuntimeError("the simulator is gone")
            return problem.fun(points, instances)

        return replace(problem, fun=fun)

    monkeypatch.setitem(PROBLEMS, "quadratic", failing)
    with pytest.raises(ValueError, match="the simulator is gone"):
        run_training(tiny(tmp_path, total_queries=4000, budget=4000))
    (folder,) = tmp_path.iterdir()
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["counters"]["num_timesteps"] == 500


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 60 queries, finished."""
    return run_training(tiny(tmp_path_factory.mktemp("short"), total_queries=60, seed=5))


def test_resuming_takes_every_other_argument_from_the_run(short: Path) -> None:
    own = tiny(short.parent, total_queries=60, seed=5)
    assert load_args(short) == own
    again = ["--seed", "5", "--num-envs", "1", "--policy", "mlp"]
    parsed = train.parse(["--resume", str(short), "--total-queries", "70", *again])
    assert parsed == replace(own, resume=short, total_queries=70, num_envs=1, policy="mlp", progress=True)
    check_resumed(parsed, own)  # what is the run's own may be said again


def test_an_extended_run_is_the_longer_run_bit_for_bit(
    both: tuple[dict[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    """`both` holds runs of 750 queries with the same seed."""
    folder = run_training(tiny(tmp_path, total_queries=400))
    assert json.loads((folder / "result.json").read_text())["training_queries"] <= 400
    arguments = train.parse(["--resume", str(folder), "--total-queries", "750", "--no-progress"])
    assert run_training(arguments) == folder
    result, weights = json.loads((folder / "result.json").read_text()), load_file(folder / "policy/weights.safetensors")
    for name in ("training_queries", "training_steps", "episodes"):
        assert result[name] == both[0]["result"][name]
    assert all(torch.equal(weights[name], value) for name, value in both[0]["weights"].items())
    config = json.loads((folder / "config.json").read_text())
    assert (config["args"]["total_queries"], config["preset"]["total_queries"]) == (750, 750)
    assert load_args(folder).resume is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-envs", "4"], "--num-envs must be the resumed run's own, 1, got 4. Drop it, or train a new run"),
        (["--policy", "cnn"], "--policy must be the resumed run's own, mlp, got cnn."),
        (["--seed", "0"], "--seed must be the resumed run's own, 5, got 0."),  # the default of a new run, and asked for
        (["--budget", "60"], f"--budget must be the resumed run's own, {BUDGET}, got 60."),
        (["--checkpoint-every", "7"], "--checkpoint-every must be the resumed run's own, 500, got 7."),
        (["--total-queries", "40"], "--total-queries must be >= 59, which the run has spent, got 40. Raise it."),
    ],
)
def test_a_flag_that_resuming_would_ignore_is_refused(
    arguments: list[str],
    message: str,
    short: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = (short / "config.json").read_text()
    assert message in fail(train.main, "train.py", ["--resume", str(short), *arguments], monkeypatch, capsys)
    assert (short / "config.json").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--problem", "quadratc"], "Unknown problem 'quadratc'. Did you mean 'quadratic'?"),
        (["--problem-options", "{bad"], "--problem-options must be a JSON object, got '{bad'"),
        (["--problem-options", '{"dmi": 4}'], "unexpected keyword argument 'dmi'. Did you mean 'dim'?"),
        (["--update", "sdg"], "Unknown update 'sdg'. Did you mean 'sgd'?"),
        (["--budget", "2"], "budget must be at least 3 queries"),
        (["--smoothing", "-1"], "smoothing must be a finite number > 0, got -1.0."),
        (["--total-queries", "3"], "--total-queries must be at least 4"),
        (["--noise-std", "-1"], "noise_std must be a finite number >= 0, got -1.0."),
        (["--num-envs", "0"], "--num-envs must be >= 1, got 0."),
        (["--num-directions", "0", "--gate", "paper"], "--num-directions must be >= 1, got 0."),
        (["--algo", "dqn"], "invalid choice"),
        (["--learning-rat", "1"], "learning-rate"),
        (["--resume", "nowhere"], "nowhere is not a run folder: config.json is missing."),
    ],
)
def test_a_wrong_argument_of_train_ends_with_one_clear_error(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = fail(train.main, "train.py", [*TINY, "--logdir", str(tmp_path), *arguments], monkeypatch, capsys)
    assert message in " ".join(said.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []  # no empty run folder stays behind


UNCLEAR = "the number is not checked where it comes in"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--problem-options", "5"], "--problem-options must be a JSON object, got '5'"),
        (["--problem-options", '"ab"'], "--problem-options must be a JSON object, got '\"ab\"'"),
        (["--checkpoint-every", "0"], "--checkpoint-every must be"),
        (["--threads", "0"], "--threads must be"),
        (["--seed", "-1"], "--seed must be"),
    ],
)
def test_a_number_out_of_range_is_named_with_what_is_expected(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    common = [*TINY, "--total-queries", "100", "--eval-seeds", "0", "--no-progress", "--logdir", str(tmp_path)]
    try:
        said = fail(train.main, "train.py", [*common, *arguments], monkeypatch, capsys)
    except pytest.fail.Exception as error:  # it trained
        raise AssertionError(message) from error
    assert message in said


def test_a_diverging_run_is_told_to_lower_the_learning_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*TINY, "--preset", "paper", "--no-progress", "--logdir", str(tmp_path)]  # sgd with eta = 1
    assert "learning_rate" in fail(train.main, "train.py", arguments, monkeypatch, capsys)
    assert len(list(tmp_path.glob("*/policy/weights.safetensors"))) == 1  # what it had learned is kept


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_cuda_says_so(
    whole: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = "--device cuda: torch sees no CUDA device. Use --device auto (or cpu)."
    arguments = [*TINY, "--logdir", str(tmp_path), "--device", "cuda"]
    assert expected in fail(train.main, "train.py", arguments, monkeypatch, capsys)
    assert expected in fail(evaluate.main, "evaluate.py", [str(whole[0]), "--device", "cuda"], monkeypatch, capsys)


def test_an_error_of_the_real_command_has_status_2_and_no_traceback() -> None:
    found = subprocess.run(
        command("train.py", "--problem", "quadratc"), capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 2
    assert found.stderr == "error: Unknown problem 'quadratc'. Did you mean 'quadratic'?\n"


def test_the_traceback_is_there_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--problem", "quadratc"])
    monkeypatch.setenv("ZO_GYM_TRACEBACK", "1")
    with pytest.raises(ValueError, match="Unknown problem"):
        train.main()


def test_evaluating_writes_a_table_a_csv_and_a_figure(whole: tuple[Path, Any], tmp_path: Path) -> None:
    rows = run_evaluation(EvaluateArgs(whole[0], seeds=2, device="cpu", out=tmp_path / "out"))
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {"table.md", "table.json", "curves.csv", "curves.png"}
    assert json.loads((out / "table.json").read_text()) == rows
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    lines = list(csv.DictReader((out / "curves.csv").read_text().splitlines()))
    methods = [row["method"] for row in rows]
    assert sorted({line["method"] for line in lines}) == sorted(methods)
    for row in rows:
        own = [line for line in lines if line["method"] == row["method"]]
        assert (own[0]["queries"], own[-1]["queries"]) == ("1", str(BUDGET))
        assert float(own[-1]["best_f_mean"]) == pytest.approx(row[f"f at {BUDGET}"], rel=1e-12)
    trained = [line for line in lines if line["method"] == "trained policy"]
    assert 0 <= float(trained[-1]["cosine_mean"]) <= 1


def test_evaluating_repeats_the_comparison_that_ended_the_run(whole: tuple[Path, Any], tmp_path: Path) -> None:
    """Same starts, same noise: the saved policy is the one that was trained."""
    rows = run_evaluation(EvaluateArgs(whole[0], seeds=2, device="cpu", out=tmp_path))
    assert rows == json.loads((whole[0] / "result.json").read_text())["comparison"]


def test_evaluating_from_scratch_adds_a_learner_that_pays_for_every_query(
    whole: tuple[Path, Any], tmp_path: Path
) -> None:
    rows = run_evaluation(EvaluateArgs(whole[0], seeds=2, from_scratch=True, device="cpu", out=tmp_path))
    assert [row["method"] for row in rows][:2] == ["trained policy", "policy learning from scratch"]
    assert BUDGET - 4 <= rows[1]["queries"] <= BUDGET
    lines = list(csv.DictReader((tmp_path / "curves.csv").read_text().splitlines()))
    assert "policy learning from scratch" in {line["method"] for line in lines}


def test_the_learner_from_scratch_starts_at_f_of_the_same_x0(whole: tuple[Path, Any]) -> None:
    args = replace(load_args(whole[0]), learning_rate=0.005)  # so small that the first move is kept
    settings = {**load_policy(whole[0] / "policy").config.environment, "learning_rate": 0.005}
    learner = learn_from_scratch(args, settings, [1, 2])
    assert (
        learner.best[:, 0].tolist()
        == run_method("m", draw_starts(settings, [1, 2]), method="rand-ada").best[:, 0].tolist()
    )


def test_a_policy_folder_can_be_evaluated_alone(whole: tuple[Path, Any], tmp_path: Path) -> None:
    shutil.copytree(whole[0] / "policy", tmp_path / "policy")
    rows = run_evaluation(EvaluateArgs(tmp_path / "policy", seeds=1, device="cpu"))
    assert len(rows) == 4
    assert (tmp_path / "policy" / "evaluation" / "curves.png").exists()


def test_the_budget_and_the_exploration_can_be_changed(whole: tuple[Path, Any], tmp_path: Path) -> None:
    rows = run_evaluation(EvaluateArgs(whole[0], seeds=1, budget=320, exploration=0.0, device="cpu", out=tmp_path))
    assert "f at 320" in rows[0]
    assert all(row["queries"] <= 320 for row in rows)


@pytest.mark.parametrize(
    ("prepare", "arguments", "message"),
    [
        (lambda folder: None, [], "No run folder at"),
        (lambda folder: folder.mkdir(), [], "config.json is missing. Train one: python -m zo_gym.agents.train"),
        (
            lambda folder: (folder / "policy").mkdir(parents=True),
            [],
            "config.json is missing. Train one: python -m zo_gym.agents.train",
        ),
    ],
    ids=["no-folder", "empty-folder", "empty-policy"],
)
def test_a_folder_without_a_policy_is_one_clear_error(
    prepare: Any,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare(tmp_path / "run")
    said = fail(evaluate.main, "evaluate.py", [str(tmp_path / "run"), *arguments], monkeypatch, capsys)
    assert message in said
    assert not (tmp_path / "run" / "evaluation").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "--seeds must be >= 1, got 0."),
        (["--seed", "2"], "--seeds"),
        (["--exploration", "-1"], "--exploration must be finite and >= 0, got -1."),
        (["--workers", "3"], "a run folder takes no --workers, got 3. Drop one of the two."),
        (["--results", "there"], "a run folder takes no --results, got there. Drop one of the two."),
    ],
)
def test_a_wrong_argument_of_evaluate_ends_with_one_clear_error(
    arguments: list[str],
    message: str,
    whole: tuple[Path, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert message in fail(evaluate.main, "evaluate.py", [str(whole[0]), *arguments], monkeypatch, capsys)


@pytest.mark.parametrize("budget", ["1", "15"])
def test_a_budget_too_small_for_a_method_is_not_called_a_divergence(
    budget: str, whole: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = fail(evaluate.main, "evaluate.py", [str(whole[0]), "--budget", budget], monkeypatch, capsys)
    assert "budget must be" in said


def test_a_file_instead_of_a_folder_is_told_what_is_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "agent.zip").write_bytes(b"PK")
    said = fail(evaluate.main, "evaluate.py", [str(tmp_path / "agent.zip")], monkeypatch, capsys)
    assert f"A policy is a folder with config.json and weights.safetensors, got the file {tmp_path}/agent.zip." in said
    assert "No run folder" not in said


@pytest.mark.parametrize("mode", [["--figure", "tables"], ["--pretrained", "digits-attack"], ["--peers"]])
@pytest.mark.parametrize("option", [["--seeds", "3"], ["--budget", "9"], ["--from-scratch"], ["runs/some"]])
def test_options_of_run_folders_are_refused_where_they_change_nothing(
    mode: list[str], option: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = fail(evaluate.main, "evaluate.py", [*option, *mode], monkeypatch, capsys)
    name = "run folder" if option == ["runs/some"] else option[0]
    assert f"error: {mode[0]} takes no {name}, got " in said
    assert "Drop one of the two" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--figure", "tables", "--workers", "3"], "--figure takes no --workers, got 3."),
        (["--pretrained", "digits-attack", "--results", "there"], "--pretrained takes no --results, got there."),
        (["--pretrained", "digits-attack", "--figure", "tables"], "--pretrained takes no --figure, got tables."),
        (["--peers", "--figure", "tables"], "--peers takes no --figure, got tables."),
        (["--figure", "tables", "--dims", "5"], "--figure takes no --dims, got (5,)."),
        (["--pretrained", "digits-attack", "--quick"], "--pretrained takes no --quick, got True."),
    ],
)
def test_options_of_another_mode_are_refused(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"error: {message} Drop one of the two" in fail(evaluate.main, "evaluate.py", arguments, monkeypatch, capsys)


@pytest.mark.parametrize("arguments", [["--figure", "tables"], ["--pretrained", "digits-attack"], ["--peers"]])
def test_what_needs_a_checkout_says_so(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "benchmarks", None)  # as in an installed package
    said = fail(evaluate.main, "evaluate.py", arguments, monkeypatch, capsys)
    expected = f"{' '.join(arguments)} needs the folder benchmarks, which the installed package lacks."
    assert f"error: {expected} Run it in a checkout of the repository: python evaluate.py" in said


@pytest.mark.parametrize("module", ["zo_gym.agents.train", "agents.evaluate"])
def test_commands_run_as_modules_by_both_paths(module: str) -> None:
    found = subprocess.run(
        [sys.executable, "-W", "error", "-m", module, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    assert "--device" in found.stdout


def test_importing_the_commands_loads_no_benchmarks() -> None:
    code = (
        "import sys, zo_gym.agents.train, zo_gym.agents.evaluate; print(*{name.split('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    ).stdout.split()
    assert "zo_gym" in loaded
    assert "benchmarks" not in loaded


def test_from_scratch_needs_the_runs_arguments(
    whole: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(whole[0] / "policy"), "--from-scratch", "--seeds", "1"]
    assert "holds only a policy" in fail(evaluate.main, "evaluate.py", arguments, monkeypatch, capsys)


@pytest.mark.parametrize("content", ['{"format": 1}', "", "[]", '{"args": 3}'], ids=["policy", "empty", "list", "int"])
def test_resuming_a_folder_with_a_strange_config_names_the_file(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(content)
    try:
        said = fail(train.main, "train.py", ["--resume", str(tmp_path)], monkeypatch, capsys)
    except TypeError as error:
        raise AssertionError from error
    assert str(tmp_path / "config.json") in said


def test_resuming_a_run_without_a_checkpoint_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_training(tiny(tmp_path, total_queries=60))
    (folder / "checkpoint.pt").unlink()
    said = fail(train.main, "train.py", ["--resume", str(folder)], monkeypatch, capsys)
    assert f"No checkpoint at {folder / 'checkpoint.pt'}" in said


def test_resuming_a_run_of_another_version_says_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_training(tiny(tmp_path, total_queries=60))
    config = json.loads((folder / "config.json").read_text())
    config["args"]["old_name"] = config["args"].pop("budget")
    (folder / "config.json").write_text(json.dumps(config))
    said = fail(train.main, "train.py", ["--resume", str(folder)], monkeypatch, capsys)
    assert "another version: ['budget', 'old_name'] differ" in said
