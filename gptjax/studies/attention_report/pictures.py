"""Pictures of patterns: which pairs may attend, and which blocks are empty, partial and full.

draw([pattern], "band.png", panel=640)
draw(patterns, "all.png", panel=320, columns=4)
"""

import os
import re
from collections.abc import Sequence

import numpy as np

from gptjax.attention import Pattern
from gptjax.attention.blocks import EMPTY, FULL, PARTIAL, block_map
from gptjax.attention.patterns import in_order

# Lengths that divide a panel's pixels evenly: the small ones show few pairs, large.
PAIRS_SHOWN = (64, 160, 320)
BLOCKS_SHOWN, BLOCK = 64, 128
COLOURS = {EMPTY: "#eef1f4", PARTIAL: "#6fa8dc", FULL: "#0b3d78"}
DPI = 100


def pairs(pattern: Pattern) -> np.ndarray:
    """The share of heads in which a pair may attend: float [T, T], 0 to 1.

    T is the least of PAIRS_SHOWN that is three times the largest number in the pattern, if any is.
    """
    numbers = [int(number) for number in re.findall(r"\d+", str(pattern))]
    enough = [length for length in PAIRS_SHOWN if length >= 3 * max(numbers, default=0)]
    length = min(enough, default=PAIRS_SHOWN[-1])
    q_pos, k_pos = np.arange(length)[:, None], np.arange(length)[None]
    parts = [part(q_pos, k_pos) for part in in_order(pattern).per_head()]
    return np.mean([np.broadcast_to(part, (length, length)) for part in parts], axis=0)


def blocks(pattern: Pattern) -> np.ndarray:
    """The kinds of blocks of BLOCK positions, float [BLOCKS_SHOWN] * 2: the mean over heads."""
    length = BLOCKS_SHOWN * BLOCK
    maps = [block_map(p, length, length, BLOCK, BLOCK) for p in in_order(pattern).per_head()]
    return np.mean(maps, axis=0)


def draw_patterns(
    patterns: Sequence[Pattern], path: str | os.PathLike[str], *, panel: int, columns: int = 1
) -> None:
    """Draws patterns in a grid, each as pairs and as blocks side by side.

    Args:
      patterns: causality is added.
      path: PNG to write.
      panel: pixels on a side of a square, a multiple of 320.
      columns: of the grid.
    """
    # Takes 1 s, and more where its font cache is built.
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    size = 7 + panel / 160  # of letters, in points
    line = round(1.8 * size * DPI / 72)
    cell_width, cell_height = 2 * panel + 5 * line, panel + 5 * line
    rows = -(-len(patterns) // columns)
    width, height = columns * cell_width, rows * cell_height + 2 * line
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    colours = LinearSegmentedColormap.from_list("kinds", [COLOURS[k] for k in sorted(COLOURS)])
    grey = {"fontsize": size, "color": "#444444"}

    def square(image: np.ndarray, left: int, top: int, most: float, title: str) -> None:
        box = (left / width, 1 - (top + panel) / height, panel / width, panel / height)
        axes = figure.add_axes(box, xticks=[], yticks=[])
        axes.imshow(image, cmap=colours, vmin=EMPTY, vmax=most, interpolation="nearest")
        axes.set_title(title, **grey)
        axes.set_xlabel("key", **grey)
        axes.set_ylabel("query", **grey)
        axes.spines[:].set_color("#b0b6bd")

    letters = int(cell_width / (0.85 * size))  # that fit into a title
    for place, pattern in enumerate(patterns):
        left, top = place % columns * cell_width + 2 * line, place // columns * cell_height
        text, pair_image = str(pattern), pairs(pattern)
        text = text if len(text) <= letters else f"{text[: letters - 1]}…"
        middle = (left + panel + line) / width
        figure.text(middle, 1 - (top + 1.5 * line) / height, text, ha="center", fontsize=size + 2)
        top += 3 * line
        square(pair_image, left, top, 1, f"pairs of {len(pair_image)} positions")
        title = f"blocks of {BLOCK} in {BLOCKS_SHOWN * BLOCK:,} positions"
        square(blocks(pattern), left + panel + 2 * line, top, FULL, title)
    meanings = {EMPTY: "none may attend", PARTIAL: "some", FULL: "all"}
    patches = [Patch(color=COLOURS[kind], label=text) for kind, text in meanings.items()]
    figure.legend(handles=patches, loc="lower center", ncols=3, frameon=False, fontsize=size + 1)
    figure.savefig(path)
