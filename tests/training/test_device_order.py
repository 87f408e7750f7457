import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from gptjax.training.device_order import ordered


def _torus(x, y, z=1, kind="TPU v5 lite", slices=1):
    """TPUs by their coordinates, four on a host, a square of 2 x 2."""
    places = itertools.product(range(slices), range(z), range(y), range(x))
    return [
        SimpleNamespace(
            id=i,
            platform="tpu",
            device_kind=kind,
            coords=[a, b, c],
            core_on_chip=0,
            slice_index=s,
            process_index=((s * z + c) * (y // 2) + b // 2) * (x // 2) + a // 2,
        )
        for i, (s, c, b, a) in enumerate(places)
    ]


def _ids(devices):
    return np.vectorize(lambda device: device.id)(devices)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_devices_of_several_hosts_are_in_the_order_of_their_numbers(platform):
    devices = [SimpleNamespace(id=i, platform=platform, slice_index=i // 4) for i in range(8)]
    expected = np.arange(8).reshape(1, 4, 1, 2)
    np.testing.assert_array_equal(_ids(ordered(devices[::-1], (1, 4, 1, 2))), expected)


@pytest.mark.parametrize(
    ("torus", "shape"),
    [((4, 4), (1, 16, 1, 1)), ((4, 4), (2, 8, 1, 1)), ((2, 4, 4, "TPU v4"), (1, 4, 1, 8))],
)
def test_neighbours_in_the_innermost_axis_are_linked(torus, shape):
    devices = _torus(*torus)
    placed = ordered(devices, shape)
    assert sorted(_ids(placed).flat) == list(range(len(devices)))
    rows = placed.reshape(-1, max(shape[1], shape[3]) if shape[3] == 1 else shape[3])
    sizes = np.array([*torus[:2], torus[2] if len(torus) > 2 else 1])
    for row in rows:
        steps = [
            np.minimum(apart, sizes - apart).sum()
            for one, next_one in itertools.pairwise(row)
            for apart in [np.abs(np.subtract(one.coords, next_one.coords))]
        ]
        assert np.mean(steps) < 1.5


def test_the_first_axis_goes_over_slices():
    placed = ordered(_torus(4, 4, slices=2), (2, 16, 1, 1))
    assert [{device.slice_index for device in part.flat} for part in placed] == [{0}, {1}]
    with pytest.raises(ValueError, match=r"parallelism\.data: got 1, expected a multiple of 2, "):
        ordered(_torus(4, 4, slices=2), (1, 32, 1, 1))


def test_what_no_torus_can_be_divided_into_is_one_line():
    with pytest.raises(ValueError, match=r"^config.parallelism: got a mesh \(1, 3, 1, 5\), ") as e:
        ordered(_torus(4, 4)[:15], (1, 3, 1, 5))
    assert "\n" not in str(e.value)
