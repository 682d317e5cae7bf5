"""The contract of every registered problem, and each one's values against its printed formula."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from torch import Tensor

from zo_gym import batch_invariant, datasets
from zo_gym.problem import Problem, in_chunks, repeated
from zo_gym.problems import PROBLEMS, bbob, has_splits, make_problem
from zo_gym.problems.classification import classification

LIBSVM = {"heart_scale": 13, "german.numer_scale": 24, "a9a": 123}
ATTACKS = {"digits_attack[0]": 64} | {f"mnist{victim}_attack[0]": 784 for victim in ("", "_mlp", "_wide")}
DIMS = dict.fromkeys(PROBLEMS, 10) | {"breast_cancer": 30} | LIBSVM | ATTACKS
SIZES = (1, 2, 3, 5, 21, 64, 257)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(m: int, dim: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(m, dim, generator=generator(seed), dtype=dtype)


def marked(name: str) -> Any:
    """Mark the problems that need a file, and as slow those whose victims take a minute to train."""
    if name.startswith("mnist"):
        return pytest.param(name, marks=[pytest.mark.slow, pytest.mark.needs_data("mnist")])
    return pytest.param(name, marks=pytest.mark.needs_data(name)) if name in LIBSVM else name


@pytest.fixture(scope="module", params=[marked(name) for name in PROBLEMS])
def problem(request: pytest.FixtureRequest) -> Problem:
    return make_problem(f"{request.param}[0]", dtype=torch.float64)  # instance 0, where there are several


def remade(problem: Problem, dtype: torch.dtype = torch.float64) -> Problem:
    """The same problem, built anew."""
    return make_problem(problem.name, dtype=dtype)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


# The contract


def test_shape_dtype_and_determinism(problem: Problem) -> None:
    assert problem.dim == DIMS[problem.name]
    x = points(5, problem.dim)
    before = x.clone()
    values = problem.values(x)
    assert values.shape == (5,)
    assert values.dtype == problem.dtype == torch.float64
    assert values.isfinite().all()
    assert torch.equal(values, problem.values(x))
    assert torch.equal(values, remade(problem).values(x))
    assert problem.gradients(x).shape == (5, problem.dim)
    assert torch.equal(x, before)


@pytest.mark.parametrize("size", SIZES)
def test_value_of_a_row_does_not_depend_on_its_batch(problem: Problem, threads: int, size: int) -> None:
    def same(values: Tensor, expected: Tensor) -> bool:
        if problem.name in ATTACKS and threads > 1:
            # the convolution of a lone image is shared out among the threads, that of several goes image by image:
            # sums of up to 800 terms in another order, and logits of size 100 out here
            return torch.allclose(values, expected, rtol=0.0, atol=1e-11)
        return torch.equal(values, expected)

    x = points(300, problem.dim)
    full = problem.values(x)
    for start in {0, 1, 7, 300 - size}:
        part = slice(start, min(start + size, 300))
        assert same(problem.values(x[part]), full[part])
    for i in range(0, size, 5):
        assert same(problem.values(x[i : i + 1]), full[i : i + 1])
    assert same(problem.values(x.T.contiguous().T[:size]), full[:size])


def test_gradient_is_the_central_difference(problem: Problem) -> None:
    x = points(3, problem.dim, seed=1)
    h = 1e-5
    steps = h * torch.eye(problem.dim, dtype=torch.float64)
    plus = problem.values((x[:, None] + steps).flatten(0, 1)).view(3, -1)
    minus = problem.values((x[:, None] - steps).flatten(0, 1)).view(3, -1)
    difference = (plus - minus) / (2 * h)
    # truncation h^2 f''' is 1e-7 of the gradient at most here (rastrigin); rounding is eps f / h
    error = (difference - problem.gradients(x)).abs().amax(dim=1)
    assert (error <= 1e-6 * problem.gradients(x).abs().amax(dim=1) + 1e-10 * problem.values(x)).all()


def test_initial_draws_from_the_given_generator_only(problem: Problem) -> None:
    torch.manual_seed(0)
    global_state = torch.get_rng_state()
    source = generator(3)
    first, second = problem.start(source), problem.start(source)
    assert first.shape == (problem.dim,)
    assert first.dtype == problem.dtype
    assert not torch.equal(first, second)
    assert torch.equal(first, problem.start(generator(3)))
    assert torch.equal(torch.get_rng_state(), global_state)


def test_values_are_at_least_the_minimum(problem: Problem) -> None:
    least = 0.0 if problem.minimum is None else problem.minimum  # each f here is a sum of non-negative terms
    assert (problem.values(points(300, problem.dim, seed=2)) > least).all()


def test_float32_follows_float64(problem: Problem) -> None:
    single = remade(problem, torch.float32)
    assert single.dtype == torch.float32
    assert single.start(generator(0)).dtype == torch.float32
    x = points(21, problem.dim, dtype=torch.float32)
    values = single.values(x)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values.double(), problem.values(x.double()), rtol=1e-4, atol=1e-4)
    rows = torch.cat([single.values(x[i : i + 1]) for i in range(21)])
    if problem.name in ATTACKS:
        # float64 convolutions go image by image; for float32, oneDNN may choose another kernel for another batch on
        # some processors: sums of up to 800 terms in another order, a few eps of logits of size 10
        torch.testing.assert_close(rows, values, rtol=1e-5, atol=1e-4)
    else:
        assert torch.equal(rows, values)


def test_instances_subsets_and_batches_agree_bit_for_bit(problem: Problem) -> None:
    """One instance alone, in a subset, and as a row among others: the same starts, values, gradients and measures."""
    several = has_splits(problem.name.removesuffix("[0]"))
    options = {"size": 3} if several else {}
    whole = make_problem(problem.name.removesuffix("[0]"), dtype=torch.float64, **options)
    whole = whole if several else repeated(whole, 3)
    assert (whole.size, whole.dim, whole.shape) == (3, problem.dim, problem.shape)
    part, generators = whole.subset([2, 0]), [generator(5), generator(6)]
    x, both = part.initial(torch.tensor([0, 1]), generators), torch.tensor([2, 0])
    assert x.shape == (2, problem.dim)
    near = x[:, None] + 0.01 * points(2, problem.dim)  # (b, m, d)
    values = part.fun(near, torch.tensor([0, 1]))
    assert torch.equal(values, whole.fun(near, both))
    slopes = whole.gradient(near[:, 0], both)  # type: ignore[misc]
    for row, (number, seed) in enumerate(((2, 5), (0, 6))):
        alone = whole.instance(number)
        assert alone.size == 1
        assert torch.equal(alone.start(generator(seed)), x[row])
        assert torch.equal(whole.start(generator(seed), number), x[row])
        assert torch.equal(alone.values(near[row]), values[row])
        assert torch.equal(whole.values(near[row], number), values[row])
        assert torch.equal(whole.gradients(near[row], number)[:1], slopes[row : row + 1])
        if whole.measure is not None:
            measures = whole.measure(near[:, 0], both)
            mine = alone.measure(near[row, :1], torch.tensor([0]))  # type: ignore[misc]
            assert all(torch.equal(mine[name], measures[name][row : row + 1]) for name in measures)
        if whole.context is not None:
            assert alone.context is not None
            assert torch.equal(alone.context[0], whole.context[number])
    assert torch.equal(whole.instance(0).values(near[1]), problem.values(near[1]))


def test_composite_term_is_a_part_of_f(problem: Problem) -> None:
    if problem.composite is None:
        pytest.skip(f"{problem.name} has no composite term")
    lone = torch.tensor([0])
    x = problem.start(generator(0)) + 0.3 * points(20, problem.dim)
    term = problem.composite.value(x[None], lone)[0]
    rest = problem.values(x) - term
    assert (rest >= problem.composite.lower_bound - 1e-12).all()  # type: ignore[operator]  # sums of some 800 terms
    assert problem.composite.value(problem.start(generator(0))[None, None], lone).item() < 0.01  # the start is near x0
    # where the black-box part is at its lower bound its gradient is 0, and f's is the term's
    h = 1e-6 * torch.nn.functional.normalize(points(20, problem.dim, seed=3))
    flat = (rest == 0) & (problem.values(x + h) - problem.composite.value((x + h)[None], lone)[0] == 0)
    change = (problem.values(x + h) - problem.values(x))[flat]
    parts = (problem.composite.value((x + h)[None], lone)[0] - term)[flat]
    torch.testing.assert_close(change, parts, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("copying", ["deepcopy", "cloudpickle"])
def test_a_copy_is_the_same_problem(problem: Problem, copying: str) -> None:
    twin = copy.deepcopy(problem) if copying == "deepcopy" else cloudpickle.loads(cloudpickle.dumps(problem))
    assert twin is not problem
    x = points(3, problem.dim)
    assert torch.equal(twin.values(x), problem.values(x))
    assert torch.equal(twin.gradients(x), problem.gradients(x))
    assert torch.equal(twin.start(generator(1)), problem.start(generator(1)))


# Classification against the printed equation


def printed_loss(w: np.ndarray, features: np.ndarray, y: np.ndarray) -> float:
    """f(w) = (1/n) sum_i (y_i - 1 / (1 + exp(-w . x_i)))^2."""
    return float(np.mean((y - 1 / (1 + np.exp(-(features @ w)))) ** 2))


@pytest.mark.parametrize("labels", ["pm1", "01"])
@pytest.mark.parametrize("name", [marked(name) for name in ("breast_cancer", *LIBSVM)])
def test_classification_is_the_printed_equation(name: str, labels: str) -> None:
    if name in LIBSVM:
        sparse, y = datasets.load_libsvm(name)
        features = sparse.toarray()
    else:
        features, y = datasets.load_breast_cancer()
    if labels == "01":
        y = np.where(y == 1, 1.0, 0.0)
    problem = make_problem(name, labels=labels)
    w = points(7, problem.dim)
    expected = [printed_loss(row, features, y) for row in w.numpy()]
    np.testing.assert_allclose(problem.values(w).numpy(), expected, rtol=1e-12)  # sums of up to 32561 terms


def test_classification_gradient_equals_autograd_of_the_printed_equation() -> None:
    features, y = (torch.from_numpy(array) for array in datasets.load_breast_cancer())
    w = points(4, 30).requires_grad_()
    loss = ((y - 1 / (1 + torch.exp(-w @ features.T))) ** 2).mean(dim=1).sum()
    (expected,) = torch.autograd.grad(loss, w)
    torch.testing.assert_close(make_problem("breast_cancer").gradients(w.detach()), expected, rtol=1e-12, atol=1e-14)


def test_repeated_examples_are_weighted() -> None:
    rng = np.random.default_rng(0)
    features = rng.integers(-1, 2, size=(40, 2)).astype(float)  # at most 9 distinct rows
    targets = np.where(rng.random(40) < 0.5, 1.0, -1.0)
    problem = classification("toy", features, targets)
    w = points(3, 2)
    expected = [printed_loss(row, features, targets) for row in w.numpy()]
    np.testing.assert_allclose(problem.values(w).numpy(), expected, rtol=1e-13)


def test_extreme_weights_saturate_without_overflow() -> None:
    problem = classification("toy", np.array([[1.0], [1.0]]), np.array([1.0, -1.0]))
    w = torch.tensor([[-1e4], [1e4]], dtype=torch.float64)
    assert problem.values(w).tolist() == pytest.approx([1.0, 2.0], rel=1e-15)  # ((1-0)^2 + (-1-0)^2)/2, (0 + 4)/2
    assert problem.gradients(w).tolist() == [[0.0], [0.0]]


def test_classification_starts_are_normal_over_root_d() -> None:
    problem, source = make_problem("breast_cancer"), generator(0)
    starts = torch.stack([problem.start(source) for _ in range(1000)])
    # 30000 draws: the mean's standard error is 0.0011, that of the deviation 0.0008; 4 of them each
    assert abs(float(starts.mean())) < 0.0045
    assert abs(float(starts.std()) - 30**-0.5) < 0.003


# Synthetic problems against their formulas


def hessian(problem: Problem) -> np.ndarray:
    """Second derivatives of a quadratic from 1 + d gradients: exact up to rounding."""
    eye = torch.eye(problem.dim, dtype=torch.float64)
    return (problem.gradients(eye) - problem.gradients(torch.zeros_like(eye))).numpy()


@pytest.mark.parametrize("condition", [1.0, 100.0, 1e4])
@pytest.mark.parametrize("dim", [2, 10])
def test_quadratic_has_the_stated_condition_number_and_minimum(dim: int, condition: float) -> None:
    problem = make_problem("quadratic", dim=dim, condition=condition, instance=5)
    h = hessian(problem)
    np.testing.assert_allclose(np.linalg.eigvalsh(h), condition ** (np.arange(dim) / (dim - 1)), rtol=1e-8)
    slope = problem.gradients(torch.zeros(1, dim, dtype=torch.float64))[0].numpy()
    optimum = -np.linalg.solve(h, slope)
    assert float(problem.values(torch.from_numpy(optimum)[None])) == pytest.approx(0.0, abs=1e-18 * condition**2)
    x = points(1, dim)[0].numpy()
    expected = 0.5 * (x - optimum) @ h @ (x - optimum)
    assert float(problem.values(torch.from_numpy(x)[None])) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("name", "spectrum"),
    [
        ("ellipsoid", 2 * 1e3 ** (np.arange(4) / 3)),
        ("discus", [2, 2, 2, 2e3]),
        ("bent_cigar", [2, 2e3, 2e3, 2e3]),
    ],
)
def test_rotation_keeps_the_spectrum(name: str, spectrum: list[float]) -> None:
    h = hessian(make_problem(name, dim=4, condition=1e3, instance=2))
    np.testing.assert_allclose(np.linalg.eigvalsh(h), spectrum, rtol=1e-8)
    assert np.abs(h - np.diag(np.diag(h))).max() > 1.0  # it is rotated


def h_ellipsoid(z: np.ndarray) -> float:
    return float(sum(1e6 ** (i / (len(z) - 1)) * z[i] ** 2 for i in range(len(z))))


def h_discus(z: np.ndarray) -> float:
    return float(1e6 * z[0] ** 2 + np.sum(z[1:] ** 2))


def h_bent_cigar(z: np.ndarray) -> float:
    return float(z[0] ** 2 + 1e6 * np.sum(z[1:] ** 2))


def h_sharp_ridge(z: np.ndarray) -> float:
    return float(z[0] ** 2 + 100 * np.sqrt(np.sum(z[1:] ** 2)))


def h_rastrigin(z: np.ndarray) -> float:
    return float(10 * (len(z) - np.sum(np.cos(2 * np.pi * z))) + np.sum(z**2))


BBOB = {
    "ellipsoid": h_ellipsoid,
    "discus": h_discus,
    "bent_cigar": h_bent_cigar,
    "sharp_ridge": h_sharp_ridge,
    "rastrigin": h_rastrigin,
}


@pytest.fixture
def frame(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """What the next BBOB problem is rotated and shifted by."""
    seen: dict[str, np.ndarray] = {}

    def record(module: ModuleType, function: str) -> None:
        original = getattr(module, function)

        def recorder(*args: object) -> Tensor:
            result: Tensor = original(*args)
            seen.setdefault(function, result.numpy().copy())
            return result

        monkeypatch.setattr(module, function, recorder)

    record(bbob, "random_rotation")
    record(bbob, "uniform_start")
    return seen


@pytest.mark.parametrize("name", BBOB)
def test_bbob_is_its_formula_in_a_shifted_rotated_frame(name: str, frame: dict[str, np.ndarray]) -> None:
    problem = make_problem(name, dim=5, instance=7)
    rotation, optimum = frame["random_rotation"], frame["uniform_start"]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(5), atol=1e-14)
    assert np.abs(optimum).max() <= 4.0
    x = points(6, 5, seed=4)
    expected = [BBOB[name](rotation @ (row - optimum)) for row in x.numpy()]
    np.testing.assert_allclose(problem.values(x).numpy(), expected, rtol=1e-12)
    at_optimum = torch.from_numpy(optimum)[None]
    assert problem.values(at_optimum).tolist() == [problem.minimum] == [0.0]
    assert problem.gradients(at_optimum).tolist() == [[0.0] * 5]


@pytest.mark.parametrize("name", ["quadratic", "logistic", *BBOB])
def test_instance_fixes_the_problem(name: str) -> None:
    x = points(1, 10)
    assert torch.equal(make_problem(name, instance=1).values(x), make_problem(name, instance=1).values(x))
    assert not torch.equal(make_problem(name, instance=1).values(x), make_problem(name, instance=2).values(x))


def test_rosenbrock_is_its_formula() -> None:
    problem = make_problem("rosenbrock", dim=5)
    x = points(4, 5)
    expected = [sum(100 * (row[i + 1] - row[i] ** 2) ** 2 + (1 - row[i]) ** 2 for i in range(4)) for row in x.numpy()]
    np.testing.assert_allclose(problem.values(x).numpy(), expected, rtol=1e-13)
    assert problem.values(torch.ones(1, 5, dtype=torch.float64)).tolist() == [0.0]


def test_logistic_is_a_logistic_regression() -> None:
    d, n, l2 = 3, 8, 0.5
    flat = make_problem("logistic", dim=d, samples=n, l2=0.0, instance=4)
    curved = make_problem("logistic", dim=d, samples=n, l2=l2, instance=4)
    zero = torch.zeros(1, d, dtype=torch.float64)
    assert float(flat.values(zero)) == pytest.approx(np.log(2))
    w = points(5, d)
    np.testing.assert_allclose(curved.values(w) - flat.values(w), l2 / 2 * (w**2).sum(dim=1), rtol=1e-12)
    source = generator(4)  # the data as documented: a ~ N(0, I), then w', then y
    a = torch.randn(n, d, generator=source, dtype=torch.float64).numpy()
    truth = torch.randn(d, generator=source, dtype=torch.float64).numpy()
    draws = torch.rand(n, generator=source, dtype=torch.float64).numpy()
    y = np.where(draws < 1 / (1 + np.exp(-a @ truth)), 1, -1)
    expected = [np.mean(np.log(1 + np.exp(-y * (a @ row)))) for row in w.numpy()]
    np.testing.assert_allclose(flat.values(w).numpy(), expected, rtol=1e-12)
    far = flat.values(1e5 * w)
    assert far.isfinite().all()


# Batch-invariant products


@pytest.mark.parametrize("share", [1.0, 0.05], ids=["dense", "sparse"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "d"), [(1, 1), (3, 13), (10, 10), (13, 257), (569, 24), (1000, 100)])
def test_linear_map_is_batch_invariant_and_right(
    n: int, d: int, dtype: torch.dtype, share: float, threads: int
) -> None:
    mask = torch.rand(n, d, generator=generator(5)) < share
    matrix = (points(n, d, seed=6) * mask).to(dtype)
    product = batch_invariant.linear_map(matrix)
    for function, factor, width in ((product.apply, matrix.T, d), (product.adjoint, matrix, n)):
        x = points(70, width, seed=7, dtype=dtype)
        full = function(x)
        assert all(torch.equal(function(x[i : i + 1]), full[i : i + 1]) for i in range(70))
        assert all(torch.equal(function(x[-m:]), full[-m:]) for m in SIZES[:-1])
        rounding = torch.finfo(dtype).eps * (width + 1) * x.abs() @ factor.abs()  # the bound for any summation order
        assert ((full - x @ factor).abs() <= 2 * rounding).all()


def test_norm_does_not_depend_on_batch_layout_or_threads(threads: int) -> None:
    rows = points(5, 50_000)  # long enough for torch to split a lone row's sum over threads
    full = batch_invariant.norm(rows)
    assert all(torch.equal(batch_invariant.norm(rows[i : i + 1]), full[i : i + 1]) for i in range(5))
    assert torch.equal(batch_invariant.norm(rows.T.contiguous().T), full)
    np.testing.assert_allclose(full, np.linalg.norm(rows.numpy(), axis=1), rtol=1e-13)


def test_chunks_change_nothing_but_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def fun(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return x.sum(dim=1)

    monkeypatch.setattr("zo_gym.problem._CHUNK_ELEMENTS", 100)
    x = points(30, 4)
    assert torch.equal(in_chunks(fun, 8)(x), x.sum(dim=1))
    assert sizes == [12, 12, 6]
    sizes.clear()
    in_chunks(fun, 10**6)(x[:5])
    assert sizes == [4, 1]


# Errors


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("quadratc", {}, ValueError, "Unknown problem 'quadratc'. Did you mean 'quadratic'?"),
        (3, {}, TypeError, "problem must be a name"),
        (
            "quadratic",
            {"dims": 3},
            TypeError,
            "problem 'quadratic' got an unexpected keyword argument 'dims'. Did you mean 'dim'?",
        ),
        ("heart_scale", {"name": "a9a"}, TypeError, "problem 'heart_scale' got an unexpected keyword argument 'name'"),
        ("breast_cancer", {"labels": "0/1"}, ValueError, "Unknown labels option '0/1'. Did you mean '01'?"),
        ("quadratic", {"condition": 0.5}, ValueError, "condition must be finite and >= 1, got 0.5"),
        ("quadratic", {"condition": float("inf")}, ValueError, "condition must be finite and >= 1, got inf"),
        ("quadratic", {"condition": "big"}, TypeError, "condition must be finite and >= 1, got 'big'. Pass a number."),
        ("quadratic", {"dim": 1}, ValueError, "condition must be 1 when dim is 1, got 100"),
        ("quadratic", {"dim": 0}, ValueError, "dim must be >= 1, got 0"),
        ("quadratic", {"dim": 2.5}, TypeError, "dim must be an integer >= 1, got 2.5"),
        ("quadratic", {"dim": True}, TypeError, "dim must be an integer >= 1, got True"),
        ("quadratic", {"instance": -1}, ValueError, "instance must be >= 0, got -1"),
        ("rosenbrock", {"dim": 1}, ValueError, "dim must be >= 2, got 1"),
        ("ellipsoid", {"dim": 1}, ValueError, "dim must be >= 2, got 1"),
        ("logistic", {"samples": 0}, ValueError, "samples must be >= 1, got 0"),
        ("logistic", {"l2": -0.1}, ValueError, "l2 must be finite and >= 0, got -0.1"),
        ("rastrigin", {"dtype": torch.int64}, TypeError, "dtype must be a floating torch.dtype, got torch.int64"),
        ("rastrigin", {"dtype": "float64"}, TypeError, "dtype must be a floating torch.dtype, got 'float64'"),
    ],
)
def test_bad_options_are_explained(name: str, options: dict[str, object], error: type, message: str) -> None:
    with pytest.raises(error) as caught:
        make_problem(name, **options)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_targets_other_than_plus_and_minus_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"targets must be -1 or \+1, got 2\.0\. Map the classes"):
        classification("toy", np.ones((2, 1)), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"targets must be -1 or \+1, got nan"):
        classification("toy", np.ones((2, 1)), np.array([1.0, np.nan]))
