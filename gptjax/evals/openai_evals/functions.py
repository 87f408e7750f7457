"""Completion functions by name.

    functions = Functions(registry, options={"temperature": 0})
    model = functions("python:mine:answer")

A name is one of

    WORKDIR                    a run of ours, see `our_runs`
    http://HOST:PORT/v1#MODEL  a server with OpenAI's interface, see `endpoint`
    python:MODULE:FUNCTION     a function (prompt, **arguments) -> text, of messages or text
    dummy                      the same answer to all
    NAME                       an entry under completion_fns/ of a registry, or, where
                               OPENAI_API_KEY or OPENAI_BASE_URL is set, a model of that server
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptjax.evals.openai_evals.completion import DUMMY, CompletionFunction, PythonFunction
from gptjax.evals.openai_evals.endpoint import Endpoint
from gptjax.evals.openai_evals.our_runs import our_run
from gptjax.evals.openai_evals.registry import Registry, resolved, unknown
from gptjax.registry import user_function, with_home

_OPENAI = "https://api.openai.com/v1"
_TEXT_MODELS = ("gpt-3.5-turbo-instruct", "gpt-4-base", "davinci", "babbage", "text-")
_CLASSES = {
    "evals.completion_fns.openai:OpenAIChatCompletionFn": "chat/completions",
    "evals.completion_fns.openai:OpenAICompletionFn": "completions",
    "evals:OpenAIChatCompletionFn": "chat/completions",
    "evals:OpenAICompletionFn": "completions",
}


class Functions:
    """Makes completion functions by name, each once."""

    def __init__(self, registry: Registry, options: Mapping[str, Any], seed: int = 0):
        """Makes none yet.

        Args:
          registry: of named ones.
          options: of --completion_args, by name.
          seed: of the answers that a run of ours draws.
        """
        self._registry, self._options, self._seed = registry, dict(options), seed
        self._made: dict[str, CompletionFunction] = {}

    def __call__(self, name: str) -> CompletionFunction:
        """The completion function of that name; ValueError where there is none."""
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> CompletionFunction:
        options = dict(self._options)
        if name == "dummy":
            return PythonFunction(name, lambda prompt, **arguments: DUMMY)
        if name.startswith("python:"):
            location = name.removeprefix("python:")
            function = user_function("completion_fn", location, "(prompt, **arguments) -> text")
            return PythonFunction(name, function, options)
        if name.startswith(("http://", "https://")):
            return Endpoint(name, options)
        if name in self._registry.completion_fns:
            return self._registered(name, options)
        if (Path(with_home(name)) / "config.json").is_file():
            return our_run(with_home(name), options, self._seed)
        if "OPENAI_API_KEY" in os.environ or "OPENAI_BASE_URL" in os.environ:
            base = os.environ.get("OPENAI_BASE_URL", _OPENAI).rstrip("/")
            kind = "completions" if name.startswith(_TEXT_MODELS) else "chat/completions"
            return Endpoint(f"{base}/{kind}#{name}", options)
        if self._registry.completion_fns:
            nearest = str(unknown("completion_fn", name, self._registry.completion_fns))
            hint = nearest.partition("(")[2].partition(")")[0]
        else:
            hint = ""
        raise ValueError(
            f"completion_fn: got {name!r}, which is no run, no URL and no name of a registry"
            + (f" ({hint})" if hint else "")
            + ", expected WORKDIR, http://HOST:PORT/v1#MODEL, python:MODULE:FUNCTION, dummy, or a "
            "model of the server that OPENAI_API_KEY or OPENAI_BASE_URL is set for"
        )

    def _registered(self, name: str, options: dict[str, Any]) -> CompletionFunction:
        entry = resolved("completion_fn", name, self._registry.completion_fns)
        class_name, args = entry.class_name or "", {**entry.args, **options}
        if class_name in _CLASSES:
            base = str(args.pop("api_base", None) or os.environ.get("OPENAI_BASE_URL", _OPENAI))
            model = args.pop("model", name)
            extra = args.pop("extra_options", None) or {}
            args.pop("n_ctx", None)
            url = f"{base.rstrip('/')}/{_CLASSES[class_name]}#{model}"
            return Endpoint(url, {**extra, **args})
        if class_name.startswith("evals."):
            raise ValueError(
                f"completion_fn {name!r}: got the class {class_name}, which needs the original's "
                f"packages, expected one of {', '.join(_CLASSES)}, or a class of yours"
            )
        make = user_function("completion_fn", class_name, "(**arguments)")
        try:
            function = make(**args)
        except TypeError as error:
            raise ValueError(
                f"completion_fn {name!r}: {error}, expected the arguments of {class_name}"
            ) from error
        return PythonFunction(f"{name}={class_name}", function)
