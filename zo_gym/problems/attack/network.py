"""A small image classifier as plain functions over its weights, and its training.

The layers are conv - pool - relu - conv - pool - relu - fc - relu - fc, or fc - relu - fc; pools are 2 x 2 maxima.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zo_gym.batch_invariant import linear_map
from zo_gym.problem import Objective, in_chunks
from zo_gym.rng import make_generator

CLASSES = 10

Weights = dict[str, Tensor]
"""conv1, conv2 (out, in, k, k) where there are any, fc1, fc2 (out, in), and the bias (out,) of each under
"<layer>.bias"; float32."""


@dataclass(frozen=True)
class Recipe:
    """Describes an architecture and its training: Adam with a one-cycle learning rate on the cross-entropy.

    Attributes:
        side: Width and height of the images in pixels.
        channels: Numbers of filters of the two convolutions; None leaves these out: a perceptron with one hidden layer.
        hidden: Units of the first fully connected layer.
        epochs: Passes over the training images.
        learning_rate: The highest learning rate of the cycle.
        kernel: Width and height of the filters in pixels; 0 without convolutions.
        padding: Width of the border of zeros around the convolutions' inputs, in pixels.
        batch_size: Images in a training step.
        seed: Seeds the initial weights and the order of the images.
    """

    side: int
    channels: tuple[int, int] | None
    hidden: int
    epochs: int
    learning_rate: float
    kernel: int = 5
    padding: int = 0
    batch_size: int = 128
    seed: int = 0

    @property
    def widths(self) -> tuple[int, int]:
        """Return the side of the image that each convolution puts out, in pixels."""
        first = self.side + 2 * self.padding - self.kernel + 1
        return first, first // 2 + 2 * self.padding - self.kernel + 1

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each layer's weights, biases left out."""
        if self.channels is None:
            return {"fc1": (self.hidden, self.side**2), "fc2": (CLASSES, self.hidden)}
        first, second = self.channels
        return {
            "conv1": (first, 1, self.kernel, self.kernel),
            "conv2": (second, first, self.kernel, self.kernel),
            "fc1": (self.hidden, second * (self.widths[1] // 2) ** 2),
            "fc2": (CLASSES, self.hidden),
        }

    @property
    def most_numbers(self) -> int:
        """Return the most numbers that a layer puts out for one image."""
        if self.channels is None:
            return self.hidden
        return max(side**2 * channels for side, channels in zip(self.widths, self.channels, strict=True))


def classifier(
    recipe: Recipe, weights: Weights, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Objective:
    """Make the network as a function: images (n, d) -> logits (n, 10); autograd passes through it.

    On the CPU a row's logits do not depend on the other rows, since the fully connected layers are `LinearMap`s and
    convolutions go image by image. Rounding is the exception: where torch has several threads and one image, or, in
    float32, where oneDNN takes another kernel for another batch. On CUDA, too, float32 has its 24 bits
    (`exact_convolutions`). On the CPU it is about 3 times faster than float64.
    """
    placed = {key: _channels_last(value.to(device, dtype)) for key, value in weights.items()}
    products = {key: linear_map(placed[key]).apply for key in ("fc1", "fc2")}

    def compute(images: Tensor) -> Tensor:
        with exact_convolutions():
            return _logits(recipe, placed, lambda x, layer: products[layer](x), images)

    return in_chunks(compute, recipe.most_numbers)


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Keep the 24 bits of float32 in convolutions on CUDA, inside the context.

    By default torch lets them round to the 11 bits of TF32 where the GPU can, which changes f by more than a small step
    does: a difference along 1e-3 u would be mostly rounding. Matrix products keep their bits by default.
    """
    cudnn: Any = torch.backends.cudnn
    new = hasattr(cudnn, "conv")  # torch >= 2.9, which refuses to read the old flag once a new one was set
    flags, name, exact = (cudnn.conv, "fp32_precision", "ieee") if new else (cudnn, "allow_tf32", False)
    before = getattr(flags, name)
    setattr(flags, name, exact)
    try:
        yield
    finally:
        setattr(flags, name, before)


def fit(recipe: Recipe, images: Tensor, labels: Tensor) -> Weights:
    """Train the network on images (n, d), float32 in [0, 1], with labels (n,), int64; return its weights."""
    n, generator = len(images), make_generator(recipe.seed)
    weights = {key: value.requires_grad_() for key, value in _initial_weights(recipe, generator).items()}
    optimizer = torch.optim.Adam(weights.values(), lr=recipe.learning_rate)
    steps = recipe.epochs * (n // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps)
    with torch.enable_grad():
        for _ in range(recipe.epochs):  # each in a new order, its remainder left out
            order = torch.randperm(n, generator=generator)[: n - n % recipe.batch_size]
            for batch in torch.split(order, recipe.batch_size):
                logits = _logits(recipe, weights, lambda x, layer: x @ weights[layer].T, images[batch])
                optimizer.zero_grad()
                torch.autograd.backward(F.cross_entropy(logits, labels[batch]))
                optimizer.step()
                schedule.step()
    return {key: value.detach().contiguous() for key, value in weights.items()}


def _logits(recipe: Recipe, weights: Weights, product: Callable[[Tensor, str], Tensor], images: Tensor) -> Tensor:
    """Compute the logits (n, 10) of images (n, d); `product` multiplies rows by the matrix of a layer."""
    # With channels last, convolutions run twice as fast.
    x = images.reshape(-1, recipe.side, recipe.side, 1).permute(0, 3, 1, 2)
    for layer in [name for name in ("conv1", "conv2") if name in weights]:
        x = F.conv2d(x, weights[layer], weights[f"{layer}.bias"], padding=recipe.padding)
        x = F.relu(F.max_pool2d(x, 2))  # the same as relu before the pool, on a quarter of the numbers
    x = F.relu(product(x.flatten(1), "fc1") + weights["fc1.bias"])
    return product(x, "fc2") + weights["fc2.bias"]


def _initial_weights(recipe: Recipe, generator: torch.Generator) -> Weights:
    """Draw from U[-1, 1] / sqrt(inputs of a unit), biases too, as torch's own layers do by default."""
    weights: Weights = {}
    for layer, shape in recipe.shapes.items():
        for key, size in ((layer, shape), (f"{layer}.bias", shape[:1])):
            unit = torch.rand(size, generator=generator, dtype=torch.float32, device="cpu")
            weights[key] = _channels_last((2 * unit - 1) / math.sqrt(math.prod(shape[1:])))
    return weights


def _channels_last(weight: Tensor) -> Tensor:
    """Lay filters out so that convolutions are quicker; return other weights as they are."""
    return weight.contiguous(memory_format=torch.channels_last) if weight.ndim == 4 else weight
