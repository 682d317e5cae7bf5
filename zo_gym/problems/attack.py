"""Black-box adversarial attacks on a classifier: the paper's second experiment, eq. (9), section 4.2.

    f(x) = max(z_t0(a) - max_{j != t0} z_j(a), 0) + c |a - x0|_p,    a = clip(x, 0, 1)

z are the victim's logits, x0 the original image and t0 its label. One image is one instance of a `Family`: what is
learned on some images is tried on others. x itself is not clipped: a method may leave the box, where f is flat.

Deviations. The paper's scores F are not specified; logits keep the first term from saturating, where probabilities
would make f flat around a confident prediction. Starts are x0 + 1e-4 N(0, I), as in Ruan et al. (2019): at x0 itself
the norm has a kink. The targeted form, max(max_{j != t} z_j - z_t, 0), is that of Carlini & Wagner (2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.base import Family, Generators, Objective, Problem, Starts
from zo_gym.checks import check_at_least, check_flag, check_integer
from zo_gym.family import member
from zo_gym.problems.augment import distorted
from zo_gym.problems.convnet import CLASSES, classifier, exact_convolutions
from zo_gym.problems.penalty import NORMS, penalty
from zo_gym.problems.victim import VICTIMS, Victim, load_victim
from zo_gym.registry import lookup
from zo_gym.rng import make_generator, normal

SPLITS: dict[str, tuple[int, int | None]] = {
    "train": (0, 50),
    "test": (50, 50),
    "validation": (100, 100),
    "fresh": (200, None),
}
"""Name -> its first image and how many, among the correctly classified test images in a fixed order; None: the rest."""

_ORDER_SEED = 0
_START_STD = 1e-4
_CHUNK = 1000
"""Images evaluated at a time: a few tens of MB at d = 784."""


class Attack(NamedTuple):
    """A family of attacks and what a gallery shows of it."""

    family: Family
    images: Tensor
    """x0, (size, d), in [0, 1]."""
    labels: Tensor
    """t0, int64 (size,); the victim predicts all of them correctly."""
    targets: Tensor | None
    """t, int64 (size,), the classes aimed at; None for an untargeted attack."""
    predict: Callable[[Tensor], tuple[Tensor, Tensor]]
    """x (n, d) -> the class that the victim sees in clip(x, 0, 1), int64 (n,), and its softmax probability (n,)."""
    victim: Victim


def attack(
    victim: str,
    *,
    split: str = "train",
    size: int = 50,
    c: float = 0.1,
    norm: str = "l1",
    targeted: bool = False,
    target: int | None = None,
    exploring: float = 0.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Family:
    """The family alone of `attack_on`, which explains the arguments."""
    options = {"split": split, "size": size, "c": c, "norm": norm, "targeted": targeted, "target": target}
    options["exploring"] = exploring
    return attack_on(victim, **options, dtype=dtype, device=device).family  # type: ignore[arg-type]


def attack_image(
    victim: str,
    *,
    image: int = 0,
    split: str = "train",
    c: float = 0.1,
    norm: str = "l1",
    targeted: bool = False,
    target: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Problem:
    """Image number `image` of the split as a problem of its own; the rest as in `attack_on`."""
    number = check_integer("image", image, 0)
    _, available = lookup(SPLITS, split, "split")
    if available is not None and number >= available:
        raise ValueError(f"image must be < {available}, the size of split '{split}', got {number}.")
    options = {"split": split, "size": number + 1, "c": c, "norm": norm, "targeted": targeted, "target": target}
    return member(attack(victim, **options, dtype=dtype, device=device), number)  # type: ignore[arg-type]


def attack_on(
    victim: str,
    *,
    split: str = "train",
    size: int = 50,
    c: float = 0.1,
    norm: str = "l1",
    targeted: bool = False,
    target: int | None = None,
    exploring: float = 0.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Attack:
    """Attacks on `size` test images that the victim classifies correctly.

    Args:
        victim: "mnist" (d = 784, needs the MNIST files and on first use a minute of training), "mnist_mlp" or
            "mnist_wide" (other networks on the same data), or "digits" (d = 64).
        split: "train" and "test" hold 50 images each, "validation" 100, "fresh" the rest; no two share an image.
        size: How many of them; a smaller number means the first ones of the same.
        c: Weight of the distortion, >= 0.
        norm: "l1" (the sum), "l2" or "linf".
        targeted: Aim at one class rather than away from t0.
        target: That class; an image of that class aims at the next one. None for (t0 + 1) mod 10.
        exploring: Share of the episodes that start at a rotated, scaled and shifted copy of the image instead of the
            image, for training a policy; f stays the same.
        dtype: Of x and f. float32 carries smoothing >= 1e-3 well (TF32 would not, and is kept off on CUDA); float64 is
            about 3 times slower on "mnist".
        device: Where f is evaluated.

    Raises:
        TypeError, ValueError: An argument is not as described, or the split holds fewer images.
        ValueError, NotADirectoryError, FileNotFoundError: As `zo_gym.datasets.locate`.

    Reference:
        Anonymous (2022), eq. (9).
    """
    distortion, weight = lookup(NORMS, norm, "norm").value, check_at_least("c", c, 0.0)
    aim, share = _aim(targeted, target), check_at_least("exploring", exploring, 0.0)
    source = lookup(VICTIMS, victim, "victim")
    first, available = lookup(SPLITS, split, "split")
    count = check_integer("size", size, 1)
    if available is not None and count > available:
        raise ValueError(f"size must be <= {available}, the size of split '{split}', got {count}.")

    trained = load_victim(victim)
    pixels, classes = source.examples("test")
    chosen = _correct_images(trained, pixels, classes, first + count)[first:]
    if len(chosen) < count:
        raise ValueError(
            f"Split '{split}' of victim '{victim}' holds {len(chosen)} images: size must be <= {len(chosen)} "
            f"(image < {len(chosen)}), got size {count}."
        )
    images, labels = pixels[chosen].to(device, dtype), classes[chosen].to(device)
    targets = aim(labels) if targeted else None
    logits = classifier(trained.recipe, trained.weights, dtype=dtype, device=device)
    family = _family(f"{victim}_attack", (source.recipe.side,) * 2, logits, images, labels, targets, weight, distortion)
    family = replace(family, known=penalty(norm, weight, images))
    if share > 0:
        family = replace(family, initial=Starts(_exploring(family, images, source.recipe.side, share)))

    def predict(x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            confidence, label = torch.softmax(logits(x.clamp(0.0, 1.0)), dim=1).max(dim=1)
        return label, confidence

    return Attack(family, images, labels, targets, predict, trained)


def attack_loss(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """The first term of eq. (9), 0 where the attack succeeds.

    Args:
        logits: z, (n, 10).
        labels: t0, (n,).
        targets: t, (n,), for a targeted attack.

    Returns:
        max(z_t0 - max_{j != t0} z_j, 0), or targeted max(max_{j != t} z_j - z_t, 0); (n,).
    """
    own = (labels if targets is None else targets)[:, None]
    lead = logits.gather(1, own).squeeze(1) - logits.scatter(1, own, -math.inf).amax(dim=1)
    return torch.relu(lead if targets is None else -lead)


def _family(
    name: str,
    shape: tuple[int, int],
    logits: Objective,
    images: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    c: float,
    distortion: Objective,
) -> Family:
    def terms(x: Tensor, instances: Tensor) -> tuple[Tensor, Tensor]:  # (n, d), (n,) -> (n,), (n,)
        losses, distances = [], []
        for part, which in zip(torch.split(x, _CHUNK), torch.split(instances, _CHUNK), strict=True):
            adversarial = part.contiguous().clamp(0.0, 1.0)
            losses.append(attack_loss(logits(adversarial), labels[which], None if targets is None else targets[which]))
            distances.append(distortion(adversarial - images[which]))
        return torch.cat(losses), torch.cat(distances)

    def values(x: Tensor, instances: Tensor) -> Tensor:  # (eq. 9)
        loss, distance = terms(x, instances)
        return loss + c * distance

    def fun(points: Tensor, instances: Tensor) -> Tensor:  # (b, m, d), (b,) -> (b, m)
        b, m, d = points.shape
        return values(points.reshape(b * m, d), instances.repeat_interleave(m)).view(b, m)

    def gradient(x: Tensor, instances: Tensor) -> Tensor:  # (b, d), (b,) -> (b, d)
        with torch.enable_grad(), exact_convolutions():
            leaf = x.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(values(leaf, instances).sum(), leaf)
        return slope

    def measure(x: Tensor, instances: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            loss, distance = terms(x, instances)
        return {"margin": loss, "distortion": distance, "success": (loss == 0).to(loss)}

    def starts(instances: Tensor, generators: Generators) -> Tensor:  # x0 + 1e-4 N(0, I)
        noise = normal(generators, images.shape[1:], like=images.new_empty(0, dtype=torch.float64))
        return images[instances] + _START_STD * noise.to(images)

    return Family(
        name=name,
        dim=images.shape[1],
        size=len(images),
        fun=fun,
        initial=Starts(starts),
        gradient=gradient,
        measure=measure,
        context=torch.nn.functional.one_hot(labels if targets is None else targets, CLASSES).to(images),
        shape=shape,
        dtype=images.dtype,
        device=images.device,
    )


def _exploring(plain: Family, images: Tensor, side: int, share: float) -> Callable[[Tensor, Generators], Tensor]:
    """Starts of which this share is at distorted copies."""

    def make(instances: Tensor, generators: Generators) -> Tensor:
        starts = plain.starts(instances, generators)
        draws = torch.stack([torch.rand(6, generator=g, device=g.device) for g in generators])
        away = (draws[:, 0] < share).nonzero().squeeze(1)
        if not len(away):
            return starts
        at = images[instances[away]]
        return starts.index_copy(0, away, starts[away] - at + distorted(at, side, draws[away, 1:]))

    return make


def _aim(targeted: bool, target: int | None) -> Callable[[Tensor], Tensor]:
    """Labels (n,) -> targets (n,)."""
    if target is None:
        check_flag("targeted", targeted)
        return lambda labels: (labels + 1) % CLASSES
    if not check_flag("targeted", targeted):
        raise ValueError(
            f"target is for a targeted attack, got target {target} with targeted=False. Pass targeted=True."
        )
    wanted = check_integer("target", target, 0)
    if wanted >= CLASSES:
        raise ValueError(f"target must be a class from 0 to {CLASSES - 1}, got {wanted}.")
    return lambda labels: torch.where(labels == wanted, (labels + 1) % CLASSES, torch.full_like(labels, wanted))


def _correct_images(victim: Victim, images: Tensor, labels: Tensor, count: int) -> Tensor:
    """Indices of the first `count` images, in a fixed random order, that the victim classifies correctly.

    All of them where they are fewer. Judged on the CPU in float32, always: the choice depends on the victim alone.
    """
    logits = classifier(victim.recipe, victim.weights)
    order = torch.randperm(len(images), generator=make_generator(_ORDER_SEED))
    found: list[Tensor] = []
    for part in torch.split(order, _CHUNK // 4):
        found.append(part[logits(images[part]).argmax(dim=1) == labels[part]])
        if sum(map(len, found)) >= count:
            break
    return torch.cat(found)[:count]
