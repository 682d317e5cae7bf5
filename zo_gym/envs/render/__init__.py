"""Pictures for a person who watches an environment run: a `Picture` holds one run.

`figure`, `rgb_array` and `show` draw f and best f against queries; for d = 2 also the path on the contours of f, for an
image also original | difference | current. `ansi` writes text, without matplotlib. Only finite values are shown.
"""

from zo_gym.envs.render.canvas import close, figure, rgb_array, show
from zo_gym.envs.render.panels import BLUE, GREY, MAX_POINTS, ORANGE, VERMILLION
from zo_gym.envs.render.picture import BARS, Picture, ansi

__all__ = [
    "BARS",
    "BLUE",
    "GREY",
    "MAX_POINTS",
    "ORANGE",
    "VERMILLION",
    "Picture",
    "ansi",
    "close",
    "figure",
    "rgb_array",
    "show",
]
