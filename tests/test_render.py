"""Pictures: their size, what they leave out, their axes, and that they keep out of pyplot's global state."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot

from zo_gym.envs.render import BARS, MAX_POINTS, Picture, ansi, close, figure, rgb_array, show


def sphere(x: np.ndarray) -> np.ndarray:
    return np.asarray((x**2).sum(axis=1))


def run(n: int, **fields: Any) -> Picture:
    """A run of n entries whose f falls from 10 by a tenth per entry."""
    fun = 10 * 0.9 ** np.arange(n)
    return replace(Picture("sphere, d = 2", 1 + 21 * np.arange(n), fun, fun), **fields)


def curve(n: int) -> Picture:
    return run(n, target=0.5, minimum=0.0)


def with_path(n: int) -> Picture:
    return run(n, path=np.array([3.0, -2.0]) * 0.95 ** np.arange(n)[:, None], objective=sphere)


def with_images(n: int) -> Picture:
    original = np.linspace(0, 1, 28 * 20).reshape(28, 20)
    return run(n, original=original, current=original + (n - 1) * 0.01 * np.cos(np.arange(20)))


def with_both(n: int) -> Picture:
    images = with_images(n)
    return replace(with_path(n), original=images.original, current=images.current)


KINDS = {"curve": (curve, 600), "path": (with_path, 1000), "images": (with_images, 1200), "both": (with_both, 1600)}


@pytest.fixture(autouse=True)
def no_pyplot_figures() -> Iterator[None]:
    """Every test here must leave pyplot as it found it: same backend, no figure."""
    backend = pyplot.get_backend()
    yield
    assert pyplot.get_fignums() == []
    assert pyplot.get_backend() == backend


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_one_kind_have_one_size(kind: str) -> None:
    make, width = KINDS[kind]
    for n in (1, 2, 70):
        frame = rgb_array(make(n))
        assert frame.shape == (400, width, 3)
        assert frame.dtype == np.uint8


@pytest.mark.parametrize("kind", KINDS)
def test_frames_change_as_the_run_proceeds_and_only_then(kind: str) -> None:
    make, _ = KINDS[kind]
    np.testing.assert_array_equal(rgb_array(make(5)), rgb_array(make(5)))
    assert not np.array_equal(rgb_array(make(5)), rgb_array(make(6)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("where", ["first", "last", "everywhere"])
def test_values_that_cannot_be_drawn_are_left_out(bad: float, where: str) -> None:
    rows = {"first": slice(0, 1), "last": slice(-1, None), "everywhere": slice(None)}[where]
    picture = with_both(6)
    broken: dict[str, Any] = {name: np.array(getattr(picture, name)) for name in ("fun", "best", "path", "current")}
    for array in broken.values():
        array[rows] = bad
    picture = replace(picture, target=bad, minimum=bad, **broken)

    assert rgb_array(picture).shape == (400, 1600, 3)
    assert "no finite value yet" in ansi(picture) or where != "everywhere"
    assert np.abs(figure(picture).axes[0].get_ylim()).max() < 1e6


def test_contours_of_an_objective_that_overflows_or_is_constant_are_left_out() -> None:
    path, bare = with_path(5), replace(with_path(5), objective=None)
    assert figure(path).axes[1].collections
    assert not np.array_equal(rgb_array(path), rgb_array(bare))
    for objective in (
        lambda x: np.exp(1000 + 1000 * x[:, 0]),
        lambda x: np.full(len(x), np.nan),
        lambda x: np.ones(len(x)),
    ):
        with np.errstate(all="raise"):  # what a strict user may have set; the picture must not trip over it
            picture = replace(path, objective=objective)
            assert not figure(picture).axes[1].collections
            np.testing.assert_array_equal(rgb_array(picture), rgb_array(bare))


def test_a_path_that_stands_still_has_a_window() -> None:
    axes = figure(run(3, path=np.zeros((3, 2)), objective=sphere)).axes[1]
    assert axes.get_xlim()[0] < 0 < axes.get_xlim()[1]


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_whole_path_lies_in_a_square_window(scale: float) -> None:
    path = scale * np.random.default_rng(0).normal(size=(40, 2)).cumsum(axis=0)
    axes = figure(run(40, path=path, objective=sphere)).axes[1]
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert left < path[:, 0].min() <= path[:, 0].max() < right
    assert low < path[:, 1].min() <= path[:, 1].max() < high
    assert right - left == pytest.approx(high - low)


@pytest.mark.parametrize(
    ("fun", "scale"),
    [
        ([10.0, 1.0, 0.1], "log"),
        ([10.0, 1.0, 0.11], "linear"),  # less than two decades
        ([10.0, 1.0, 0.0], "linear"),
        ([10.0, 1.0, -0.1], "linear"),
        ([10.0, np.nan, 0.1], "log"),
        ([np.nan, np.nan, np.nan], "linear"),
        ([1e-300, 1.0, 1e140], "log"),
    ],
)
def test_loss_axis_is_logarithmic_for_positive_values_over_two_decades(fun: list[float], scale: str) -> None:
    values = np.array(fun)
    picture = Picture("f", np.arange(3), values, values, target=-1.0)
    assert figure(picture).axes[0].get_yscale() == scale
    rgb_array(picture)


def test_target_is_drawn_unless_the_axis_cannot_show_it() -> None:
    def labels(picture: Picture) -> str:
        return " ".join(str(line.get_label()) for line in figure(picture).axes[0].lines)

    assert "target 0.5" in labels(run(5, target=0.5))
    assert "target 0.5" in labels(run(80, target=0.5))
    assert "target" not in labels(run(80, target=0.0))  # 80 entries span more than two decades
    assert "target" not in labels(run(5))


def test_difference_has_symmetric_limits() -> None:
    original = np.zeros((4, 6))
    current = original.copy()
    current[1, 2], current[0, 0] = -0.3, 0.1
    images = figure(run(2, original=original, current=current)).axes[1].images
    assert len(images) == 3
    assert images[1].get_clim() == (-0.3, 0.3)
    assert images[0].get_clim() == images[2].get_clim()


def test_long_runs_are_thinned_and_keep_their_ends() -> None:
    n = 50_000
    fun = np.linspace(9, 3, n)
    picture = Picture("long", np.arange(n), fun, fun, path=np.stack([fun, -fun], axis=1), objective=sphere)
    axes = figure(picture).axes
    for line in (axes[0].lines[0], axes[0].lines[1], axes[1].lines[0]):
        assert np.size(line.get_xdata()) <= MAX_POINTS
    drawn = np.asarray(axes[0].lines[1].get_xdata())
    assert (drawn[0], drawn[-1]) == (0, n - 1)


def test_arrays_of_the_caller_are_not_changed() -> None:
    picture = with_both(4)
    names = ("queries", "fun", "best", "path", "original", "current")
    before = {name: np.array(getattr(picture, name)) for name in names}
    rgb_array(picture)
    ansi(picture)
    for name in names:
        np.testing.assert_array_equal(getattr(picture, name), before[name])


def test_layout_that_the_user_prefers_does_not_move_the_axes() -> None:
    with pyplot.rc_context({"figure.constrained_layout.use": True}):
        preferred = rgb_array(curve(3))
    np.testing.assert_array_equal(preferred, rgb_array(curve(3)))


def test_title_is_taken_literally() -> None:
    rgb_array(replace(curve(3), title="cost in $, x_1^2 \\frac " + "w" * 200))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"queries": np.array([], dtype=int)}, "at least one entry"),
        ({"best": np.zeros(2)}, r"best must have shape \(3,\)"),
        ({"path": np.zeros((3, 5))}, r"path must have shape \(3, 2\)"),
        ({"original": np.zeros((2, 2))}, "together"),
        ({"original": np.zeros((2, 2)), "current": np.zeros((2, 3))}, "one shape"),
        ({"original": np.zeros((2, 2, 3)), "current": np.zeros((2, 2, 3))}, "one shape"),
    ],
)
def test_arrays_that_disagree_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(3, **fields)


def test_text_names_the_numbers() -> None:
    title, numbers, _ = ansi(curve(71)).split("\n")
    assert title == "sphere, d = 2"
    for part in ("queries 1,471", "f 0.006266", "best f 0.006266", "target 0.5", "minimum 0"):
        assert part in numbers
    assert "\x1b" not in ansi(curve(71))


@pytest.mark.parametrize("n", [1, 2, 59, 60, 61, 5000])
def test_sparkline_falls_with_falling_values(n: int) -> None:
    best = np.linspace(5, 1, n)
    bars, ends = ansi(Picture("f", 7 * np.arange(n), best, best)).split("\n")[-1].split("  ")
    heights = [BARS.index(bar) for bar in bars]
    assert len(bars) == min(n, 60)
    assert heights == sorted(heights, reverse=True)
    if n > 1:
        assert (heights[0], heights[-1]) == (len(BARS) - 1, 0)
        assert ends == "5 -> 1"


def test_sparkline_is_drawn_against_queries() -> None:
    best = np.array([4.0, 3.0, 2.0, 1.0])
    bars = ansi(Picture("f", np.array([0, 97, 98, 99]), best, best)).split("\n")[-1]
    assert bars.startswith(BARS[-1] * 3 + BARS[0])  # bars stand at queries 0, 33, 66 and 99


def test_text_needs_no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert ansi(curve(3))


def test_window_without_a_display_names_cause_and_remedy() -> None:
    before = pyplot.get_backend()
    pyplot.switch_backend("agg")
    try:
        with pytest.raises(RuntimeError, match=r"backend is 'agg'.*render_mode=\"rgb_array\" or render_mode=\"ansi\""):
            show(curve(3), None)
    finally:
        pyplot.switch_backend(before)


def test_windows_backend_that_fails_to_load_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise ImportError("Cannot load backend 'TkAgg'")

    monkeypatch.setattr(pyplot, "get_backend", lambda: "tkagg")
    monkeypatch.setattr(pyplot, "figure", fail)
    with pytest.raises(RuntimeError, match=r"TkAgg.*render_mode=\"rgb_array\""):
        show(curve(3))
    monkeypatch.undo()


@pytest.fixture
def backend_with_windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A matplotlib backend whose windows exist only in the list of calls that it yields."""
    from matplotlib.backend_bases import FigureManagerBase
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    calls: list[str] = []

    class Manager(FigureManagerBase):
        def show(self) -> None:
            calls.append("show")

        def destroy(self) -> None:
            calls.append("destroy")

    class Canvas(FigureCanvasAgg):
        manager_class = Manager

        def flush_events(self) -> None:
            calls.append("flush")

    module = ModuleType("windows_for_tests")
    module.FigureCanvas = Canvas  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    before = pyplot.get_backend()
    pyplot.switch_backend(f"module://{module.__name__}")
    yield calls
    pyplot.switch_backend(before)


def test_window_is_opened_once_then_brought_up_to_date(backend_with_windows: list[str]) -> None:
    def pixels(window: Any) -> np.ndarray:
        return np.array(window.canvas.buffer_rgba())[..., :3]

    window = show(curve(3))
    np.testing.assert_array_equal(pixels(window), rgb_array(curve(3)))
    assert show(curve(9), window) is window
    np.testing.assert_array_equal(pixels(window), rgb_array(curve(9)))
    assert len(pyplot.get_fignums()) == 1
    close(window)
    assert backend_with_windows == ["show", "flush", "flush", "destroy"]


def test_window_that_the_user_closed_stays_closed(backend_with_windows: list[str]) -> None:
    window = show(curve(3))
    pyplot.close(window)
    assert show(curve(4), window) is window
    assert pyplot.get_fignums() == []
    assert backend_with_windows.count("show") == 1
    close(window)
    close(None)
