"""The paper's figures and the gallery from made-up results: what is on the axes, not how many pixels it takes."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from benchmarks.figures.filmstrip import snapshots
from benchmarks.figures.gallery import draw_gallery, write_gallery
from benchmarks.figures.paper_figures import draw_figure, write_figure
from benchmarks.figures.style import PAPER, line_of, loss_limits
from benchmarks.results import GROUPS
from benchmarks.solvers.base import starts_of
from benchmarks.stored_runs import Record, save_record
from benchmarks.suites.task import Task
from zo_gym.agents.curves import direction_generators, grid_of
from zo_gym.methods import build
from zo_gym.oracle import Oracle
from zo_gym.run import run

GRID = grid_of(400)  # 1, 3, 5, ..., 400: two queries apart
METHODS = {
    "zo-sgd": ("ZO-SGD", "paper"),
    "guided-es": ("Guided ES", "paper"),
    "zo-lstm": ("ZO-LSTM", "paper"),
    "zo-rl": ("ZO-RL", "paper"),
    "zo-rl-lstm": ("ZO-RL-LSTM", "paper"),
    "rand-ada": ("random direction, adaptive step", "control"),
    "cma-es": ("CMA-ES", "peer"),
    "true-gradient": ("true gradient", "reference"),
}
DRAWN = [label for label, group in METHODS.values() if group != "peer"]


def decay(start: float, end: float, rate: float) -> np.ndarray:
    """A falling curve on GRID."""
    curve: np.ndarray = end + (start - end) * np.exp(-(GRID - 1) / rate)
    return curve


def store(folder: Path, problem: str, method: str, seed: int, best: np.ndarray, **options: Any) -> None:
    label, group = METHODS[method]
    meta = {"label": label, "group": group, "order": list(METHODS).index(method)} | options.pop("meta", {})
    spent = np.full(len(best), 400)
    cosine, extras = options.pop("cosine", None), options.pop("extras", {})
    save_record(folder, Record(problem, method, seed, GRID, best, cosine, spent, extras, meta))


def classification(folder: Path, problem: str, seeds: int = 3, dim: int = 13) -> None:
    """Every method, with a cosine of .5 except for "cma-es", which has none."""
    for number, method in enumerate(METHODS):
        for seed in range(seeds):
            best = decay(2.0, 1.0 + 0.01 * seed, 20.0 + 10 * number)[None]
            cosine = np.full((1, len(GRID)), 0.5)
            cosine[0, 0] = np.nan
            meta = {"dim": dim}
            known = None if method == "cma-es" else cosine
            store(folder, problem, method, seed, best, cosine=known, meta=meta)


def attack(folder: Path, problem: str = "mnist_attack", repeats: int = 2, images: int = 4, side: int = 4) -> None:
    """Image i starts at 8 and ends at i; success after 10 + i queries, never for image 1."""
    numbers = np.arange(images)
    original = np.tile(np.linspace(0, 1, side * side), (images, 1))
    for number, method in enumerate(METHODS):
        change = np.zeros((images, side * side))
        change[:, 3] = 0.1 * (1 + number)
        for seed in range(repeats):
            best = np.stack([decay(8.0, i + seed, 30.0 + 10 * number) for i in numbers])
            predicted = np.where(numbers == 1, numbers, numbers + 5)
            extras = {
                "success_at": np.where(numbers == 1, -1, 1010 + numbers),
                "distortion": np.abs(change).sum(1),
                "final_x": (original + change).astype(np.float32),
                "original": original.astype(np.float32),
                "label": numbers,
                "predicted": predicted,
                "confidence_before": np.full(images, 0.9876),
                "confidence_after": np.full(images, 0.512),
            }
            store(folder, problem, method, seed, best, extras=extras)


def labels_of(axis: Axes) -> list[str]:
    return [str(line.get_label()) for line in axis.get_lines()]


def line_named(axis: Axes, label: str) -> np.ndarray:
    (line,) = [line for line in axis.get_lines() if line.get_label() == label]
    return np.asarray(line.get_ydata(), dtype=np.float64)


def test_figure_5_has_a_panel_per_data_set_and_a_line_per_method(tmp_path: Path) -> None:
    for problem, dim in [("heart_scale", 13), ("a9a", 123), ("german.numer_scale", 24)]:
        classification(tmp_path, problem, dim=dim)
    figure = draw_figure("5", tmp_path)
    titles = ["(a) a9a\nd = 123, 3 runs", "(b) german\nd = 24, 3 runs", "(c) heart\nd = 13, 3 runs"]
    assert [axis.get_title() for axis in figure.axes] == titles
    for axis in figure.axes:
        assert labels_of(axis) == DRAWN  # the further methods are in the tables
        assert axis.get_xlabel() == "Query number"
        assert axis.get_xlim() == (0, 400)
    assert [axis.get_ylabel() for axis in figure.axes] == ["Loss", "", ""]


def test_a_line_is_the_mean_of_the_runs_and_its_band_one_sample_deviation(tmp_path: Path) -> None:
    classification(tmp_path, "heart_scale")
    (axis,) = draw_figure("5", tmp_path, ["heart_scale"], ["zo-sgd"]).axes
    assert line_named(axis, "ZO-SGD")[-1] == pytest.approx(1.01 + 0.99 * np.exp(-399 / 20), rel=1e-12)
    (band,) = axis.collections
    (path,) = band.get_paths()
    last = path.vertices[path.vertices[:, 0] == 400][:, 1]
    # Ends of 1, 1.01 and 1.02: a sample deviation of .01. The rest of the way to them is 1e-9 by then.
    assert (last.min(), last.max()) == pytest.approx((1.0, 1.02), abs=1e-7)


def test_figure_4_has_three_images_and_the_mean_of_all(tmp_path: Path) -> None:
    attack(tmp_path)
    figure = draw_figure("4", tmp_path)
    assert [axis.get_title().splitlines()[0] for axis in figure.axes] == [
        "(a) MNIST test 1",
        "(b) MNIST test 2",
        "(c) MNIST test 3",
        "(d) MNIST, mean of 4 images",
    ]
    facts = [axis.get_title().splitlines()[1] for axis in figure.axes]
    assert facts == ["d = 16, 2 runs"] * 3 + ["d = 16, 8 runs"]  # every image twice
    ends = [line_named(axis, "ZO-SGD")[-1] for axis in figure.axes]
    # Image i ends at i and i + 1 in the two repeats; exp(-399 / 30) = 1.7e-6 of at most 8 is left.
    assert ends == pytest.approx([0.5, 1.5, 2.5, 2.0], abs=2e-5)


def test_an_attack_on_fewer_images_has_fewer_panels(tmp_path: Path) -> None:
    attack(tmp_path, images=2)
    assert len(draw_figure("4", tmp_path).axes) == 3


def test_two_attacks_fill_a_line_each(tmp_path: Path) -> None:
    attack(tmp_path)
    attack(tmp_path, "digits_attack", images=2)
    figure = draw_figure("4", tmp_path, ["mnist_attack", "digits_attack"])
    assert len(figure.axes) == 7
    heights = [round(axis.get_subplotspec().rowspan.start) for axis in figure.axes]
    assert heights == [0, 0, 0, 0, 1, 1, 1]


def test_figure_6_is_a_running_mean_of_what_was_measured(tmp_path: Path) -> None:
    cosine = np.zeros((1, len(GRID)))
    cosine[0, 100] = 1.0  # spread over 20 points
    cosine[0, 0] = np.nan
    store(tmp_path, "heart_scale", "zo-sgd", 0, decay(2, 1, 20)[None], cosine=cosine)
    store(tmp_path, "heart_scale", "zo-rl", 0, decay(2, 1, 20)[None])
    figure = draw_figure("6", tmp_path)
    (axis,) = figure.axes
    assert labels_of(axis) == ["ZO-SGD"]
    values = line_named(axis, "ZO-SGD")
    assert np.count_nonzero(values > 0) == 20
    np.testing.assert_allclose(values[values > 0], 0.05, rtol=1e-6)
    assert axis.get_ylim() == (0.0, 1.03)
    assert axis.get_ylabel() == "Cosine similarity"
    (legend,) = figure.legends
    assert "running mean over 40 queries" in legend.get_title().get_text()  # 20 points, 2 queries apart


def test_a_negative_cosine_is_not_cut_off(tmp_path: Path) -> None:
    store(tmp_path, "heart_scale", "zo-sgd", 0, decay(2, 1, 20)[None], cosine=np.full((1, len(GRID)), -0.5))
    assert draw_figure("6", tmp_path).axes[0].get_ylim()[0] < -0.5


def test_the_legend_is_read_line_by_line(tmp_path: Path) -> None:
    for problem in ("a9a", "german.numer_scale", "heart_scale"):
        classification(tmp_path, problem)
    (legend,) = draw_figure("5", tmp_path).legends
    columns = 4 if legend._ncols == 4 else 5
    assert columns == legend._ncols
    shown = [text.get_text() for text in legend.get_texts()]
    heights = [len(DRAWN[first::columns]) for first in range(columns)]  # matplotlib fills columns from the top
    starts = np.cumsum([0, *heights])
    lines = [shown[starts[c] + line] for line in range(2) for c in range(columns) if line < heights[c]]
    assert lines == DRAWN


def test_a_label_loses_details_that_differ_between_panels(tmp_path: Path) -> None:
    for delta, problem in enumerate(("german.numer_scale", "heart_scale")):
        meta = {"label": f"ZO-SGD (q=20, delta={delta})"}
        store(tmp_path, problem, "zo-sgd", 0, decay(2, 1, 20)[None], meta=meta)
        store(tmp_path, problem, "zo-lstm", 0, decay(2, 1, 20)[None], meta={"label": "ZO-LSTM (q=20)"})
    (legend,) = draw_figure("5", tmp_path, ["german.numer_scale", "heart_scale"]).legends
    assert [text.get_text() for text in legend.get_texts()] == ["ZO-SGD", "ZO-LSTM (q=20)"]


def boxes(figure: Figure) -> tuple[list[Any], Any]:
    """What each pair of axes with its labels and title covers, and the legend, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    (legend,) = figure.legends
    return [axis.get_tightbbox(renderer) for axis in figure.axes], legend.get_window_extent(renderer)


