import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from gptjax.training.device_order import ordered


def _torus(x, y, z=1, kind="TPU v5 lite", slices=1):
    """TPUs by their coordinates; numbered host by host, each of which has a square of 2 x 2."""
    places = itertools.product(range(slices), range(z), range(y), range(x))
    devices = [
        SimpleNamespace(
            platform="tpu",
            device_kind=kind,
            coords=[a, b, c],
            core_on_chip=0,
            slice_index=s,
            process_index=((s * z + c) * (y // 2) + b // 2) * (x // 2) + a // 2,
        )
        for s, c, b, a in places
    ]
    devices.sort(key=lambda device: device.process_index)
    for number, device in enumerate(devices):
        device.id = number
    return devices


def _ids(devices):
    return np.vectorize(lambda device: device.id)(devices)


def _links(devices, torus):
    """Mean number of links from a device to the next one, round each axis of a mesh."""
    coords = np.array([device.coords for device in devices.flat]).reshape(*devices.shape, 3)
    means = []
    for axis, size in enumerate(devices.shape):
        apart = np.abs(coords - np.roll(coords, 1, axis))
        means.append(np.minimum(apart, torus - apart).sum(-1).mean() if size > 1 else 0.0)
    return means


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_devices_of_several_hosts_are_in_the_order_of_their_numbers(platform):
    devices = [SimpleNamespace(id=i, platform=platform, slice_index=i // 4) for i in range(8)]
    expected = np.arange(8).reshape(1, 4, 1, 2)
    np.testing.assert_array_equal(_ids(ordered(devices[::-1], (1, 4, 1, 2))), expected)


@pytest.mark.parametrize(
    ("torus", "kind", "shape", "links"),
    [
        ((4, 4, 1), "TPU v5 lite", (1, 16, 1, 1), [0, 1, 0, 0]),  # one ring through all
        ((4, 4, 1), "TPU v5 lite", (1, 4, 1, 4), [0, 1, 0, 1]),
        ((2, 4, 4), "TPU v4", (1, 4, 1, 8), [0, 1, 0, 10 / 8]),  # a plane of 2 x 4, row by row
    ],
)
def test_neighbours_in_an_axis_are_linked(torus, kind, shape, links):
    """As by the numbers of the devices they would not be."""
    devices = _torus(*torus, kind)
    placed = ordered(devices, shape)
    assert sorted(_ids(placed).flat) == list(range(len(devices)))
    assert _links(placed, torus) == links
    by_number = _links(np.array(devices).reshape(shape), torus)
    assert any(far > near for far, near in zip(by_number, links, strict=True))


def test_the_first_axis_goes_over_slices():
    placed = ordered(_torus(4, 4, slices=2), (2, 16, 1, 1))
    assert [{device.slice_index for device in part.flat} for part in placed] == [{0}, {1}]
    with pytest.raises(ValueError, match=r"parallelism\.data: got 1, expected a multiple of 2, "):
        ordered(_torus(4, 4, slices=2), (1, 32, 1, 1))


def test_what_no_torus_can_be_divided_into_is_one_line():
    with pytest.raises(ValueError, match=r"^config.parallelism: got a mesh \(1, 3, 1, 5\), ") as e:
        ordered(_torus(4, 4)[:15], (1, 3, 1, 5))
    assert "\n" not in str(e.value)
