"""The public tables of runs."""

import csv

import numpy as np
import pytest


@pytest.fixture(scope="session")
def chinchilla(shared_data):
    """The 240 runs of Chinchilla's figure 4 that its replication fits: N, D and loss."""
    with open(shared_data / "scaling" / "chinchilla_svg_extracted_data.csv") as file:
        rows = list(csv.DictReader(file))
    parameters, flops, losses = (
        np.array([float(row[name]) for row in rows])
        for name in ("Model Size", "Training FLOP", "loss")
    )
    kept = np.argsort(losses)[:-5]  # the replication leaves out the five highest
    return parameters[kept], (flops / 6 / parameters)[kept], losses[kept]


@pytest.fixture(scope="session")
def models_104(shared_data):
    """The runs of Gadre et al. (arXiv 2403.08540), as rows of texts."""
    with open(shared_data / "scaling" / "gadre104.csv") as file:
        return list(csv.DictReader(file))
