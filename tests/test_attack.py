"""The attack problems: eq. (9) against a plain computation, the images, the gradient, and the victims' cache."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from pretended_cuda import tf32_is_allowed
from torch import Tensor
from torch.nn import functional as F

import zo_gym
from zo_gym import datasets
from zo_gym.problems import PROBLEMS, has_splits, make_problem
from zo_gym.problems.attack import objective, victim
from zo_gym.problems.attack.network import exact_convolutions
from zo_gym.problems.attack.problem import SPLITS, Attack, AttackOptions, attack_on

KINDS = [
    {},
    {"norm": "l2"},
    {"norm": "linf", "c": 3.0},
    {"c": 0.0},
    {"targeted": True},
    {"targeted": True, "target": 4, "norm": "l2"},
]
"""Options of an attack: every norm, both forms."""


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def digits(**options: Any) -> Attack:
    return attack_on("digits", AttackOptions(**{"dtype": torch.float64, **options}))


def near(images: Tensor, spread: float, seed: int = 0) -> Tensor:
    """Noisy copies; the larger the spread, the more of them lie outside the box."""
    return images + spread * torch.randn(images.shape, generator=generator(seed), dtype=images.dtype)


def slope(found: Attack, x: Tensor, instances: Tensor) -> Tensor:
    assert found.problem.gradient is not None
    return found.problem.gradient(x, instances)


def measures(found: Attack, x: Tensor, instances: Tensor) -> dict[str, Tensor]:
    assert found.problem.measure is not None
    return found.problem.measure(x, instances)


def plain_logits(trained: victim.Victim, image: Tensor) -> np.ndarray:
    """The victim as its name describes it: d -> 10 logits, one image, float64."""
    w = {key: value.double() for key, value in trained.weights.items()}
    side, padding = trained.recipe.side, trained.recipe.padding
    z = image.double().reshape(1, 1, side, side)
    for layer in ("conv1", "conv2"):
        z = F.max_pool2d(F.relu(F.conv2d(z, w[layer], w[f"{layer}.bias"], padding=padding)), 2)
    hidden = F.relu(w["fc1"] @ z.flatten() + w["fc1.bias"])
    return (w["fc2"] @ hidden + w["fc2.bias"]).numpy()


def plain_value(
    trained: victim.Victim, original: Tensor, label: int, x: Tensor, norm: str, c: float, target: int | None
) -> float:
    """Eq. (9), one point."""
    adversarial = np.clip(x.numpy(), 0, 1)
    z = plain_logits(trained, torch.from_numpy(adversarial))
    if target is None:
        loss = max(z[label] - max(z[j] for j in range(10) if j != label), 0)
    else:
        loss = max(max(z[j] for j in range(10) if j != target) - z[target], 0)
    order = {"l1": 1, "l2": 2, "linf": np.inf}[norm]
    return float(loss + c * np.linalg.norm(adversarial - original.numpy(), order))


# f


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_value_is_the_printed_equation(kind: dict[str, Any]) -> None:
    found = digits(size=5, **kind)
    instances = torch.tensor([3, 0, 3, 4])
    points = near(found.images[instances][:, None].expand(4, 6, 64), 0.3)
    before = points.clone()
    values = found.problem.fun(points, instances)
    expected = [
        [
            plain_value(
                found.victim,
                found.images[i],
                int(found.labels[i]),
                point,
                kind.get("norm", "l1"),
                kind.get("c", 0.1),
                None if found.targets is None else int(found.targets[i]),
            )
            for point in row
        ]
        for i, row in zip(instances.tolist(), points, strict=True)
    ]
    assert values.shape == (4, 6)
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-12, atol=1e-12)  # the same sums in another order
    assert torch.equal(points, before)


def test_some_points_of_that_test_succeed_and_some_fail() -> None:
    found = digits(size=5)
    x = near(found.images.repeat(40, 1), 0.3)
    success = measures(found, x, torch.arange(200) % 5)["success"]
    assert 0 < success.mean() < 1


def test_only_the_clipped_image_counts() -> None:
    found = digits(size=3)
    instances = torch.arange(3)
    x = near(found.images, 2.0)
    assert ((x < 0) | (x > 1)).any()
    assert torch.equal(found.problem.fun(x[:, None], instances), found.problem.fun(x.clamp(0, 1)[:, None], instances))


def test_default_target_is_the_next_class_and_a_given_one_skips_its_own() -> None:
    by_default = digits(targeted=True)
    assert by_default.targets is not None
    assert by_default.targets.tolist() == [(label + 1) % 10 for label in by_default.labels.tolist()]
    aimed = digits(targeted=True, target=9)
    assert aimed.targets is not None
    assert {9, 8} < set(aimed.labels.tolist())  # both cases occur
    assert aimed.targets.tolist() == [0 if label == 9 else 9 for label in aimed.labels.tolist()]
    assert torch.equal(aimed.images, by_default.images)
    assert digits().targets is None


def test_measures_add_up_to_the_value() -> None:
    found = digits(size=20, c=0.7, norm="l2")
    instances = torch.arange(20)
    x = near(found.images, 0.4)
    parts = measures(found, x, instances)
    assert set(parts) == {"margin", "distortion", "success"}
    assert all(value.shape == (20,) and value.dtype == torch.float64 for value in parts.values())
    total = parts["margin"] + 0.7 * parts["distortion"]
    assert torch.equal(total, found.problem.fun(x[:, None], instances)[:, 0])
    seen, _ = found.predict(x)
    assert parts["success"].tolist() == (seen != found.labels).double().tolist()
    moved = x.clamp(0, 1) - found.images
    torch.testing.assert_close(parts["distortion"], moved.square().sum(1).sqrt(), rtol=1e-12, atol=0)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = digits(size=4)
    points, instances = near(found.images[:, None].expand(4, 5, 64), 0.3), torch.arange(4)
    whole = found.problem.fun(points, instances)
    monkeypatch.setattr(objective, "CHUNK", 3)
    # one thread and float64: a row's value has the same bits in every batch
    assert torch.equal(found.problem.fun(points, instances), whole)


def test_single_precision_follows_double() -> None:
    single, double = digits(dtype=torch.float32), digits()
    x, instances = near(single.images, 0.2), torch.arange(50)
    assert x.dtype == single.problem.dtype == torch.float32
    assert torch.equal(single.images.double(), double.images)
    values = single.problem.fun(x[:, None], instances)
    assert values.dtype == torch.float32
    # logits of size 20 from sums of up to 800 terms: some 100 eps of 1.2e-7
    torch.testing.assert_close(
        values.double(), double.problem.fun(x.double()[:, None], instances), rtol=1e-5, atol=1e-4
    )


# The gradient


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_gradient_is_the_central_difference(kind: dict[str, Any]) -> None:
    found = digits(size=8, **kind)
    problem, instances = found.problem, torch.arange(8)
    x = near(found.images, 0.2, seed=5)
    gradient = slope(found, x, instances)
    h = 1e-7  # so short that a kink (of 2,000 units, the box, the norm) within reach of one of 8 x 64 lines is rare
    steps = h * torch.eye(64, dtype=torch.float64)
    difference = (problem.fun(x[:, None] + steps, instances) - problem.fun(x[:, None] - steps, instances)) / (2 * h)
    # rounding: eps f / h = 2e-16 * 20 / 1e-7 = 4e-8, some ten times for the sums; f is piecewise linear but for l2
    torch.testing.assert_close(gradient, difference, rtol=1e-6, atol=1e-6)
    outside = (x < 0) | (x > 1)
    assert outside.any()
    assert (gradient[outside] == 0).all()
    assert (gradient[~outside] != 0).any()


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_distortion_has_subgradient_zero_at_the_original_image(norm: str) -> None:
    found, free = digits(size=3, norm=norm, c=10.0), digits(size=3, norm=norm, c=0.0)
    instances = torch.arange(3)
    at_originals = slope(found, found.images, instances)
    assert torch.equal(at_originals, slope(free, found.images, instances))
    assert (at_originals != 0).any()


@pytest.mark.parametrize("torch_is_old", [False, True])
def test_convolutions_are_exact_inside_and_as_they_were_outside(
    torch_is_old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "allow_tf32", True)  # torch's default
    if torch_is_old:
        monkeypatch.delattr(type(cudnn), "conv")

    def fail() -> None:
        with exact_convolutions():
            assert not tf32_is_allowed()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert cudnn.allow_tf32


def test_gradient_works_where_autograd_is_off_and_fun_where_it_is_on() -> None:
    found = digits(size=2)
    x, instances = near(found.images, 0.1), torch.arange(2)
    expected = slope(found, x, instances)
    with torch.no_grad():
        assert torch.equal(slope(found, x, instances), expected)
    leaf = x.clone().requires_grad_()
    found.problem.fun(leaf[:, None], instances).sum().backward()
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, expected)


# The images


def keys(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_splits_are_disjoint_unseen_and_correctly_classified() -> None:
    rest = SPLITS["fresh"][0]
    with pytest.raises(ValueError, match=r"size must be <= \d+, the size of split 'fresh' for 'digits'") as caught:
        digits(split="fresh", size=797)
    fresh = int(str(caught.value).split("<= ")[1].split(",")[0])
    sizes = {"train": 50, "test": 50, "validation": 100, "fresh": fresh}
    found = {split: digits(split=split, size=size) for split, size in sizes.items()}
    images = [keys(found[split].images) for split in SPLITS]
    assert [len(part) for part in images] == list(sizes.values())
    assert len(set().union(*images)) == rest + fresh
    trained_on, _ = victim.VICTIMS["digits"].examples("train")
    assert not set().union(*images) & keys(trained_on.double())
    for part in found.values():
        for image, label in zip(part.images[:60], part.labels.tolist(), strict=False):
            assert plain_logits(part.victim, image).argmax() == label
    # the rest of the 797 test images are those that the victim gets wrong
    assert rest + fresh == round(found["train"].victim.accuracy * 797)


def test_images_do_not_depend_on_size_dtype_or_form() -> None:
    all_of_them = digits(split="test")
    for fewer in (digits(split="test", size=7), digits(split="test", size=7, targeted=True, norm="l2", c=2.0)):
        assert torch.equal(fewer.images, all_of_them.images[:7])
        assert torch.equal(fewer.labels, all_of_them.labels[:7])
    assert torch.equal(digits(split="test", dtype=torch.float32).images.double(), all_of_them.images)
    assert len(set(all_of_them.labels.tolist())) == 10


def test_images_are_the_data_sets_own() -> None:
    pixels, labels = datasets.load_digits()
    known = {image.tobytes(): label for image, label in zip(pixels, labels, strict=True)}
    found = digits()
    assert [known[image.numpy().tobytes()] for image in found.images] == found.labels.tolist()
    assert found.problem.shape == (8, 8)
    assert (found.problem.name, found.problem.dim, found.problem.size) == ("digits_attack", 64, 50)


def test_starts_are_the_image_plus_a_little_noise_of_the_given_generator() -> None:
    found = digits()
    torch.manual_seed(0)
    global_state = torch.get_rng_state()
    noise = torch.stack([found.problem.start(generator(i), i) for i in range(50)]) - found.images
    # 3,200 draws of 1e-4 N(0, 1): the deviation's standard error is 1e-4 / 80 = 1.25e-6, the mean's 1.8e-6; 4 of them
    assert float(noise.std()) == pytest.approx(1e-4, abs=5e-6)
    assert float(noise.mean()) == pytest.approx(0.0, abs=7.2e-6)
    assert torch.equal(found.problem.start(generator(3), 3), found.problem.start(generator(3), 3))
    assert not torch.equal(noise[3], noise[4])
    assert torch.equal(torch.get_rng_state(), global_state)


def test_prediction_is_the_softmax_of_the_clipped_image() -> None:
    found = digits(size=6)
    labels, confidences = found.predict(found.images)
    assert torch.equal(labels, found.labels)
    x = near(found.images, 1.0)
    labels, confidences = found.predict(x)
    for point, label, confidence in zip(x.clamp(0, 1), labels.tolist(), confidences.tolist(), strict=True):
        z = plain_logits(found.victim, point)
        chances = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        assert label == chances.argmax()
        assert confidence == pytest.approx(chances.max(), rel=1e-12)


# By name


def test_every_attack_is_also_a_problem_of_one_image() -> None:
    assert [name for name in PROBLEMS if has_splits(name)] == [name for name in PROBLEMS if name.endswith("_attack")]
    assert not has_splits("digits_attack[3]")
    several = make_problem("digits_attack", split="test", dtype=torch.float64)
    problem = make_problem("digits_attack[17]", split="test", dtype=torch.float64)
    assert (several.size, problem.size) == (50, 1)
    assert (problem.name, problem.dim, problem.shape) == ("digits_attack[17]", 64, (8, 8))
    assert torch.equal(problem.start(generator(0)), several.start(generator(0), 17))
    x = problem.start(generator(0)) + torch.linspace(-1, 1, 64, dtype=torch.float64)
    assert float(problem.values(x[None])) == float(several.fun(x[None, None], torch.tensor([17])))


def test_the_name_of_an_image_reaches_every_image_of_its_split() -> None:
    last = make_problem("digits_attack[99]", split="validation", dtype=torch.float64)
    whole = make_problem("digits_attack", split="validation", size=100, dtype=torch.float64)
    assert torch.equal(last.start(generator(0)), whole.start(generator(0), 99))


def test_an_attack_is_single_precision_unless_told_otherwise() -> None:
    assert make_problem("digits_attack", size=1).dtype == torch.float32
    assert make_problem("digits_attack", size=1, dtype=torch.float64).dtype == torch.float64


def test_minimize_lowers_the_margin() -> None:
    problem = make_problem("digits_attack[0]")
    start = float(problem.values(problem.start(generator(0))[None]))
    result = zo_gym.minimize("digits_attack[0]", budget=2000, target=0.49 * start, seed=0)
    assert result.nfev <= 2000
    assert result.fun < start / 2


def test_environment_takes_the_attack_by_name() -> None:
    env = gym.make("ZOSampling-v0", problem="digits_attack[2]", problem_options={"targeted": True})
    observation, info = env.reset(seed=0)
    assert observation.shape == (64,)
    assert info["queries"] == 1
    env.step(env.action_space.sample())
    env.close()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": "tets"}, ValueError, "Unknown split 'tets'. Did you mean 'test'?"),
        ({"norm": "l3"}, ValueError, "Unknown norm 'l3'. Known: l1, l2, linf."),
        ({"norm": 1}, TypeError, "norm must be a name (str), got 1"),
        ({"c": -1.0}, ValueError, "c must be finite and >= 0, got -1"),
        ({"size": 0}, ValueError, "size must be >= 1, got 0"),
        ({"size": 51}, ValueError, "size must be <= 50, the size of split 'train', got 51"),
        ({"size": 598, "split": "fresh"}, ValueError, "size must be <= 58"),
        ({"targeted": 1}, TypeError, "targeted must be a bool, got 1"),
        ({"target": 3}, ValueError, "target is for a targeted attack, got target 3 with targeted=False"),
        ({"targeted": True, "target": 10}, ValueError, "target must be a class from 0 to 9, got 10"),
        ({"targeted": True, "target": -1}, ValueError, "target must be >= 0, got -1"),
        ({"targeted": True, "target": "7"}, TypeError, "target must be an integer >= 0, got '7'"),
        ({"sizes": 3}, TypeError, "unexpected keyword argument 'sizes'. Did you mean 'size'?"),
        ({"augmentd_share": 0.1}, TypeError, "Did you mean 'augmented_share'?"),
        ({"victim": "mnist"}, TypeError, "problem 'digits_attack' got an unexpected keyword argument 'victim'"),
        ({"image": 3}, TypeError, "takes no option image=, got 3. Use the name 'digits_attack[3]'"),
        ({"augmented_share": "all"}, TypeError, "augmented_share must be finite and >= 0, got 'all'"),
        ({"dtype": torch.int64}, TypeError, "dtype must be a floating torch.dtype, got torch.int64"),
    ],
)
def test_bad_options_are_explained(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        make_problem("digits_attack", **options)
    assert message in str(caught.value)


def test_bad_names_and_images_are_explained() -> None:
    with pytest.raises(ValueError, match=r"Unknown problem 'digit_attack'\. Did you mean 'digits_attack'"):
        make_problem("digit_attack")
    with pytest.raises(ValueError, match=r"Unknown victim 'minst'\. Did you mean 'mnist'"):
        attack_on("minst")
    with pytest.raises(ValueError, match=r"image must be < 100, the size of split 'validation', got 100\. Lower it"):
        make_problem("digits_attack[100]", split="validation")
    with pytest.raises(ValueError, match=r"image must be < 20, the size of split 'train', got 20"):
        make_problem("digits_attack[20]", size=20)
    with pytest.raises(ValueError, match="Unknown problem 'digits_attack\\[-1\\]'"):
        make_problem("digits_attack[-1]")


# Victims


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """A victim "toy" trained for one epoch, with a cache of its own; call it for how often it was trained."""
    source = victim.VICTIMS["digits"]
    monkeypatch.setitem(victim.VICTIMS, "toy", source._replace(recipe=replace(source.recipe, epochs=1)))
    monkeypatch.setenv("ZO_GYM_CACHE", str(tmp_path / "cache"))
    trainings = []
    original = victim.train

    def counting(name: str, source: victim.Source) -> victim.Victim:
        trainings.append(name)
        return original(name, source)

    monkeypatch.setattr(victim, "train", counting)
    return lambda: len(trainings)


def cached(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "cache" / "victims").iterdir()  # nothing else is left behind
    return path


def same(one: victim.Victim, other: victim.Victim) -> bool:
    equal = all(torch.equal(one.weights[key], other.weights[key]) for key in one.weights)
    return equal and (one.name, one.sha256, one.accuracy) == (other.name, other.sha256, other.accuracy)


def test_second_call_loads_what_the_first_one_trained(toy: Callable[[], int], tmp_path: Path) -> None:
    first = victim.load_victim("toy")
    assert cached(tmp_path).name.startswith("toy-")
    assert same(victim.load_victim("toy"), first)
    assert toy() == 1


def test_another_recipe_or_other_data_is_another_file(
    toy: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim.load_victim("toy")
    source = victim.VICTIMS["toy"]
    monkeypatch.setitem(victim.VICTIMS, "toy", source._replace(recipe=replace(source.recipe, learning_rate=1e-3)))
    victim.load_victim("toy")
    monkeypatch.setitem(victim.VICTIMS, "toy", source._replace(data_sha256=lambda: "other"))
    victim.load_victim("toy")
    assert toy() == 3
    assert len(list((tmp_path / "cache" / "victims").iterdir())) == 3


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a cache file was unpickled",))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: b"",
        lambda content: pickle.dumps(Evil()),
        lambda content: content.replace(b'"accuracy"', b'"accurate"'),
        lambda content: content.replace(b'"fc1.bias"', b'"fc3.bias"'),
    ],
    ids=["half", "one-bit", "empty", "pickle", "no-accuracy", "no-layer"],
)
def test_damaged_cache_file_is_replaced(
    toy: Callable[[], int], tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    good = victim.load_victim("toy")
    path = cached(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(RuntimeWarning, match="Victim 'toy' is trained again: .*toy-") as caught:
        again = victim.load_victim("toy")
    assert str(path) in str(caught[0].message)
    assert same(again, good)
    assert same(victim.load_victim("toy"), good)
    assert toy() == 2


def test_cache_that_cannot_be_written_is_a_warning(
    toy: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ZO_GYM_CACHE", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match="could not be kept in .*Set ZO_GYM_CACHE"):
        victim.load_victim("toy")
    assert toy() == 1


def test_training_is_deterministic_and_leaves_the_global_generator_alone(toy: Callable[[], int]) -> None:
    source = victim.VICTIMS["toy"]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = victim.train("toy", source)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    with torch.no_grad():
        assert same(victim.train("toy", source), first)
    other = source._replace(recipe=replace(source.recipe, seed=1))
    assert victim.train("toy", other).sha256 != first.sha256


def test_digits_victim_is_accurate() -> None:
    trained = victim.load_victim("digits")
    images, labels = victim.VICTIMS["digits"].examples("test")
    right = sum(plain_logits(trained, image).argmax() == label for image, label in zip(images, labels, strict=True))
    # 97.6 to 98.5 % over seeds and recipes like this one; a bug in the training costs far more than 1 %
    assert trained.accuracy == right / 797 > 0.965


@pytest.mark.slow
@pytest.mark.needs_data("mnist")
def test_mnist_victim_is_the_network_of_the_literature_and_99_percent_right() -> None:
    found = attack_on("mnist")
    shapes = {key: tuple(value.shape) for key, value in found.victim.weights.items() if not key.endswith("bias")}
    assert shapes == {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (500, 800), "fc2": (10, 500)}
    assert found.victim.accuracy >= 0.99
    assert found.problem.shape == (28, 28)
    assert torch.equal(found.predict(found.images)[0], found.labels)
    x = near(found.images[:3], 0.1)
    values = found.problem.fun(x[:, None], torch.arange(3))[:, 0]
    expected = [
        plain_value(found.victim, found.images[i], int(found.labels[i]), x[i], "l1", 0.1, None) for i in range(3)
    ]
    # float32 against float64: sums of 800 terms, logits of size 20 and an L1 norm of size 40
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-4)
