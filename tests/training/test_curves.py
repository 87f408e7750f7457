import json

import numpy as np
import pytest
from matplotlib import image

from gptjax.training.reporting import curves
from gptjax.training.reporting.curves import Picture, plot_curves

LOSS = (("loss", "loss (nats per token)"),)


def test_a_loss_curve_is_a_picture_of_the_rows(tmp_path):
    def draw(rows):
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        plot_curves(tmp_path / "metrics.jsonl", tmp_path / "loss.png", "gpt2_smoke", LOSS)
        return image.imread(tmp_path / "loss.png")

    training = [{"step": step, "loss": 4.0 - step / 50} for step in range(1, 100)]
    evaluation = {"step": 50, "split": "validation", "loss": 3.5, "bits_per_byte": 1.75}
    pictures = [draw([]), draw(training[:1]), draw(training), draw([*training, evaluation])]
    assert len({picture.shape for picture in pictures}) == 1
    assert pictures[0].shape[0] >= 800
    inks = [(picture[..., :3].min(axis=-1) < 0.9).sum() for picture in pictures]
    assert inks[0] < inks[1] < inks[2]
    orange = (np.abs(pictures[3][..., :3] - (1.0, 0.498, 0.055)) < 0.02).all(axis=-1)
    assert orange.any()
    draw([{"step": 1, "loss": None}, evaluation])


@pytest.mark.slow
def test_a_policy_has_a_panel_for_each_figure(tmp_path):
    """Each of its own figure: the ink of a panel is there only where the rows have it."""

    def panels(*names):
        rows = [{"step": step, **dict.fromkeys(names, step**2)} for step in range(9)]
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        path, chosen = tmp_path / "score.png", (("score", "score"), ("kl", "KL"))
        plot_curves(tmp_path / "metrics.jsonl", path, "ppo", chosen)
        blue = (np.abs(image.imread(path)[..., :3] - (0.122, 0.467, 0.706)) < 0.02).all(axis=-1)
        return [bool(half.any()) for half in np.split(blue, [len(blue) // 2])]

    assert panels("score", "kl") == [True, True]
    assert panels("score") == [True, False] and panels("kl") == [False, True]
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".new"] == []


def test_a_picture_is_redrawn_now_and_then(monkeypatch):
    now, drawn = [0.0], []
    monkeypatch.setattr(curves, "plot_curves", lambda *_: drawn.append(now[0]))
    picture = Picture("metrics.jsonl", "loss.png", "tiny", LOSS, clock=lambda: now[0])
    for now[0] in (1.0, 16.0, 17.0, 40.0):
        picture.redraw()
    assert drawn == [16.0, 40.0]
