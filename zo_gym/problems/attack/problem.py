"""Attacks on the built-in victims, the paper's second experiment (section 4.2). One image is one instance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zo_gym.checks import check_at_least, check_flag, check_integer
from zo_gym.composite.norm_penalty import NORMS
from zo_gym.problem import Problem
from zo_gym.problems.attack.network import CLASSES, classifier
from zo_gym.problems.attack.objective import CHUNK, AttackSetting
from zo_gym.problems.attack.victim import VICTIMS, Victim, load_victim
from zo_gym.registry import lookup, reject_unknown
from zo_gym.rng import make_generator

SPLITS: dict[str, tuple[int, int | None]] = {
    "train": (0, 50),
    "test": (50, 50),
    "validation": (100, 100),
    "fresh": (200, None),
}
"""Name -> its first image and size (None: the rest), among correctly classified test images in a fixed order."""


@dataclass(frozen=True)
class AttackOptions:
    """Chooses which images are attacked, and how.

    Attributes:
        split: "train" and "test" hold 50 images each, "validation" 100, "fresh" the rest; no two share an image.
        size: How many images of the split; a smaller number means the first ones of the same.
        c: Weight of the distortion, >= 0.
        norm: "l1" (the sum), "l2" or "linf".
        targeted: Aim at one class rather than away from t0.
        target: That class; an image of that class aims at the next one. None for (t0 + 1) mod 10.
        augmented_share: Share of the episodes that start at a rotated, scaled and shifted copy of the image instead of
            the image, for training a policy; f stays the same.
        dtype: Floating type of x and f. float32 carries smoothing >= 1e-3 well (TF32 would not, and is kept off on
            CUDA); float64 is about 3 times slower on "mnist".
        device: Where f is evaluated.
    """

    split: str = "train"
    size: int = 50
    c: float = 0.1
    norm: str = "l1"
    targeted: bool = False
    target: int | None = None
    augmented_share: float = 0.0
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        """Raise TypeError or ValueError where an option is not as described."""
        lookup(NORMS, self.norm, "norm")
        _, available = lookup(SPLITS, self.split, "split")
        check_at_least("c", self.c, 0.0)
        check_at_least("augmented_share", self.augmented_share, 0.0)
        size, aimed = check_integer("size", self.size, 1), check_flag("targeted", self.targeted)
        if available is not None and size > available:
            raise ValueError(f"size must be <= {available}, the size of split '{self.split}', got {self.size}.")
        if self.target is None:
            return
        if not aimed:
            raise ValueError(
                f"target is for a targeted attack, got target {self.target} with targeted=False. Pass targeted=True."
            )
        if check_integer("target", self.target, 0) >= CLASSES:
            raise ValueError(f"target must be a class from 0 to {CLASSES - 1}, got {self.target}.")

    def targets(self, labels: Tensor) -> Tensor | None:
        """Return the class that each image aims at, int64 (n,), for labels (n,); None for an untargeted attack."""
        if not self.targeted:
            return None
        following = (labels + 1) % CLASSES
        if self.target is None:
            return following
        return torch.where(labels == self.target, following, torch.full_like(labels, self.target))


class Attack(NamedTuple):
    """Holds an attack and what a gallery shows of it."""

    problem: Problem
    """One instance per image."""
    images: Tensor
    """x0, (size, d), in [0, 1]."""
    labels: Tensor
    """t0, int64 (size,); the victim predicts all of them correctly."""
    targets: Tensor | None
    """t, int64 (size,), the classes aimed at; None for an untargeted attack."""
    predict: Callable[[Tensor], tuple[Tensor, Tensor]]
    """x (n, d) -> the class that the victim predicts for clip(x, 0, 1), (n,), and its softmax probability, (n,)."""
    victim: Victim


def attack(victim: str, /, **options: Any) -> Problem:
    """Make the problem alone of `attack_on`; the options are those of `AttackOptions`, others raise TypeError."""
    name = f"{victim}_attack"
    if "image" in options:
        image = options["image"]
        raise TypeError(f"problem '{name}' takes no option image=, got {image!r}. Use the name '{name}[{image}]'.")
    reject_unknown(options, [item.name for item in fields(AttackOptions)], f"problem '{name}'")
    return attack_on(victim, AttackOptions(**options)).problem


def attack_on_image(victim: str, image: int, /, **options: Any) -> Problem:
    """Make the problem of one image of a split, with the options of `attack`; one beyond it raises ValueError."""
    split = options.get("split", "train")
    _, available = lookup(SPLITS, split, "split")
    most = options.get("size", available)
    if most is not None and image >= most:
        raise ValueError(
            f"image must be < {most}, the size of split '{split}', got {image}. Lower it, or change split=."
        )
    found = attack(victim, **{"size": image + 1, **options})
    return replace(found.subset([image]), name=f"{found.name}[{image}]")


def attack_on(victim: str, options: AttackOptions = AttackOptions()) -> Attack:
    """Attack test images that the victim classifies correctly.

    Args:
        victim: "mnist" (d = 784, needs the MNIST files and on first use a minute of training), "mnist_mlp" or
            "mnist_wide" (other networks on the same data), or "digits" (d = 64).
        options: Chooses the images and the objective.

    Raises:
        ValueError: The victim is unknown, or the split holds fewer images.
        ValueError, NotADirectoryError, FileNotFoundError: As `load_victim`.

    Reference: Anonymous (2022), eq. (9).
    """
    source = lookup(VICTIMS, victim, "victim")
    first, _ = SPLITS[options.split]
    trained = load_victim(victim)
    pixels, classes = source.examples("test")
    chosen = _correct_images(trained, pixels, classes, first + options.size)[first:]
    if len(chosen) < options.size:
        raise ValueError(
            f"size must be <= {len(chosen)}, the size of split '{options.split}' for '{victim}', got {options.size}."
        )
    images, labels = pixels[chosen].to(options.device, options.dtype), classes[chosen].to(options.device)
    logits = classifier(trained.recipe, trained.weights, dtype=options.dtype, device=options.device)
    setting = AttackSetting(
        logits, images, labels, options.targets(labels), float(options.c), options.norm, options.augmented_share
    )

    def predict(x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            confidence, label = torch.softmax(logits(x.clamp(0.0, 1.0)), dim=1).max(dim=1)
        return label, confidence

    return Attack(setting.problem(f"{victim}_attack"), images, labels, setting.targets, predict, trained)


def _correct_images(victim: Victim, images: Tensor, labels: Tensor, count: int) -> Tensor:
    """Find the first `count` images, in a fixed random order, that the victim classifies correctly; their indices.

    Where they are fewer it returns all. The choice depends on the victim alone, which runs on the CPU in float32.
    """
    logits = classifier(victim.recipe, victim.weights)
    order = torch.randperm(len(images), generator=make_generator(0))
    found: list[Tensor] = []
    for part in torch.split(order, CHUNK // 4):
        found.append(part[logits(images[part]).argmax(dim=1) == labels[part]])
        if sum(map(len, found)) >= count:
            break
    return torch.cat(found)[:count]
