"""Fields of requests that say how text is drawn, and the reply policies that they describe."""

from collections.abc import Mapping
from typing import Any

from gptjax.chat.replies import Beams, BestOf, ReplyPolicy, Sampling
from gptjax.serving.bodies.fields import Field
from gptjax.serving.errors import APIError
from gptjax.serving.served import Limits, Served

_NUMBER, _INTEGER = {"type": "number"}, {"type": "integer"}
COUNT = {**_INTEGER, "minimum": 1, "maximum": 2**31 - 1}

SAMPLING = (
    Field("model", {"type": "string"}, "Name of the model; the first one by default."),
    Field(
        "temperature",
        {**_NUMBER, "minimum": 0, "maximum": 2},
        "Temperature of the draws, 1 by default; 0 takes the most probable token each time.",
    ),
    Field(
        "top_p",
        {**_NUMBER, "minimum": 1e-6, "maximum": 1},
        "Share of probability of the most probable tokens to draw from.",
    ),
    Field("top_k", COUNT, "Ours: most probable tokens to draw from."),
    Field(
        "min_p",
        {**_NUMBER, "minimum": 0, "maximum": 0.999},
        "Ours: least probability of a token, as a share of the greatest.",
    ),
    Field(
        "repetition_penalty",
        {**_NUMBER, "minimum": 0.01, "maximum": 100},
        "Ours: factor against tokens of the text, prompt included.",
    ),
    Field(
        "presence_penalty",
        {**_NUMBER, "minimum": -2, "maximum": 2},
        "Taken from the logit of each token that has been written.",
    ),
    Field(
        "frequency_penalty",
        {**_NUMBER, "minimum": -2, "maximum": 2},
        "Taken from a token's logit for each time it has been written.",
    ),
    Field(
        "logit_bias",
        {
            "type": "object",
            "additionalProperties": {**_NUMBER, "minimum": -100, "maximum": 100},
        },
        "Token id -> number added to its logit; -100 bans it.",
    ),
    Field("n", {**_INTEGER, "minimum": 1, "maximum": 128}, "Number of answers, 1 by default."),
    Field(
        "best_of",
        {**_INTEGER, "minimum": 1, "maximum": 128},
        "Number of draws of which the best n are given: by rank_by, or the most probable a token.",
    ),
    Field("rank_by", {"type": "string"}, "Ours: the ranker that chooses among best_of draws."),
    Field("num_beams", {**_INTEGER, "minimum": 1, "maximum": 128}, "Ours: beams to search with."),
    Field(
        "length_penalty",
        {**_NUMBER, "minimum": -10, "maximum": 10},
        "Ours: exponent of the length in a beam's score.",
    ),
    Field(
        "stop",
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": 200},
                {
                    "type": "array",
                    "items": {"type": "string", "minLength": 1, "maxLength": 200},
                    "maxItems": 4,
                },
            ]
        },
        "Texts that end an answer; they are not in it.",
    ),
    Field(
        "seed",
        {**_INTEGER, "minimum": -(2**63), "maximum": 2**63 - 1},
        "Seed of the draws: equal requests with equal seeds have equal answers, whatever else "
        "runs. Without one, the answer says which was drawn.",
    ),
    Field("user", {"type": "string"}, "Who asks; it is not used."),
    Field("stream", {"type": "boolean"}, "Whether the answer comes as server-sent events."),
    Field(
        "stream_options",
        {
            "type": "object",
            "properties": {
                "include_usage": {"type": "boolean"},
                "include_obfuscation": {"type": "boolean", "enum": [False]},
            },
            "additionalProperties": False,
        },
        "include_usage: a last event without choices counts tokens.",
    ),
)

_SAMPLING_NAMES = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)
_DRAWS = ("temperature", "top_p", "top_k", "min_p")
_BANNED = -100


def policy_of(values: Mapping[str, Any], served: Served, limits: Limits) -> ReplyPolicy:
    """The reply policy that fields describe.

    Raises:
      APIError: fields that contradict each other, or more than the limits allow.
    """
    count = values.get("n", 1)
    at_once = min(limits.choices, served.model.generator.slots + limits.waiting)
    for name, most in (
        ("n", at_once),
        ("best_of", at_once),
        ("num_beams", limits.beams),
    ):
        if values.get(name, 1) > most:
            raise APIError(f"{name}: got {values[name]}, expected at most {most}", param=name)
    shared = {name: values[name] for name in _SAMPLING_NAMES if name in values}
    shared = {name: value for name, value in shared.items() if not _neutral(name, value)}
    shared["logit_bias"] = _biases(values.get("logit_bias", {}), served)
    if "num_beams" in values:
        return _beams(values, shared, count)
    if "length_penalty" in values:
        raise APIError("length_penalty: got it without num_beams, expected both", param="num_beams")
    if shared.get("temperature") == 0:
        shared = {name: x for name, x in shared.items() if name not in ("top_p", "top_k", "min_p")}
    sampling = Sampling(**shared)
    if "rank_by" not in values and "best_of" not in values:
        return sampling
    best_of = values.get("best_of", count)
    if best_of < count:
        raise APIError(f"best_of: got {best_of}, expected at least n, {count}", param="best_of")
    if "rank_by" not in values and best_of == count:
        return sampling
    if values.get("stream"):
        raise APIError(
            "stream: got it with best_of, whose answer is chosen in the end; expected one of them",
            param="stream",
        )
    return BestOf(best_of, values.get("rank_by"), sampling)


def _beams(values: Mapping[str, Any], shared: dict[str, Any], count: int) -> Beams:
    for name in ("best_of", "rank_by"):
        if name in values:
            raise APIError(f"{name}: got it with num_beams, expected one of them", param=name)
    for name in _DRAWS:
        neutral = name == "temperature" and values.get(name) in (0, 1)
        if name in shared and not neutral:
            raise APIError(f"{name}: got it with num_beams, which draw nothing", param=name)
        shared.pop(name, None)
    if count > values["num_beams"]:
        raise APIError(f"n: got {count}, expected at most num_beams", param="n")
    return Beams(values["num_beams"], values.get("length_penalty", 1.0), **shared)


def _neutral(name: str, value: Any) -> bool:
    """Whether a value is as if its field were absent."""
    return value == {"top_p": 1, "min_p": 0}.get(name)


def _biases(given: Mapping[str, float | None], served: Served) -> dict[int, float]:
    most, biases = served.model.config.vocab_size, {}
    for token, bias in given.items():
        if bias is None:
            continue
        if not token.isdecimal() or len(token) > 10 or int(token) >= most:
            raise APIError(
                f"logit_bias: got token {token[:20]!r}, expected an id of 0 to {most - 1}",
                param="logit_bias",
            )
        biases[int(token)] = float("-inf") if bias == _BANNED else float(bias)
    return biases


def check_stream_options(values: Mapping[str, Any]) -> None:
    """Raises APIError for options of a stream where none is asked for."""
    if "stream_options" in values and not values.get("stream"):
        raise APIError(
            "stream_options: got it without stream, expected both", param="stream_options"
        )


def stops(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts that end an answer."""
    stop = values.get("stop", ())
    return (stop,) if isinstance(stop, str) else tuple(stop)
