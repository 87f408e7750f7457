"""A net of nine pixels that can be understood whole (docs/symbols.md): gradients written by hand.

Symbols (solid, vertical, diagonal, horizontal) of 3 x 3 pixels of -1 or 1; two hidden layers that
are squashed to -1..1, four outputs to 0..1; weights in -1..1. Noise flips a pixel with probability
0.1. Each step shows all 512 images, each as often as noise makes it.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from experiments.flags.command_line import run
from experiments.flags.paths import define_path

_OUTPUT = define_path("output", "symbols.png", "Picture to write.")
SIZES, NOISE, STEPS, RATE = (9, 10, 4, 4), 0.1, 4000, 1.0

# Ten exact symbols: all off, all on; three columns; two diagonals; three rows.
_lines = np.eye(3)
_columns = [np.tile(line, (3, 1)) for line in _lines]
_on = [0 * _lines, 0 * _lines + 1, *_columns, _lines, _lines[::-1], *(c.T for c in _columns)]
EXACT = 2 * np.reshape(_on, (10, 9)) - 1
LABELS = np.array([0, 0, 1, 1, 1, 2, 2, 3, 3, 3])
IMAGES = 2.0 * (np.arange(512)[:, None] >> np.arange(9) & 1) - 1  # [512, 9]: all that there are
_flips = (IMAGES[:, None] != EXACT).sum(-1)  # [512, 10]
_noisy = NOISE**_flips * (1 - NOISE) ** (9 - _flips)
CHANCE = np.stack([_noisy[:, c == LABELS].mean(1) for c in range(4)], 1) / 4  # [512, 4], sum 1


def initial(seed=0):
    """Weights of each layer, evenly from -1 to 1; the last row is added whatever the input."""
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, (n + 1, m)) for n, m in itertools.pairwise(SIZES)]


def by_hand():
    """Weights that a person can find: a unit for each exact symbol, then one for each class."""
    find = np.vstack([EXACT.T / 6, -np.ones(10)])  # above 0 where 8 or 9 pixels match
    collect = np.vstack([np.eye(4)[LABELS], [0, 0.5, 0, 0.5]])  # is one of mine there?
    return [find, collect, np.eye(5, 4)]


def forward(weights, images):
    """What every layer says, from the pixels to the probabilities of the four symbols."""
    layers, total = [images], images
    for w in weights:
        layers.append(np.tanh(total := layers[-1] @ w[:-1] + w[-1]))
    return [*layers[:-1], np.exp(total) / np.exp(total).sum(1, keepdims=True)]


def loss_of(weights):
    """Surprise at the right symbol, in nats: its mean over noisy images."""
    return -(CHANCE * np.log(forward(weights, IMAGES)[-1])).sum()


def gradients(weights):
    """How the loss moves with each weight: the chain rule, from the last layer to the first."""
    layers, found = forward(weights, IMAGES), []
    blame = layers[-1] * CHANCE.sum(1, keepdims=True) - CHANCE  # of the sums before the softmax
    for w, below in zip(reversed(weights), reversed(layers[:-1]), strict=True):
        found.insert(0, np.vstack([below.T @ blame, blame.sum(0)]))
        blame = (blame @ w[:-1].T) * (1 - below**2)  # tanh' = 1 - tanh^2
    return found


def learn(weights, steps=STEPS):
    """Goes downhill: moves each weight against its gradient, never beyond -1..1."""
    for _ in range(steps):
        slopes = zip(weights, gradients(weights), strict=True)
        weights = [np.clip(w - RATE * slope, -1, 1) for w, slope in slopes]
    return weights


def main(argv: Sequence[str]) -> None:
    """Trains, prints what the nets can do, and draws what their units see and their weights."""
    from matplotlib.figure import Figure

    moved, before = initial(), initial()
    moved[0][4, 0] += 1e-6
    slope, written = (loss_of(moved) - loss_of(before)) / 1e-6, gradients(before)[0][4, 0]
    print(f"gradient of one weight: {slope:.6f} by moving it, {written:.6f} by the chain rule")
    figure = Figure(figsize=(19, 6), dpi=80, layout="constrained")
    nets = {"before": before, "learned": learn(before), "by hand": by_hand()}
    for row, (name, weights) in zip(figure.subplots(3, 16), nets.items(), strict=True):
        *_, deep, said = forward(weights, IMAGES)
        right = CHANCE[np.arange(512), said.argmax(1)].sum()
        exact = (forward(weights, EXACT)[-1].argmax(1) == LABELS).sum()
        print(f"{name}: loss {loss_of(weights):.3f}, {right:.2%} right, {exact} of 10 exact ones")
        sees = [*weights[0][:-1].T, *IMAGES[deep.argmax(0)]]  # a deep unit: what excites it most
        for i, picture in enumerate([*np.reshape(sees, (14, 3, 3)), *weights[1:]]):
            row[i].imshow(picture, cmap="RdBu", vmin=-1, vmax=1)
            title = f"unit {i + 1}" if i < 10 else f"deep {i - 9}" if i < 14 else "weights"
            row[i].set(xticks=[], yticks=[], title=title, ylabel=name if i == 0 else "")
    print(f"best possible with this noise: {CHANCE.max(1).sum():.2%} right")
    figure.savefig(_OUTPUT.value)


if __name__ == "__main__":
    run(main)
