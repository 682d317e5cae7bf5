"""Draw an attack after several numbers of queries: how a policy has changed an image by then, and how ZO-SGD has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from benchmarks.figures.pictures import Sizes, save_figure, show_picture
from benchmarks.solvers import zeroth_order
from benchmarks.solvers.base import Setup, starts_of
from benchmarks.solvers.guesses import following
from benchmarks.suites.policies import policy_folder
from benchmarks.suites.task import Task
from benchmarks.tuner import tuned_options
from zo_gym.agents.curves import direction_generators
from zo_gym.agents.policies.bundle import load_policy
from zo_gym.agents.policies.methods import gradient_guess
from zo_gym.base import Method
from zo_gym.envs.render import VERMILLION
from zo_gym.methods import build
from zo_gym.oracle import Oracle
from zo_gym.problem import Problem
from zo_gym.run import run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STRIP_IMAGES = (0, 1, 2)
"""Numbers of the images that are shown."""
POLICY_MARKS, RANDOM_MARKS = (0, 10, 20, 50), (20, 200, 1000, 5000)
"""Queries after which an image is shown, with the policy and with ZO-SGD."""
STRIP = Sizes(cell=0.95, gap=0.1, caption=0.34, head=0.4, margin=0.1, between=0.3)


def snapshots(
    problem: Problem, method: Method, marks: Sequence[int], *, smoothing: float, composite: bool
) -> list[Tensor]:
    """Return the best iterates (B, d) after so many queries, marks increasing; the start where there were none."""
    shown: list[Tensor] = []
    oracle = Oracle(problem, problem.size, budget=max(1, *marks))
    generators = direction_generators(tuple(range(problem.size)), problem.device)
    before = starts_of(problem)
    for moment in run(oracle, method, before, generators, smoothing=smoothing, composite=composite):
        while len(shown) < len(marks) and int(oracle.queries.copy().max()) > marks[len(shown)]:
            shown.append(before)
        before = moment.iterate.best_x
    return shown + [before] * (len(marks) - len(shown))


def write_filmstrip(folder: Path, task: Task, out: Path) -> Path:
    """Write filmstrip_<problem>.png from the policy of the first repeat and ZO-SGD as tuned, and return its path.

    Raises:
        FileNotFoundError: The policy has not been trained.
    """
    problem = task.problem("test").subset(STRIP_IMAGES)
    place = folder / task.name
    policy = load_policy(policy_folder(task, place, "slopes", 0))
    setup = Setup(task, problem, tuple(range(len(STRIP_IMAGES))), {}, place)
    learned = following()(gradient_guess(policy, problem.context), setup)
    delta = tuned_options("zo-sgd", zeroth_order.SOLVERS, task, place)["delta"]
    random = build("zo-sgd", problem.dim, learning_rate=delta / problem.dim)
    random_marks = tuple(min(mark, task.budget) for mark in RANDOM_MARKS)
    left = snapshots(problem, learned, POLICY_MARKS, smoothing=task.smoothing, composite=True)
    right = snapshots(problem, random, random_marks, smoothing=task.smoothing, composite=False)
    columns = list(zip([*POLICY_MARKS, *random_marks], [*left, *right], strict=True))
    figure = _draw_strip(task, problem.shape, columns, len(left))
    path = out / f"filmstrip_{task.name}.png"
    save_figure(figure, path)
    return path


def _draw_strip(task: Task, shape: tuple[int, ...] | None, columns: list[tuple[int, Tensor]], of_policy: int) -> Figure:
    """Draw one column for each (queries, iterates (B, d)); the first `of_policy` of them are the policy's."""
    from matplotlib.figure import Figure

    assert shape is not None
    attack = task.attack("test")
    pitch = STRIP.cell + STRIP.gap
    width = len(columns) * pitch + STRIP.between + 2 * STRIP.margin
    height = STRIP.head + len(STRIP_IMAGES) * (pitch + STRIP.caption)
    figure = Figure(figsize=(width, height))
    for column, (queries, points) in enumerate(columns):
        seen, confidence = attack.predict(points)
        offset = column * pitch + STRIP.margin + (0.0 if column < of_policy else STRIP.between)
        for row, image in enumerate(STRIP_IMAGES):
            bottom = height - STRIP.head - row * (pitch + STRIP.caption) - pitch
            axis = figure.add_axes((offset / width, bottom / height, STRIP.cell / width, STRIP.cell / height))
            show_picture(axis, points[row].detach().clamp(0, 1).reshape(shape).cpu().numpy())
            _answer(axis, int(seen[row]), float(confidence[row]), bool(seen[row] != attack.labels[image]))
            if row == 0:
                axis.set_title(f"{queries:,} queries", fontsize=8)
    for words, first, last in (("pretrained policy", 0, of_policy), ("ZO-SGD, tuned", of_policy, len(columns))):
        left = STRIP.margin + (0.0 if first == 0 else STRIP.between)
        middle = left + (first + last) / 2 * pitch - STRIP.gap / 2
        figure.text(middle / width, 1 - 0.08 / height, words, ha="center", va="top", fontsize=10)
    return figure


def _answer(axis: Axes, seen: int, confidence: float, fooled: bool) -> None:
    """Write the classifier's answer below an image, in red where it is wrong."""
    colour = VERMILLION if fooled else "black"
    axis.set_xlabel(f"“{seen}”, {100 * confidence:.0f} %", fontsize=8, color=colour, labelpad=2)
