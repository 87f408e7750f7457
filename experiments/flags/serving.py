"""Flags that say what a request to a server may ask for, and what judges its texts.

limits = Limits(**limits_of_flags())
filters, moderator = judges_of_flags()
model = ChatModel.load(workdir, **generator_of_flags())
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from experiments.flags.paths import define_path

if TYPE_CHECKING:
    from gptjax.chat.filters.chain import FilterChain
    from gptjax.chat.moderation import Moderator

_MODERATION = define_path("moderation", None, "Run of the kind moderation, for /v1/moderations.")
_FILTERS = define_path("filters", None, "YAML file with the filters of what goes in and out.")

_SLOTS = flags.DEFINE_integer(
    "slots", 8, "Texts of a model that are written at once.", lower_bound=1
)
_KEPT = flags.DEFINE_integer(
    "kept_texts", 8, "Number of ended texts whose next turn reads its own tokens.", lower_bound=0
)
_MAX_QUEUE = flags.DEFINE_integer(
    "max_queue", 64, "Number of requests of a model that may wait.", lower_bound=0
)
_MAX_BODY = flags.DEFINE_integer("max_body_bytes", 1 << 20, "Bytes of a request.", lower_bound=1)
_MAX_MESSAGES = flags.DEFINE_integer("max_messages", 500, "Messages of a request.", lower_bound=1)
_MAX_PICTURES = flags.DEFINE_integer("max_pictures", 16, "Pictures of a request.", lower_bound=0)
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
        "pictures": _MAX_PICTURES.value,
        "prompts": _MAX_PROMPTS.value,
        "prompt_tokens": _MAX_PROMPT.value,
        "choices": _MAX_N.value,
        "beams": _MAX_BEAMS.value,
        "seconds": _MAX_SECONDS.value,
        "waiting": _MAX_QUEUE.value,
    }


def generator_of_flags() -> dict[str, Any]:
    """Arguments of a model's generator."""
    return {
        "slots": _SLOTS.value,
        "max_queue": _MAX_QUEUE.value,
        "kept_texts": _KEPT.value,
    }


def judges_of_flags() -> "tuple[FilterChain | None, Moderator | None]":
    """The filters and the classifier, each None where its flag is not given.

    Raises:
      ValueError: a file that cannot be read or a filter that is none, naming the flag; or a run
        that is no classifier.
    """
    from gptjax.chat.filters.chain import FilterChain
    from gptjax.chat.moderation import Moderator

    filters = None
    if _FILTERS.value is not None:
        try:
            filters = FilterChain.parse(Path(_FILTERS.value).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"--filters: {error}") from error
    moderator = None
    if _MODERATION.value is not None:
        moderator = Moderator.load(_MODERATION.value, "--moderation")
    return filters, moderator
