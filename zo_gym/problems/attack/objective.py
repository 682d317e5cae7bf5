"""The objective of a black-box attack, eq. (9) of the paper, on given images and a given classifier.

    f(x) = max(z_t0(a) - max_{j != t0} z_j(a), 0) + c |a - x0|_p,    a = clip(x, 0, 1)

z are the victim's logits, x0 is the original image and t0 its label. x may leave the box, where f is flat.

Deviations. The paper's scores F are not specified; logits keep the first term from saturating, where probabilities
would make f flat around a confident prediction. Starts are x0 + 1e-4 N(0, I), as in Ruan et al. (2019): at x0 itself
the norm has a kink. The targeted form, max(max_{j != t} z_j - z_t, 0), is that of Carlini and Wagner (2017).

Augmentation gives a policy more starts to train at: rotated, scaled and shifted copies of the images; f stays the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from zo_gym.composite.norm_penalty import NORMS, norm_penalty
from zo_gym.problem import Generators, Objective, Problem
from zo_gym.problems.attack.network import CLASSES, exact_convolutions
from zo_gym.rng import normal

START_STD = 1e-4
"""Standard deviation of the noise on a start, in units of x (pixels in [0, 1])."""
CHUNK = 1000
"""Images evaluated at a time, which keeps temporaries at a few tens of MB at d = 784."""
ROTATION, SCALING, SHIFT = math.pi / 8, 0.2, 0.12
"""The most that an augmented start is turned, in radians, resized and shifted, as shares of the image's side."""


def attack_loss(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """Compute the first term of eq. (9), (n,), 0 where the attack succeeds.

    The logits are z, (n, 10), the labels t0, (n,), and the targets of a targeted attack t, (n,).
    """
    own = (labels if targets is None else targets)[:, None]
    lead = logits.gather(1, own).squeeze(1) - logits.scatter(1, own, -math.inf).amax(dim=1)
    return torch.relu(lead if targets is None else -lead)


@dataclass(frozen=True)
class AttackSetting:
    """Holds images and the classifier under attack, and computes f.

    Attributes:
        logits: Computes z (n, 10) of images (n, d).
        images: x0, (size, d), in [0, 1].
        labels: t0, int64 (size,).
        targets: t, int64 (size,); None for an untargeted attack.
        c: Weight of the distortion, >= 0, in logits per unit of the norm.
        norm: A key of `zo_gym.composite.norm_penalty.NORMS`.
        augmented_share: Share of the starts at distorted copies of the images.
    """

    logits: Objective
    images: Tensor
    labels: Tensor
    targets: Tensor | None
    c: float
    norm: str
    augmented_share: float

    def terms(self, x: Tensor, instances: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss (n,) and the distortion (n,) at x (n, d) for instances (n,)."""
        losses, distances = [], []
        for part, which in zip(torch.split(x, CHUNK), torch.split(instances, CHUNK), strict=True):
            adversarial = part.contiguous().clamp(0.0, 1.0)
            targets = None if self.targets is None else self.targets[which]
            losses.append(attack_loss(self.logits(adversarial), self.labels[which], targets))
            distances.append(NORMS[self.norm].value(adversarial - self.images[which]))
        return torch.cat(losses), torch.cat(distances)

    def fun(self, points: Tensor, instances: Tensor) -> Tensor:
        """Compute f (b, m) at points (b, m, d) for instances (b,)  (eq. 9)."""
        b, m, d = points.shape
        loss, distance = self.terms(points.reshape(b * m, d), instances.repeat_interleave(m))
        return (loss + self.c * distance).view(b, m)

    def gradient(self, x: Tensor, instances: Tensor) -> Tensor:
        """Compute grad f (b, d) at x (b, d) for instances (b,)."""
        with torch.enable_grad(), exact_convolutions():
            leaf = x.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(self.fun(leaf.unsqueeze(1), instances).sum(), leaf)
        return slope

    def measure(self, x: Tensor, instances: Tensor) -> dict[str, Tensor]:
        """Report loss ("margin"), distortion and success (1 where the loss is 0) at x (b, d), (b,) each."""
        with torch.no_grad():
            loss, distance = self.terms(x, instances)
        return {"margin": loss, "distortion": distance, "success": (loss == 0).to(loss)}

    def starts(self, instances: Tensor, generators: Generators) -> Tensor:
        """Draw x0 + 1e-4 N(0, I), (b, d), for instances (b,); or as much beside a distorted copy of x0."""
        x0 = self.images[instances]
        noise = normal(generators, x0.shape[1:], like=x0.new_empty(0, dtype=torch.float64))
        starts = x0 + START_STD * noise.to(x0)
        if self.augmented_share > 0:
            draws = torch.stack([torch.rand(6, generator=g, device=g.device) for g in generators])
            away = (draws[:, 0] < self.augmented_share).nonzero().squeeze(1)
            if len(away):
                copies = distorted(x0[away], draws[away, 1:])
                starts = starts.index_copy(0, away, starts[away] - x0[away] + copies)
        return starts

    def problem(self, name: str) -> Problem:
        """Make the problem whose instances are these images, which are square."""
        context = torch.nn.functional.one_hot(self.labels if self.targets is None else self.targets, CLASSES)
        side = math.isqrt(self.images.shape[1])
        return Problem(
            name=name,
            dim=self.images.shape[1],
            fun=self.fun,
            initial=self.starts,
            size=len(self.images),
            gradient=self.gradient,
            measure=self.measure,
            composite=norm_penalty(self.norm, self.c, self.images),
            context=context.to(self.images),
            shape=(side, side),
            dtype=self.images.dtype,
            device=self.images.device,
        )


def distorted(images: Tensor, draws: Tensor) -> Tensor:
    """Turn, resize and shift square images (b, d), b >= 1, with bilinear interpolation, each anew; (b, d).

    The draws, numbers from 0 to 1, (b, 5), place the turn, width, height and the two shifts within their bounds. Pixels
    from outside the image are 0.
    """
    side = math.isqrt(images.shape[1])
    a, b, c, dx, dy = (2 * draws.double() - 1).unbind(1)
    turn, width, height = ROTATION * a, 1 + SCALING * b, 1 + SCALING * c
    inverse = [turn.cos() / width, turn.sin() / height, 2 * SHIFT * dx, turn.sin() / width, turn.cos() / height]
    xx, xy, x0, yx, yy, y0 = (entry.view(-1, 1, 1).to(images) for entry in [*inverse, 2 * SHIFT * dy])
    middles = (2 * torch.arange(side, dtype=images.dtype, device=images.device) + 1) / side - 1
    x, y = middles.view(1, 1, side), middles.view(1, side, 1)  # of each pixel: the image spans [-1, 1] both ways
    across, down = xx * x - xy * y + x0, yx * x + yy * y + y0
    pictures = images.view(-1, 1, side, side)
    return grid_sample(pictures, torch.stack([across, down], dim=-1), align_corners=False).flatten(1)
