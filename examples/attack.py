"""Attack a classifier of 8 x 8 digits: change the label by a small change of the image."""

import numpy as np
import torch

import zo_gym

# Images that a small network classifies correctly. It is trained here on first use, which
# takes seconds, and only its outputs are used.
attacks = zo_gym.make_problem("digits_attack", split="validation", size=3)
print(f"{attacks.size} images of {attacks.dim} pixels")

for number in range(attacks.size):
    image = attacks.instance(number)  # the problem of attacking one of them

    # The policy was trained on other images. With composite=True the penalty c |a - x0|_1
    # and the box [0, 1] are taken from their formulas, which cost no queries.
    result = zo_gym.minimize(
        image,
        method="pretrained:digits-attack",
        composite=True,
        budget=100,
        seed=0,
    )

    x = torch.from_numpy(result.x)[None]
    found = image.measure(x, torch.tensor([0]))  # of instance 0, the only one
    start = image.start(torch.Generator().manual_seed(0)).numpy()
    changed = int((np.abs(result.x - start) > 0.05).sum())
    print(
        f"image {number}: loss {result.trace.fun[0]:.2f} -> {result.fun:.2f}",
        f"after {result.nfev} queries,",
        "fooled," if found["success"] else "not fooled,",
        f"{changed} pixels changed, L1 {float(found['distortion']):.2f}",
    )
