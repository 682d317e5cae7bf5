"""Ask and tell: a zeroth-order run where the caller evaluates f."""

from __future__ import annotations

import inspect
from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zo_gym.base import Generators, Iterate, Known, ObjectiveError, Result, State, Step, Trace
from zo_gym.methods import Method, build, require_method
from zo_gym.oracle import Oracle
from zo_gym.peers import PEERS
from zo_gym.problems.blackbox import start_point
from zo_gym.registry import reject_unknown
from zo_gym.rng import make_generator, seed_sequence
from zo_gym.step import ask_step, begin, cost, known_here, observed, refinement, require_smoothing


class Optimizer:
    """Algorithm 1 of the paper, turned inside out.

    ::

        optimizer = Optimizer(x0, method="rand-ada")
        while optimizer.nfev < 1000:
            X = optimizer.ask()              # (m, d)
            optimizer.tell([f(x) for x in X])
        print(optimizer.result().x)

    A step takes two rounds of ask and tell: the probed points, then the point that the step moved to. The very first
    round asks for f(x0).

    Args:
        x0: Start (d,), array or tensor; dtype and device follow it, points come back in its type.
        method: A key of `zo_gym.METHODS`, or a `Method`.
        smoothing: mu > 0.
        reevaluate: f is noisy: query f(x) anew in each step (1 query more) and report the last iterate, not the best.
        seed: Of the directions; None for a fresh one.
        as_numpy: Points come back as numpy arrays (True) or tensors (False); None for the type of x0.
        known: The part of f that needs no queries, taken exactly (see `zo_gym.step.step`, "composite"); None: all of
            f is unknown. It is asked about instance 0.
        **parts: What `zo_gym.methods.build` takes besides: learning_rate, num_directions, sampler, estimator, update,
            weights, gradient.

    Attributes:
        nfev: Queries told so far.
        nit: Steps finished.

    Raises:
        TypeError, ValueError: An argument is not as described.
    """

    def __init__(
        self,
        x0: Any,
        *,
        method: str | Method = "rand-ada",
        smoothing: float = 0.01,
        reevaluate: bool = False,
        seed: int | None = None,
        as_numpy: bool | None = None,
        known: Known | None = None,
        **parts: Any,
    ) -> None:
        x = start_point(x0)
        if isinstance(method, Method):
            reject_unknown(parts, (), "Optimizer with a Method")
            self._method = method
        else:
            require_method(method, PEERS)
            if method in PEERS:
                raise ValueError(
                    f"method '{method}' runs its own loop and cannot be asked and told. Use zo_gym.minimize, or a "
                    "method in zo_gym.METHODS."
                )
            reject_unknown(parts, set(inspect.signature(build).parameters) - {"method", "dim"}, "Optimizer")
            self._method = build(method, len(x), **parts)
        self._smoothing = require_smoothing(smoothing, x.dtype)
        self._reevaluate = reevaluate
        self._known_part = None if known is None else known_here(known, x.new_zeros(1, dtype=torch.int64))
        self._as_numpy = not isinstance(x0, Tensor) if as_numpy is None else as_numpy
        entropy = seed_sequence(seed).generate_state(1, np.uint64)[0]
        self._generators: Generators = [make_generator(int(entropy >> 1), x.device)]
        cost(self._method.estimator, self._method.num_directions, len(x))  # refuses too many directions
        self.nfev = 0
        self.nit = 0
        self._num_directions = self._method.num_directions
        self._iterate: Iterate | None = None
        self._history: list[tuple[int, float, float]] = []
        self._step_done = True
        self._dialogue = self._run(x[None, :])
        self._points = next(self._dialogue)

    def _run(self, x: Tensor) -> Generator[Tensor, Tensor, None]:
        """Yield points (1, m, d), be sent values (1, m), for ever."""
        method = self._method
        fx = (yield x[:, None, :])[:, 0]
        iterate = begin(x, fx, method.update)
        self._record(iterate)
        state = method.sampler.init(x)
        while True:
            count = self._num_directions = self._count(state)
            u, state = method.sampler.sample(state, iterate.x, method.num_directions, self._generators)
            done: Step = yield from ask_step(
                iterate,
                u[:, :count],
                method.estimator,
                method.update,
                self._smoothing,
                reevaluate=self._reevaluate,
                refine=refinement(method.sampler, state),
                known=self._known_part,
            )
            self.nit += 1
            state = observed(method.sampler, state, done)
            iterate = done.iterate
            self._record(iterate)

    def _count(self, state: State) -> int:
        """How many directions the next step probes."""
        wants = self._method.sampler.wants
        return self._method.num_directions if wants is None else int(wants(state)[0])

    def _record(self, iterate: Iterate) -> None:
        self._iterate = iterate
        self._history.append((self.nfev, iterate.fx.item(), iterate.best_f.item()))
        self._step_done = True

    @property
    def step_cost(self) -> int:
        """Queries that the next step needs: 1 for the start; the same for every step unless the sampler varies it."""
        if self._iterate is None:
            return 1
        d = self._iterate.x.shape[1]
        return cost(self._method.estimator, self._num_directions, d, reevaluate=self._reevaluate)

    @property
    def started(self) -> bool:
        """Is f(x0) known?"""
        return self._iterate is not None

    @property
    def best_x(self) -> Any:
        """The iterate with the least f so far, (d,), a copy."""
        return self._export(self._known().best_x[0])

    @property
    def best_fun(self) -> float:
        """f at `best_x`."""
        return self._known().best_f.item()

    def _known(self) -> Iterate:
        if self._iterate is None:
            raise RuntimeError("Nothing is known before f(x0): ask(), evaluate, tell() first.")
        return self._iterate

    def ask(self) -> Any:
        """The points to evaluate next, (m, d), a copy. Asking twice gives the same points."""
        return self._export(self._points[0])

    def tell(self, values: Any) -> None:
        """The values (m,) at the points of the last `ask`, in order. Counts m queries.

        Raises:
            ObjectiveError: Not m finite real numbers. Nothing has changed: `tell` again.
        """
        m = self._points.shape[1]
        try:
            told = _real_tensor(values).to(self._points, copy=True)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ObjectiveError(f"tell() needs {m} real numbers, got {values!r:.80}.") from error
        if told.shape != (m,):
            raise ObjectiveError(f"tell() needs {m} values, one per asked point, got shape {tuple(told.shape)}.")
        if not bool(torch.isfinite(told).all()):
            bad = int((~torch.isfinite(told)).nonzero()[0])
            raise ObjectiveError(
                f"tell() needs finite values, got {told[bad].item()} for point {bad}. Evaluate it again.",
                self._points[0, bad].cpu().numpy(),
            )
        self._answer(told[None, :], m)

    def advance(self, oracle: Oracle) -> None:
        """Let an oracle answer until the start is known or a whole step is done.

        Raises:
            BudgetError, ObjectiveError: From the oracle; the optimizer is where it was before the failed round.
        """
        while True:
            before = int(oracle.queries[0])
            values = oracle(self._points)
            self._answer(values, int(oracle.queries[0]) - before)
            if self._step_done:
                return

    def _answer(self, values: Tensor, spent: int) -> None:
        self.nfev += spent
        self._step_done = False
        self._points = self._dialogue.send(values)

    def result(self, success: bool = True, message: str = "Asked for.") -> Result:
        """Where the run stands, as `minimize` would return it.

        Raises:
            RuntimeError: f(x0) has not been told yet.
        """
        at = self._known()
        x, fun = (at.x, at.fx) if self._reevaluate else (at.best_x, at.best_f)
        queries, values, best = (np.array(column) for column in zip(*self._history, strict=True))
        trace = Trace(queries, values, best)
        return Result(self._export(x[0]), fun.item(), self.nfev, self.nit, success, message, trace)

    def _export(self, points: Tensor) -> Any:
        return points.cpu().numpy().copy() if self._as_numpy else points.clone()


def _real_tensor(values: Any) -> Tensor:
    """Numbers in a tensor, an array or any sequence (of tensors, too) as a tensor without a graph."""
    if isinstance(values, Tensor):
        told = values.detach()
    else:
        if isinstance(values, (list, tuple)):
            values = [v.detach().cpu().numpy() if isinstance(v, Tensor) else v for v in values]
        told = torch.from_numpy(np.array(values))
    if told.is_complex():
        raise TypeError("complex numbers")
    return told
