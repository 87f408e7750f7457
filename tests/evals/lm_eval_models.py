"""The adapter for lm-evaluation-harness around random models.

Without the package (the extra `lm_eval`) its base class is a stand-in.
"""

import contextlib
import importlib
import importlib.util
import sys
import types

import pytest

import gptjax.evals
from gptjax.evals.models.language_model import LanguageModel
from gptjax.tokenization import ChatTokenizer, load_tokenizer
from tests.inference.models import made

INSTALLED = importlib.util.find_spec("lm_eval") is not None
TOKENIZER = load_tokenizer("python_docs_1024")
CHAT = ChatTokenizer(TOKENIZER)


class Hook:
    def __init__(self):
        self.kept = []

    def add_partial(self, *row):
        self.kept.append(row)


class StandIn:
    def __init__(self):
        self.cache_hook = Hook()


@contextlib.contextmanager
def adapted():
    """The module, with the package or with a stand-in for its base class."""
    with pytest.MonkeyPatch.context() as patch:
        if not INSTALLED:
            for name in ("lm_eval", "lm_eval.api", "lm_eval.api.model"):
                patch.setitem(sys.modules, name, types.ModuleType(name))
            sys.modules["lm_eval.api.model"].LM = StandIn
        patch.delitem(sys.modules, "gptjax.evals.lm_eval", raising=False)
        yield importlib.import_module("gptjax.evals.lm_eval")
        sys.modules.pop("gptjax.evals.lm_eval", None)
        if hasattr(gptjax.evals, "lm_eval"):
            del gptjax.evals.lm_eval


def lm_of(adapter, tokenizer):
    """The adapter of a random model with a tokenizer."""

    def model(place, step, batch_size, tokenizer):
        return LanguageModel(
            *made(vocab_size=place.tokenizer().vocab_size),
            tokenizer or place.tokenizer(),
            content_hash=f"{step} {batch_size}",
            batch_size=batch_size,
        )

    with pytest.MonkeyPatch.context() as patch:
        place = types.SimpleNamespace(tokenizer=lambda: tokenizer)
        patch.setattr(adapter, "WorkDirectory", lambda path: place)
        patch.setattr(adapter, "of_run", model)
        return adapter.GptjaxLM.create_from_arg_obj(
            {"workdir": "runs/lm", "step": "7", "batch_size": 4}, {"batch_size": 1, "device": None}
        )


def asked(*rows):
    return [types.SimpleNamespace(args=row) for row in rows]
