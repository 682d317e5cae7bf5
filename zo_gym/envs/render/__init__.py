"""Pictures for a person who watches an environment run: a `Picture` holds one run and is drawn in four ways.

- `figure` makes a matplotlib figure: always f and best f against queries; for d = 2 also the path on the contours of f;
  for an image also original | difference | current.
- `rgb_array` makes the same picture as pixels. The size depends only on which panels there are, as video writers need.
- `ansi` makes three lines of text; it needs no matplotlib.
- `show` and `close` keep the same picture in a window that does not block.

Values that are not finite are left out of every picture.
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
