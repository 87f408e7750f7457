"""Flags that say how tokens are drawn, for binaries that generate.

sampler = sampler_of_flags(vocab_size)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

if TYPE_CHECKING:
    from gptjax.inference.sampling import Sampler

_TEMPERATURE = flags.DEFINE_float(
    "temperature",
    None,
    "Temperature of the draws. 0 takes the most probable token each time. By default it is 1.",
)
_TOP_K = flags.DEFINE_integer(
    "top_k", None, "Number of most probable tokens to draw from. By default all."
)
_TOP_P = flags.DEFINE_float(
    "top_p", None, "Total probability of the most probable tokens to draw from. By default 1."
)
_MIN_P = flags.DEFINE_float(
    "min_p", None, "Least probability of a token to draw, as a share of the greatest. By default 0."
)
_REPETITION = flags.DEFINE_float(
    "repetition_penalty",
    1.0,
    "Factor that makes tokens of the text less probable, where it is above 1.",
)
_PRESENCE = flags.DEFINE_float(
    "presence_penalty",
    0.0,
    "Number that is subtracted from the logit of each token that has been written.",
)
_FREQUENCY = flags.DEFINE_float(
    "frequency_penalty",
    0.0,
    "Number that is subtracted from a token's logit for each time it has been written.",
)
_BANNED = flags.DEFINE_multi_integer(
    "banned_token", [], "Id of a token that is never drawn. The flag may be given several times."
)


def sampling_of_flags() -> dict[str, Any]:
    """The numbers of the flags, as arguments of `make_sampler`; a temperature is 1 by default."""
    return {
        "temperature": 1.0 if _TEMPERATURE.value is None else _TEMPERATURE.value,
        "top_k": _TOP_K.value,
        "top_p": _TOP_P.value,
        "min_p": _MIN_P.value,
        "repetition_penalty": _REPETITION.value,
        "presence_penalty": _PRESENCE.value,
        "frequency_penalty": _FREQUENCY.value,
    }


def refuse_draws() -> None:
    """Refuses flags of draws beside a search by beams, which draws nothing."""
    given = [flag.name for flag in (_TEMPERATURE, _TOP_K, _TOP_P, _MIN_P) if flag.value is not None]
    if given:
        raise ValueError(f"--num_beams: got it with --{given[0]}, expected no sampling")


def sampler_of_flags(
    vocab_size: int, searching: bool = False, banned: Sequence[int] = ()
) -> "Sampler":
    """Makes the sampler that the flags describe.

    Args:
      vocab_size: of the model.
      searching: by beams, which draw nothing.
      banned: tokens that are never drawn, besides those of the flags.

    Raises:
      ValueError: values out of range, or that contradict each other.
    """
    from gptjax.inference.sampling import make_sampler

    options = sampling_of_flags()
    if searching:
        refuse_draws()
        options["temperature"] = 0.0
    return make_sampler(**options, banned_tokens=[*_BANNED.value, *banned], vocab_size=vocab_size)