@pytest.mark.parametrize("name", ["4", "5", "6"])
@pytest.mark.parametrize("problems", [1, 2, 3])
def test_nothing_overlaps_or_leaves_the_page(tmp_path: Path, name: str, problems: int) -> None:
    chosen = ["a9a", "german.numer_scale", "heart_scale"][:problems]
    if name == "4":
        attack(tmp_path)
    for problem in chosen:
        classification(tmp_path, problem)
    figure = draw_figure(name, tmp_path, None if name == "4" else chosen)
    panels, legend = boxes(figure)
    for one, other in combinations([*panels, legend], 2):
        assert not one.overlaps(other)
    page = figure.bbox
    for box in (*panels, legend):
        assert box.x0 >= page.x0
        assert box.y0 >= page.y0
        assert box.x1 <= page.x1
        assert box.y1 <= page.y1


def test_the_papers_methods_are_bold_and_the_others_thin_and_grey_or_dotted() -> None:
    looks = {method: line_of(method, group, 0) for method, (_, group) in METHODS.items()}
    bold = [look for method, look in looks.items() if method in PAPER]
    assert len({look.colour for look in bold}) == len({look.dashes for look in bold}) == 5
    assert min(look.width for look in bold) > 1.5 * max(looks[m].width for m in ("rand-ada", "true-gradient"))
    red, green, blue = (int(looks["rand-ada"].colour[i : i + 2], 16) for i in (1, 3, 5))
    assert red == green == blue
    assert looks["true-gradient"].dashes != "-"


