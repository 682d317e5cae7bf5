"""Ask and tell: a zeroth-order run where the caller evaluates f."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from zo_gym.auto import AUTO, PORTFOLIO, choose
from zo_gym.base import Iterate, Method
from zo_gym.baselines import BASELINES
from zo_gym.checks import check_flag, check_smoothing
from zo_gym.composite.box import box_term
from zo_gym.composite.term import CompositeTerm
from zo_gym.errors import ObjectiveError
from zo_gym.methods import Parts, build, require_method
from zo_gym.portfolio.conversation import ask_portfolio_run
from zo_gym.registry import refuse, reject_unknown
from zo_gym.result import Result, Status
from zo_gym.rng import direction_generator, seed_sequence
from zo_gym.run import Question, ask_run
from zo_gym.run_log import History
from zo_gym.space import space_of
from zo_gym.step import cost
from zo_gym.structure import structure_of, to_tensor

UNLIMITED = 2**62
"""The budget that the rule behind "auto" is told, since none is known."""


class Optimizer:
    """Algorithm 1 of the paper as ask and tell.

    ::

        optimizer = Optimizer(x0, method="rand-ada")
        while optimizer.nfev < 1000:
            X = optimizer.ask()              # (m, d)
            optimizer.tell([f(x) for x in X])
        print(optimizer.result().x)

    The first round asks for f(x0). A step then takes up to two rounds: the probed points, and the x' it proposes.

    Args:
        x0: Start, an array or tensor of any shape, or a list of numbers; points come back in its shape, type and dtype.
        method: "auto" and "portfolio" (see `zo_gym.minimize`), a key of `zo_gym.METHODS`, or a `Method`.
        bounds: See `zo_gym.minimize`, as for the next.
        log_scaled: See there.
        smoothing: mu > 0, in units of x; None for 0.01.
        reevaluate: f is noisy: query f(x) again in each step (1 query more) and report the last iterate, not the best.
        seed: Of the directions; None for a fresh one.
        as_numpy: Points come back as numpy arrays (True) or tensors (False); None for the type of x0.
        composite: The part of f that needs no queries, of instance 0, taken exactly. None: all of f is a black box.
        **parts: What `zo_gym.methods.build` takes besides: learning_rate, num_directions, sampler, estimator,
            gradient_model, update, weights, gradient, context, sharpness.

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
        method: str | Method = AUTO,
        bounds: Any = None,
        log_scaled: Any = False,
        smoothing: float | None = None,
        reevaluate: bool = False,
        seed: int | None = None,
        as_numpy: bool | None = None,
        composite: CompositeTerm | None = None,
        **parts: Any,
    ) -> None:
        form = structure_of(x0)
        if form.stack is None:
            raise TypeError(f"x0 must be an array or a tensor, got {x0!r:.80}. Flatten it into one.")
        space = space_of(form.start, bounds, log_scaled, form.coarsest)
        if space is not None and composite is not None:
            raise ValueError("composite= brings bounds of its own, got bounds= or log_scaled=, too. Drop one.")
        x = form.start if space is None else space.from_user(form.start)
        x = x if composite is None else x.to(form.coarsest)  # the term's own
        self.nfev = 0
        self._reevaluate = check_flag("reevaluate", reevaluate)
        self._form, self._space, self._as_numpy = form, space, as_numpy
        self._iterate: Iterate | None = None
        self._history = History()
        _, _, direction_seed = seed_sequence(seed).generate_state(3).tolist()  # as `minimize` draws its directions
        seeds = np.random.SeedSequence(direction_seed)
        if method == AUTO:
            asked = {**parts, "smoothing": smoothing, "composite": composite, "reevaluate": reevaluate or None}
            method = choose(len(x), UNLIMITED, asked).method
        if method == PORTFOLIO:
            own = {"smoothing": smoothing, "composite": composite, "reevaluate": reevaluate or None}
            refuse(parts | own, f"method '{PORTFOLIO}' is complete")
            box = None if space is None else space.box
            self._conversation = ask_portfolio_run(x, seeds, box=box, coarsest=form.coarsest)
        else:
            mu = check_smoothing(smoothing, form.coarsest, len(x))
            chosen = _method_of(method, len(x), parts, composite=composite, smoothing=mu)
            cost(chosen, chosen.num_directions, len(x))  # refuses too many directions
            term = None if composite is None else composite.for_rows(x.new_zeros(1, dtype=torch.int64))
            if space is not None:
                term = box_term(space.box)
            self._conversation = ask_run(
                chosen,
                x[None, :],
                [direction_generator(seeds, x.device)],
                mu,
                reevaluate=self._reevaluate,
                term=None if term is None else lambda rows: term,
            )
        first = next(self._conversation)
        assert isinstance(first, Question)
        self._points = first.points

    @property
    def nit(self) -> int:
        """Return the number of finished steps."""
        return max(0, self._history.nit)

    @property
    def best_x(self) -> Any:
        """Return the iterate with the least f so far, (d,), a copy."""
        return self._export(self._reached().best_x)[0]

    @property
    def best_fun(self) -> float:
        """Return f at `best_x`."""
        return self._reached().best_f.item()

    def _reached(self) -> Iterate:
        if self._iterate is None:
            raise RuntimeError("Nothing is known before f(x0): ask(), evaluate, tell() first.")
        return self._iterate

    def ask(self) -> Any:
        """Return the points to evaluate next, (m, d), a copy. Asking twice returns the same points."""
        return self._export(self._points[0])

    def tell(self, values: Any) -> None:
        """Take the values (m,) at the points of the last `ask`, in order. Counts m queries.

        Other than m finite real numbers raise ObjectiveError. Then nothing has changed: `tell` again.
        """
        m = self._points.shape[1]
        try:
            told = _real_tensor(values).to(self._points, copy=True)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise ObjectiveError(f"tell() needs {m} real numbers, got {values!r:.80}.") from error
        if told.shape != (m,):
            raise ObjectiveError(f"tell() needs {m} values, one per asked point, got shape {tuple(told.shape)}.")
        if not bool(torch.isfinite(told).all()):
            bad = int((~torch.isfinite(told)).nonzero()[0])
            raise ObjectiveError(
                f"tell() needs finite values, got {told[bad].item()} for point {bad}. Evaluate it again.",
                self._points[0, bad].cpu().numpy(),
            )
        self.nfev += m
        item = self._conversation.send(told[None, :])
        while not isinstance(item, Question):
            self._iterate = item.iterate
            self._history.add(self.nfev, item.iterate.fx.item(), item.iterate.best_f.item())
            item = next(self._conversation)
        self._points = item.points

    def result(self, success: bool = True, message: str = "Asked for.") -> Result:
        """Return the run so far as `minimize` would; raise RuntimeError before f(x0) has been told."""
        at = self._reached()
        x, fun = (at.x, at.fx) if self._reevaluate else (at.best_x, at.best_f)
        trace = self._history.trace()
        status = int(Status.CALLBACK)
        return Result(self._export(x)[0], fun.item(), self.nfev, self.nit, success, status, message, trace)

    def _export(self, points: Tensor) -> Any:
        """Turn points (m, d) into an array or tensor (m, *shape of x0)."""
        assert self._form.stack is not None
        shown = self._form.stack(points if self._space is None else self._space.to_user(points))
        if self._as_numpy is None or self._as_numpy != isinstance(shown, Tensor):
            return shown
        return shown.cpu().numpy() if self._as_numpy else torch.from_numpy(shown)


def _method_of(method: str | Method, dim: int, parts: dict[str, Any], **offered: Any) -> Method:
    """Build the named method from its parts; a `Method` is complete."""
    if isinstance(method, Method):
        reject_unknown(parts, (), "Optimizer with a Method")
        return method
    require_method(method, BASELINES)
    if method in BASELINES:
        raise ValueError(
            f"method '{method}' runs its own loop and cannot be asked and told. Use zo_gym.minimize, or a method in "
            "zo_gym.METHODS."
        )
    reject_unknown(parts, Parts.__dataclass_fields__, "Optimizer")
    return build(method, dim, **parts, **offered)


def _real_tensor(values: Any) -> Tensor:
    """Turn numbers in a tensor, an array or any sequence (of tensors, too) into a tensor without a graph."""
    if isinstance(values, Tensor):
        told = values.detach()
    else:
        if isinstance(values, (list, tuple)):
            values = [v.detach().cpu().numpy() if isinstance(v, Tensor) else v for v in values]
        told = to_tensor(np.array(values))
    if told.is_complex():
        raise TypeError("complex numbers")
    return told
