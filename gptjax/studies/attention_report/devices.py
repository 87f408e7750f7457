"""Which implementation computes a pattern on a device, which need not be at hand, and why.

rows = device_choices(parse("strided(stride=128)")[0], 8192)
"""

from typing import Any

from gptjax.attention import Pattern
from gptjax.attention.choices import choices
from gptjax.attention.device import Device
from gptjax.studies.attention_report.costs import HEAD_DIM

# By the names of columns; each with what its kernels are given.
DEVICES = {
    "CPU, float32": (Device("cpu"), "float32"),
    "H100, bfloat16": (Device("gpu", "9.0"), "bfloat16"),
    "TPU, bfloat16": (Device("tpu"), "bfloat16"),
}


def device_choices(pattern: Pattern, length: int) -> list[dict[str, Any]]:
    """What "auto" stands for in a decoder, of one text and heads of HEAD_DIM, on each device.

    Returns:
      A row for each of DEVICES: `device`, the `implementations` that are taken, one for each
      pattern that heads have, and `reasons`; no implementation where the pattern is not for this
      length.
    """
    rows = []
    try:
        pattern.check(length)
    except ValueError as error:
        refused = {"implementations": [], "reasons": [f"{pattern}: {error}"]}
        return [{"device": name, **refused} for name in DEVICES]
    for name, (device, dtype) in DEVICES.items():
        made = choices(pattern, device, length, HEAD_DIM, dtype)
        rows.append(
            {
                "device": name,
                "implementations": list(dict.fromkeys(each.name for each in made)),
                "reasons": list(dict.fromkeys(f"{each.pattern}: {each}" for each in made)),
            }
        )
    return rows