def test_methods_of_one_group_can_be_told_apart(tmp_path: Path) -> None:
    for group in GROUPS:
        looks = [line_of(f"other-{index}", group, index) for index in range(2 if group == "reference" else 6)]
        assert group == "paper" or len({(look.colour, look.dashes) for look in looks}) == len(looks)


def test_a_method_looks_the_same_in_every_panel(tmp_path: Path) -> None:
    for problem in ("a9a", "heart_scale"):
        classification(tmp_path, problem)
    first, second = draw_figure("5", tmp_path, ["a9a", "heart_scale"]).axes
    for one, other in zip(first.get_lines(), second.get_lines(), strict=True):
        assert (one.get_color(), one.get_linestyle()) == (other.get_color(), other.get_linestyle())
    colours = {line.get_label(): to_hex(line.get_color()) for line in first.get_lines()}
    assert colours["ZO-SGD"] == PAPER["zo-sgd"][0].lower()


@pytest.mark.parametrize(
    "failing",
    [np.full(len(GRID), 2.0), np.full(len(GRID), 1e12), decay(1e12, 1e6, 40), np.full(len(GRID), np.inf)],
    ids=["stuck", "diverged", "far away", "overflowed"],
)
def test_one_failing_method_does_not_flatten_the_others(tmp_path: Path, failing: np.ndarray) -> None:
    good = [decay(2.0, 1.0 + 0.01 * i, 30.0) for i in range(4)]
    zero = [np.zeros(len(GRID))] * 5
    bottom, top = loss_limits([*good, failing], zero)
    assert top == pytest.approx(loss_limits(good, zero[:4])[1], rel=1e-12)
    assert bottom < 1.0
    assert max(curve[20] for curve in good) < top < 2.0  # after a tenth of the budget all are on the axis
    assert (top - bottom) < 25 * 0.03  # what sets the four apart is a 25th of the axis, or more


