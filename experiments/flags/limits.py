"""Flags that say what a request to a server may ask for.

limits = serving.Limits(**limits_of_flags())
"""

from typing import Any

from absl import flags

_MAX_QUEUE = flags.DEFINE_integer(
    "max_queue", 64, "Number of requests of a model that may wait.", lower_bound=0
)
_MAX_BODY = flags.DEFINE_integer("max_body_bytes", 1 << 20, "Bytes of a request.", lower_bound=1)
_MAX_MESSAGES = flags.DEFINE_integer("max_messages", 500, "Messages of a request.", lower_bound=1)
_MAX_PROMPTS = flags.DEFINE_integer("max_prompts", 128, "Texts of a request.", lower_bound=1)
_MAX_PROMPT = flags.DEFINE_integer(
    "max_prompt_tokens", None, "Tokens of a prompt. By default the context.", lower_bound=1
)
_MAX_N = flags.DEFINE_integer("max_n", 16, "Choices of a request.", lower_bound=1)
_MAX_BEAMS = flags.DEFINE_integer("max_beams", 16, "Beams of a request.", lower_bound=1)
_MAX_SECONDS = flags.DEFINE_float("max_seconds", 600.0, "Seconds of a reply.", lower_bound=1.0)


def limits_of_flags() -> dict[str, Any]:
    """The fields of `serving.Limits`."""
    return {
        "body_bytes": _MAX_BODY.value,
        "messages": _MAX_MESSAGES.value,
        "prompts": _MAX_PROMPTS.value,
        "prompt_tokens": _MAX_PROMPT.value,
        "choices": _MAX_N.value,
        "beams": _MAX_BEAMS.value,
        "seconds": _MAX_SECONDS.value,
        "waiting": _MAX_QUEUE.value,
    }
