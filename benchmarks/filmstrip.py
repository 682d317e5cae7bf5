"""One attack after another number of queries: what the policy has made of an image by then, and what ZO-SGD has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from zo_gym.agents.policies.bundle import load_policy
from zo_gym.agents.policies.policy_method import field_of
from zo_gym.agents.query_grid import direction_generators

from benchmarks.figures import save_figure
from benchmarks.solvers.classical import Setup, starts_of
from benchmarks.solvers.policies import SOLVERS, following
from benchmarks.suites.paper import Task
from benchmarks.suites.policies import policy_folder
from benchmarks.tuner import tuned_options
from zo_gym.base import Method
from zo_gym.envs.render import GREY, VERMILLION
from zo_gym.methods import build
from zo_gym.oracle import Oracle
from zo_gym.problem import Problem
from zo_gym.run import run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES = (0, 1, 2)
POLICY_MARKS, RANDOM_MARKS = (0, 10, 20, 50), (20, 200, 1000, 5000)
"""Queries after which an image is shown."""
CELL, CAPTION, HEAD = 1.05, 0.34, 0.4
"""In inches."""


def snapshots(family: Problem, method: Method, marks: Sequence[int], smoothing: float, composite: bool) -> list[Tensor]:
    """The best iterates (B, d) after so many queries, marks increasing; the start where there were none."""
    shown: list[Tensor] = []
    oracle = Oracle(family, family.size, budget=max(1, *marks))
    generators = direction_generators(tuple(range(family.size)), family.device)
    before = starts_of(family)
    for moment in run(oracle, method, before, generators, smoothing=smoothing, composite=composite):
        while len(shown) < len(marks) and int(oracle.queries.copy().max()) > marks[len(shown)]:
            shown.append(before)
        before = moment.iterate.best_x
    return shown + [before] * (len(marks) - len(shown))


def write_strip(folder: Path, task: Task, out: Path) -> Path:
    """Write strip_<problem>.png from the policy of the first repeat and ZO-SGD as tuned. Returns its path.

    Raises:
        FileNotFoundError: The policy has not been trained.
    """
    from matplotlib.figure import Figure

    family = task.family("test").subset(IMAGES)
    place = folder / task.name
    policy = load_policy(policy_folder(task, place, "slopes", 0))
    setup = Setup(task, family, tuple(range(len(IMAGES))), {}, place)
    learned = following()(field_of(policy, family.context), setup)
    delta = tuned_options("zo-sgd", SOLVERS, task, place)["delta"]
    random = build("zo-sgd", family.dim, learning_rate=delta / family.dim)
    random_marks = tuple(min(mark, task.budget) for mark in RANDOM_MARKS)
    left = snapshots(family, learned, POLICY_MARKS, task.smoothing, composite=True)
    right = snapshots(family, random, random_marks, task.smoothing, composite=False)

    columns = len(left) + len(right)
    width, height = columns * CELL + 0.5, HEAD + len(IMAGES) * (CELL + CAPTION)
    figure = Figure(figsize=(width, height))
    predict = task.attack("test").predict
    labels = task.attack("test").labels[list(IMAGES)]
    for column, (points, mark) in enumerate(zip([*left, *right], [*POLICY_MARKS, *random_marks], strict=True)):
        seen, confidence = predict(points)
        offset = column * CELL + (0.1 if column < len(left) else 0.4)
        for row in range(len(IMAGES)):
            bottom = height - HEAD - row * (CELL + CAPTION) - CELL
            axis = figure.add_axes((offset / width, bottom / height, (CELL - 0.1) / width, (CELL - 0.1) / height))
            _show(axis, points[row], family, int(seen[row]), float(confidence[row]), bool(seen[row] != labels[row]))
            if row == 0:
                axis.set_title(f"{mark:,} queries", fontsize=8)
    for words, first, last in (("pretrained policy", 0, len(left)), ("ZO-SGD, tuned", len(left), columns)):
        middle = (first + last) / 2 * CELL + (0.05 if first == 0 else 0.35)
        figure.text(middle / width, 1 - 0.08 / height, words, ha="center", va="top", fontsize=10)
    path = out / f"strip_{task.name}.png"
    save_figure(figure, path)
    return path


def _show(axis: Axes, x: Tensor, family: Problem, seen: int, confidence: float, fooled: bool) -> None:
    assert family.shape is not None
    picture: np.ndarray = x.detach().clamp(0, 1).reshape(family.shape).cpu().numpy()
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set(linewidth=0.5, color=GREY)
    colour = VERMILLION if fooled else "black"
    axis.set_xlabel(f"“{seen}”, {100 * confidence:.0f} %", fontsize=8, color=colour, labelpad=2)