def test_a_method_off_the_axis_is_named_on_it(tmp_path: Path) -> None:
    classification(tmp_path, "heart_scale")
    (axis,) = draw_figure("5", tmp_path, ["heart_scale"]).axes
    assert not axis.texts
    store(tmp_path, "heart_scale", "zo-rl", 0, np.full((1, len(GRID)), 1e9))
    (axis,) = draw_figure("5", tmp_path, ["heart_scale"]).axes
    (note,) = axis.texts
    assert note.get_text() == "above this axis:\nZO-RL"


def test_a_slow_baseline_stays_on_the_axis() -> None:
    """Five methods that are there at once must not push ZO-SGD, which takes the whole budget, off the figure."""
    fast = [decay(8.0, 0.8 + 0.1 * i, 10.0) for i in range(5)]
    slow = decay(8.0, 0.8, 250.0)
    bottom, top = loss_limits([*fast, slow], [np.zeros(len(GRID))] * 6)
    assert bottom < slow[-1] < slow[len(GRID) // 10] < top


def test_curves_of_one_point_and_constant_ones_have_an_axis() -> None:
    for means in ([np.array([3.0])], [np.full(9, 3.0)] * 2, [np.zeros(9)], [np.full(9, np.inf)]):
        bottom, top = loss_limits(means, [np.full(len(means[0]), np.nan)] * len(means))
        assert np.isfinite([bottom, top]).all()
        assert bottom < top


def test_a_single_run_is_drawn_without_a_band(tmp_path: Path) -> None:
    classification(tmp_path, "heart_scale", seeds=1)
    figure = draw_figure("5", tmp_path, ["heart_scale"])
    assert figure.axes[0].get_title() == "heart\nd = 13, 1 run"
    assert "deviation" not in figure.legends[0].get_title().get_text()
    assert write_figure("5", tmp_path, tmp_path / "out")[0].stat().st_size > 0


def test_methods_with_fewer_runs_are_counted_in_the_title(tmp_path: Path) -> None:
    classification(tmp_path, "heart_scale")
    (tmp_path / "heart_scale" / "zo-rl" / "2.npz").unlink()
    assert draw_figure("5", tmp_path, ["heart_scale"]).axes[0].get_title().endswith("2 to 3 runs")


def test_what_is_missing_is_said_and_the_rest_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classification(tmp_path, "heart_scale")
    assert len(draw_figure("5", tmp_path).axes) == 1
    said = capsys.readouterr().out
    assert said.startswith("Figure 5 shows heart_scale: no results for a9a, german.numer_scale in ")
    assert len(said.splitlines()) == 1


def test_the_quick_run_stands_in_for_the_papers_attack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attack(tmp_path, "digits_attack")
    figure = draw_figure("4", tmp_path)
    assert figure.axes[0].get_title().startswith("(a) digits test 1\n")
    assert "no results for mnist_attack" in capsys.readouterr().out
    attack(tmp_path, "mnist_attack")
    assert draw_figure("4", tmp_path).axes[0].get_title().startswith("(a) MNIST test 1\n")


@pytest.mark.parametrize("name", ["4", "5", "6"])
def test_no_results_say_what_makes_them(tmp_path: Path, name: str) -> None:
    (tmp_path / "mnist_attack" / "zo-sgd").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="Run `make paper` first"):
        draw_figure(name, tmp_path)
    with pytest.raises(FileNotFoundError, match="Run `make paper` first"):
        write_figure(name, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_figure_6_without_a_measured_cosine_says_so(tmp_path: Path) -> None:
    store(tmp_path, "heart_scale", "zo-sgd", 0, decay(2, 1, 20)[None])
    with pytest.raises(FileNotFoundError, match="nothing for figure 6"):
        draw_figure("6", tmp_path)


def test_a_method_that_was_not_run_cannot_be_asked_for(tmp_path: Path) -> None:
    classification(tmp_path, "heart_scale")
    with pytest.raises(FileNotFoundError, match="No results of zo-rll for 'heart_scale'"):
        draw_figure("5", tmp_path, ["heart_scale"], ["zo-rll"])


def test_an_unknown_figure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Unknown figure '7'"):
        draw_figure("7", tmp_path)


@pytest.mark.parametrize("name", ["4", "6"])
def test_a_figure_is_written_as_png_pdf_and_csv(tmp_path: Path, name: str) -> None:
    folder, out = tmp_path / "results", tmp_path / "out"
    attack(folder)
    classification(folder, "heart_scale")
    png, pdf, table = write_figure(name, folder, out)
    assert sorted(out.iterdir()) == sorted([png, pdf, table])
    assert [path.name for path in (png, pdf, table)] == [f"figure{name}.{end}" for end in ("png", "pdf", "csv")]
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes().startswith(b"%PDF")
    again = write_figure(name, folder, tmp_path / "again")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in (png, pdf, table)]


