"""The objective of a black-box attack, eq. (9) of the paper, on given images and a given classifier.

    f(x) = max(z_t0(a) - max_{j != t0} z_j(a), 0) + c |a - x0|_p,    a = clip(x, 0, 1)

z are the victim's logits, x0 is the original image and t0 its label. x itself is not clipped: a method may leave the
box, where f is flat.

Deviations. The paper's scores F are not specified; logits keep the first term from saturating, where probabilities
would make f flat around a confident prediction. Starts are x0 + 1e-4 N(0, I), as in Ruan et al. (2019): at x0 itself
the norm has a kink. The targeted form, max(max_{j != t} z_j - z_t, 0), is that of Carlini and Wagner (2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zo_gym.composite.norm_penalty import NORMS, norm_penalty
from zo_gym.problem import Generators, Objective, Problem
from zo_gym.problems.attack.network import CLASSES, exact_convolutions
from zo_gym.rng import normal

START_STD = 1e-4
"""Standard deviation of the noise on a start, in units of x (pixels in [0, 1])."""
CHUNK = 1000
"""Images evaluated at a time, which keeps temporaries at a few tens of MB at d = 784."""


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
    """

    logits: Objective
    images: Tensor
    labels: Tensor
    targets: Tensor | None
    c: float
    norm: str

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
        """Draw x0 + 1e-4 N(0, I), (b, d), for instances (b,)."""
        noise = normal(generators, self.images.shape[1:], like=self.images.new_empty(0, dtype=torch.float64))
        return self.images[instances] + START_STD * noise.to(self.images)

    def problem(self, name: str, shape: tuple[int, int]) -> Problem:
        """Make the problem whose instances are these images, of this shape (H, W)."""
        context = torch.nn.functional.one_hot(self.labels if self.targets is None else self.targets, CLASSES)
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
            shape=shape,
            dtype=self.images.dtype,
            device=self.images.device,
        )
