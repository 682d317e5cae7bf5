"""Victims, the image classifiers that attacks are aimed at: trained here on first use, then kept in the cache.

"mnist" is the network of Ruan et al. (2019), "Learning to learn by zeroth-order oracle" (arXiv 1910.09464): conv 20 of
5 x 5, conv 50 of 5 x 5, fc 500, fc 10, trained on all 60,000 training images. "mnist_mlp" and "mnist_wide" are other
networks for the same images, so that a policy trained on one victim can be tried on another. "digits" is a small one
for scikit-learn's 8 x 8 digits, trained on 1,000 of them.

Training is seeded and runs on the CPU, so that the same machine makes the same weights again. Other machines round
otherwise and make slightly different ones, which is why a victim carries the sha256 of its weights.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from zo_gym.datasets import FILES, MNIST, cache_folder, load_digits, load_mnist
from zo_gym.files import write_atomically
from zo_gym.problems.attack.network import Recipe, Weights, classifier, fit
from zo_gym.registry import lookup
from zo_gym.rng import make_generator

_FORMAT = 1
"""Version of the code, a part of the cache file's name: raise it when the same recipe would make other weights."""
_DIGITS_TRAINING = 1000
"""Number of training images of "digits"; the other 797 are for tests."""
_LOG = logging.getLogger(__name__)


class Source(NamedTuple):
    """Holds what a victim is made from."""

    recipe: Recipe
    examples: Callable[[str], tuple[Tensor, Tensor]]
    """"train" or "test" -> images (n, d), float32 in [0, 1], and labels (n,), int64."""
    data_sha256: Callable[[], str]
    """Identifies the examples without reading them all."""


class Victim(NamedTuple):
    """Holds a trained classifier."""

    name: str
    recipe: Recipe
    weights: Weights
    accuracy: float
    """Share of the test images that it classifies correctly."""
    sha256: str
    """Checksum of the weights, in hex."""


def load_victim(name: str) -> Victim:
    """Load a victim, a key of `VICTIMS`, from the cache, or train it and put it there, a minute's work for "mnist".

    The cache is the subfolder "victims" of `$ZO_GYM_CACHE`, or of the user's cache; the file's name changes with the
    recipe and the data. A damaged file is replaced.

    Raises:
        ValueError, NotADirectoryError, FileNotFoundError: As `zo_gym.datasets.locate`, or no such victim.
    """
    source = lookup(VICTIMS, name, "victim")
    made_from = {**asdict(source.recipe), "data": source.data_sha256(), "format": _FORMAT}
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    path = cache_folder("victims") / f"{name}-{digest[:16]}.safetensors"
    if path.exists():
        try:
            return _read(path, name, source.recipe)
        except ValueError as error:
            warnings.warn(f"Victim '{name}' is trained again: {error}", RuntimeWarning, stacklevel=2)
    _LOG.info("Training the victim '%s' once; it is kept in %s.", name, path)
    victim = train(name, source)
    try:
        write_atomically(path, lambda temporary: _write(temporary, victim))
    except OSError as error:
        problem = f"could not be kept in {path} ({error}) and is trained anew next time. Set ZO_GYM_CACHE."
        warnings.warn(f"Victim '{name}' {problem}", RuntimeWarning, stacklevel=2)
    return victim


def train(name: str, source: Source) -> Victim:
    """Train the victim, whether the cache holds it or not."""
    weights = fit(source.recipe, *source.examples("train"))
    images, labels = source.examples("test")
    right = classifier(source.recipe, weights)(images).argmax(dim=1) == labels
    return Victim(name, source.recipe, weights, right.double().mean().item(), _sha256(weights.values()))


def _write(path: Path, victim: Victim) -> None:
    from safetensors.torch import save_file

    save_file(victim.weights, path, metadata={"accuracy": repr(victim.accuracy), "sha256": victim.sha256})


def _read(path: Path, name: str, recipe: Recipe) -> Victim:
    """Read the victim that `_write` wrote; raise ValueError where the file is damaged."""
    from safetensors import SafetensorError, safe_open

    names = [name for layer in recipe.shapes for name in (layer, f"{layer}.bias")]
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in names}
        accuracy, sha256 = float(metadata["accuracy"]), metadata["sha256"]
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}).") from error
    if _sha256(weights.values()) != sha256:
        raise ValueError(f"{path} is damaged: the sha256 of its weights must be {sha256}.")
    return Victim(name, recipe, weights, accuracy, sha256)


def _sha256(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _mnist_examples(split: str) -> tuple[Tensor, Tensor]:
    images, labels = load_mnist(split)
    return torch.from_numpy(images.reshape(len(images), -1)).float().div_(255.0), torch.from_numpy(labels)


def _digits_examples(split: str) -> tuple[Tensor, Tensor]:
    images, labels = (torch.from_numpy(array) for array in load_digits())
    order = torch.randperm(len(images), generator=make_generator(0))  # the file groups them by writer
    part = order[:_DIGITS_TRAINING] if split == "train" else order[_DIGITS_TRAINING:]
    return images[part].flatten(1).float(), labels[part]


_MNIST = _mnist_examples, lambda: " ".join(FILES[name].sha256 for files in MNIST.values() for name in files)
_DIGITS = _digits_examples, lambda: _sha256(part for split in ("train", "test") for part in _digits_examples(split))

VICTIMS: dict[str, Source] = {
    "mnist": Source(Recipe(28, (20, 50), hidden=500, epochs=2, learning_rate=4e-3), *_MNIST),
    "mnist_mlp": Source(Recipe(28, None, hidden=256, epochs=6, learning_rate=4e-3, kernel=0), *_MNIST),
    "mnist_wide": Source(Recipe(28, (32, 64), hidden=1024, epochs=1, learning_rate=2e-3, padding=2), *_MNIST),
    "digits": Source(Recipe(8, (16, 32), hidden=64, epochs=20, learning_rate=1e-2, padding=2, batch_size=32), *_DIGITS),
}