def test_the_csv_of_a_figure_holds_its_curves(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    attack(folder)
    lines = list(csv.DictReader(write_figure("4", folder, tmp_path / "out")[2].read_text().splitlines()))
    assert len(lines) == 4 * len(DRAWN) * len(GRID)
    assert {line["part"] for line in lines} == {"image 1", "image 2", "image 3", "all images"}
    chosen = [line for line in lines if (line["part"], line["method"]) == ("all images", "zo-sgd")]
    assert [int(line["queries"]) for line in chosen] == GRID.tolist()
    drawn = line_named(draw_figure("4", folder).axes[3], "ZO-SGD")
    assert [float(line["mean"]) for line in chosen] == drawn.tolist()
    # Images 0 to 3 end at 0 to 3 and at 1 to 4: the squares of the distances from 2 add up to 12.
    assert float(chosen[-1]["std"]) == pytest.approx(np.sqrt(12 / 7), abs=1e-4)
    assert {line["n"] for line in chosen} == {"8"}
    assert float(chosen[0]["std"]) == 0.0  # all start at 8


def test_a_single_run_has_an_empty_deviation_in_the_csv(tmp_path: Path) -> None:
    classification(tmp_path, "heart_scale", seeds=1)
    lines = list(csv.DictReader(write_figure("5", tmp_path, tmp_path / "out")[2].read_text().splitlines()))
    assert {(line["std"], line["n"]) for line in lines} == {("", "1")}


def test_snapshots_are_the_best_points_within_so_many_queries() -> None:
    """Those of a run that had no more than so many; before the first step it is the start."""
    problem = Task("quadratic", "classification", {"test": 2}, budget=100).problem("test")
    method = build("zo-sgd", problem.dim, learning_rate=0.01)
    marks = (0, 1, 21, 22, 63, 64)  # a start costs 1 query, a step 21
    shown = snapshots(problem, method, marks, smoothing=0.01, composite=False)
    for mark, points in zip(marks, shown, strict=True):
        oracle = Oracle(problem, 2, budget=max(1, mark))
        generators = direction_generators((0, 1), problem.device)
        *_, last = run(oracle, method, starts_of(problem), generators, smoothing=0.01)
        torch.testing.assert_close(points, last.iterate.best_x, rtol=0, atol=0)
    assert torch.equal(shown[2], shown[0])
    assert not torch.equal(shown[3], shown[0])


def words_of(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.texts]


def test_the_gallery_shows_image_plus_perturbation_is_adversarial_image(tmp_path: Path) -> None:
    attack(tmp_path)
    figure = draw_gallery(tmp_path, "mnist_attack", ["zo-sgd", "zo-rl"], images=[0, 2])
    *axes, bar = figure.axes
    assert len(axes) == 2 * 2 * 3
    pictures = [np.asarray(axis.images[0].get_array()) for axis in axes]
    for original, change, result in zip(pictures[::3], pictures[1::3], pictures[2::3], strict=True):
        assert original.shape == change.shape == result.shape == (4, 4)
        np.testing.assert_allclose(original + change, result, atol=1e-6)  # stored in float32
    # Of the fourth pixel, which is the first line's last: .1 for the first method, .4 for the fourth.
    assert [change[0, 3] for change in pictures[1::3]] == pytest.approx([0.1, 0.4, 0.1, 0.4], abs=1e-6)
    assert all(np.count_nonzero(np.abs(change) > 1e-6) == 1 for change in pictures[1::3])
    assert bar.get_ylabel() == "perturbation"


def test_all_perturbations_share_a_scale_centred_at_0(tmp_path: Path) -> None:
    attack(tmp_path)
    axes = draw_gallery(tmp_path, "mnist_attack", ["zo-sgd", "zo-rl"]).axes[:-1]
    scales = {axis.images[0].get_clim() for axis in axes[1::3]}
    ((low, high),) = scales
    assert (low, high) == pytest.approx((-0.4, 0.4), abs=1e-6)
    assert {axis.images[0].get_clim() for axis in [*axes[::3], *axes[2::3]]} == {(0, 1)}


def test_the_gallery_tells_labels_confidences_norms_and_queries(tmp_path: Path) -> None:
    attack(tmp_path)
    figure = draw_gallery(tmp_path, "mnist_attack", ["zo-sgd"], images=[0, 1])
    texts = [words_of(axis) for axis in figure.axes[:-1]]
    assert texts == [
        ["“0”, 98.8 %", "test image 1"],
        ["L1 = 0.1", "largest 0.10", "+"],
        ["“5”, 51.2 %", "after 1,010 queries", "="],
        ["“1”, 98.8 %", "test image 2"],
        ["L1 = 0.1", "largest 0.10", "+"],
        ["“1”, 51.2 %", "never fooled", "="],
    ]
    assert "ZO-SGD" in [text.get_text() for text in figure.texts]


def test_the_gallery_compares_zo_sgd_and_zo_rl_unless_told_otherwise(tmp_path: Path) -> None:
    attack(tmp_path)
    figure = draw_gallery(tmp_path, "mnist_attack")
    assert [text.get_text() for text in figure.texts] == ["ZO-SGD", "ZO-RL"]
    assert len(figure.axes) == 3 * 2 * 3 + 1


def test_the_gallery_knows_pictures_that_are_not_square(tmp_path: Path) -> None:
    extras = {
        "final_x": np.zeros((1, 6), dtype=np.float32),
        "original": np.zeros((1, 6), dtype=np.float32),
        **{name: np.zeros(1, dtype=np.int64) for name in ("label", "predicted", "success_at")},
        **{name: np.ones(1) for name in ("confidence_before", "confidence_after")},
    }
    best = decay(2, 1, 20)[None]
    store(tmp_path, "mine", "zo-sgd", 0, best, extras=extras, meta={"shape": [2, 3]})
    axes = draw_gallery(tmp_path, "mine", images=[0]).axes
    assert np.asarray(axes[0].images[0].get_array()).shape == (2, 3)
    store(tmp_path, "mine", "zo-sgd", 0, best, extras=extras)
    with pytest.raises(ValueError, match="6 pixels of mine"):
        draw_gallery(tmp_path, "mine", images=[0])


def test_the_gallery_refuses_what_it_cannot_show(tmp_path: Path) -> None:
    classification(tmp_path, "heart_scale")
    with pytest.raises(ValueError, match="heart_scale holds no final_x, original"):
        draw_gallery(tmp_path, "heart_scale")
    with pytest.raises(FileNotFoundError, match="Run `make paper` first"):
        draw_gallery(tmp_path, "mnist_attack")
    attack(tmp_path)
    for images in ([4], [-1], []):
        with pytest.raises(ValueError, match="images must be numbers from 0 to 3"):
            draw_gallery(tmp_path, "mnist_attack", images=images)


def test_the_gallery_is_written_as_png(tmp_path: Path) -> None:
    attack(tmp_path / "results")
    path = write_gallery(tmp_path / "results", "mnist_attack", tmp_path / "out", ["zo-sgd", "zo-rl"], [0])
    assert path == tmp_path / "out" / "gallery_mnist_attack.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "out").iterdir()) == [path]
