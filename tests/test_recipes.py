"""The recipes of CONTRIBUTING and README that no other test carries out, each as a user would."""

import dataclasses
import functools
import json
import math
import re
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from experiments.configs import EXPERIMENTS
from gptjax.alignment import Reward, composed
from gptjax.attention import PATTERNS, attend, scores
from gptjax.config import DataConfig, ExperimentConfig, ModelConfig, OptimizerConfig, resolve
from gptjax.data import CORPORA, Corpus, Document, load_corpus
from gptjax.data.dialogue.chat_format import Message
from gptjax.data.dialogue.conversations import CONVERSATIONS, load_conversations
from gptjax.data.dialogue.preferences import RANKINGS, load_rankings
from gptjax.data.dialogue.rankings import Ranking
from gptjax.data.dialogue.records import Records
from gptjax.inference import Generator, Sampler, filters, make_sampler
from gptjax.judging import REWARDS, load_rewards
from gptjax.models.transformer import init_decoding
from gptjax.pytrees import pytree
from gptjax.tokenization import RawBytes, loading
from gptjax.training import optimizers, parameters
from gptjax.training.losses import language_model
from tests.support.binaries import call, called, registered

ROOT = Path(__file__).resolve().parents[1]
RECIPES = (ROOT / "CONTRIBUTING.md").read_text()
BLOCK = re.search(
    r"    @PATTERNS.*?\n\n(?=\S)", (ROOT / "docs/attention.md").read_text(), re.DOTALL
)
PATTERN = "import dataclasses\nfrom gptjax.attention import PATTERNS, Pattern\n" + textwrap.dedent(
    BLOCK[0] if BLOCK else ""
)


def test_every_recipe_names_the_test_that_carries_it_out():
    rows = re.findall(r"^\| an? .*\| `(tests/[\w/]+\.py)` \|$", RECIPES, re.MULTILINE)
    assert len(rows) == RECIPES.count("\n| a") == 8
    assert all((ROOT / path).exists() for path in rows)


def test_an_experiment_is_one_function_that_the_command_line_knows():
    def mine() -> ExperimentConfig:
        """One of mine."""
        return ExperimentConfig(data=DataConfig(corpus="python_docs", tokenizer="bytes"))

    with registered():
        EXPERIMENTS.register("mine")(mine)
        shown = call("list", "--experiment=mine")
        nearest = call("list", "--experiment=mien").refusal
    assert shown.output.startswith("One of mine.") and shown.code == 0
    assert "did you mean 'mine'?" in nearest
    assert json.dumps(resolve(mine()).data.tokenizer) == '"bytes"'


def test_the_pattern_of_the_guide_is_an_expression():
    with registered(PATTERNS):
        exec(PATTERN, {"__name__": "guide"})
        q = np.random.default_rng(0).normal(size=(1, 9, 1, 4)).astype(np.float32)
        out = np.asarray(jax.jit(attend, static_argnums=3)(q, q, q, "even"))
    x = q[0, :, 0].astype(np.float64)
    for i in range(9):
        seen = x[i % 2 : i + 1 : 2]
        weights = np.exp(seen @ x[i] / 2)
        np.testing.assert_allclose(out[0, i, 0], weights @ seen / weights.sum(), atol=1e-5)


@pytest.mark.slow
def test_the_pattern_of_the_guide_passes_the_tests_of_patterns():
    code = (
        f"{PATTERN}\nimport pytest, sys\nsys.exit(pytest.main(['-q', '-k', 'even', *sys.argv[1:]]))"
    )
    command = [sys.executable, "-c", code, "tests/attention", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout


def test_a_corpus_is_one_function():
    def proverbs(location: str, invalid_utf8: str) -> Corpus:
        documents = [Document("first", f"Well begun, {location} done.")]
        return Corpus("proverbs", (), lambda: iter(documents), invalid_utf8)

    with registered(CORPORA):
        CORPORA.register("proverbs")(proverbs)
        assert [document.text for document in load_corpus("proverbs:half")] == [
            "Well begun, half done."
        ]


def test_a_set_of_conversations_is_one_function():
    talk = (Message("user", "Hi"), Message("assistant", "Hello."))
    with registered(CONVERSATIONS):
        CONVERSATIONS.register("greetings")(lambda spec, location: Records(spec, (talk,)))
        assert list(load_conversations("greetings:here")) == [talk]


def test_a_set_of_rankings_is_one_function():
    better = Ranking((Message("user", "Hi"),), ("Hello.", "What?"), ((1.0, 2.0),))
    with registered(RANKINGS):
        RANKINGS.register("manners")(lambda spec, location: Records(spec, (better,)))
        assert list(load_rankings("manners:here")) == [better]


def test_a_filter_of_logits_is_one_dataclass():
    @pytree
    @dataclasses.dataclass(frozen=True)
    class Only:
        token: int

        def __call__(self, logits, text):
            return jnp.where(jnp.arange(logits.size) == self.token, logits, -jnp.inf)

    one = np.int32(1)
    text = filters.Text(np.zeros(4, np.int32), one, one, jax.random.key(0))
    draw = jax.jit(lambda sampler, logits: sampler(logits, text))
    logits = np.zeros(9, np.float32)
    assert [int(draw(Sampler((Only(token),)), logits)) for token in (3, 7)] == [3, 7]


def test_an_optimizer_is_one_function(monkeypatch):
    monkeypatch.setitem(optimizers.OPTIMIZERS, "sgd", lambda config, rate: optax.sgd(rate))
    config = OptimizerConfig(name="sgd", clip_norm=None)
    tx, params = optimizers.make_optimizer(config, lambda step: 0.5), {"x": jnp.float32(3)}
    update = jax.jit(functools.partial(optimizers.update, tx))
    params, _ = update({"x": jnp.float32(2)}, tx.init(params), params, 0.0)
    assert float(params["x"]) == 3 - 0.5 * 2


class Bigram(nn.Module):
    """A decoder whose logits depend on the last token alone."""

    config: ModelConfig
    attend: Any = attend
    constrain: Any = staticmethod(lambda x, axes: x)

    def setup(self):
        size = self.config.vocab_size
        self.table = self.param("table", nn.initializers.normal(), (size, size))

    def __call__(self, inputs):
        return self.decode(inputs)[0]

    def hidden(self, inputs, *, cache=None, **_):
        return jax.nn.one_hot(inputs, self.config.vocab_size), cache

    def logits(self, hidden):
        return hidden @ self.table

    def decode(self, inputs, **context):
        hidden, cache = self.hidden(inputs, **context)
        return self.logits(hidden), cache

    def init_cache(self, batch, length, chunk=None):
        return init_decoding(self.config, batch, length, jnp.dtype("float32"), chunk)


def test_a_model_is_a_decoder():
    config = ModelConfig(vocab_size=9, context_length=32, num_layers=1, num_heads=1, d_model=4)
    model = Bigram(resolve(ExperimentConfig(model=config)).model)
    table = np.random.default_rng(0).normal(size=(9, 9)).astype(np.float32)
    params = {"table": table}
    generator = Generator(model, params)
    (tokens,) = generator.generate([np.array([2])], max_new_tokens=4, sampler=make_sampler(0))
    assert tokens.tolist() == [table[last].argmax() for last in (2, *tokens[:-1])]
    row = np.array([[1, 2, 3, 4]])
    batch = {"tokens": row[:, :-1], "targets": row[:, 1:], "loss_weights": np.ones((1, 3), "f")}
    nats = [
        -math.log(np.exp(table[a])[b] / np.exp(table[a]).sum()) for a, b in ((1, 2), (2, 3), (3, 4))
    ]
    loss = jax.jit(functools.partial(language_model(model), rng=None))
    np.testing.assert_allclose(loss(params, batch)[0], sum(nats), rtol=1e-5)


def test_a_reward_is_one_function():
    with registered(REWARDS):
        REWARDS.register("longer")(
            lambda location, context: Reward("longer", lambda _, said: len(said) > int(location))
        )
        rewards = load_rewards("0.5*longer:3", RawBytes())
    total, parts = composed(rewards, ["", ""], ["four", "two"])
    assert (total.tolist(), parts["longer"].tolist()) == ([0.5, 0.0], [1.0, 0.0])


def test_a_change_of_the_scores_is_one_dataclass():
    with registered(scores.SCORES):

        @scores.SCORES.register("doubled")
        @dataclasses.dataclass(frozen=True)
        class Doubled(scores.ScoreChange):
            def __call__(self, scores, head, q_pos, k_pos, layer):
                return 2 * scores

        score = scores.bind(scores.parse("doubled"), num_heads=1)
    q = np.random.default_rng(0).normal(size=(1, 9, 1, 4)).astype(np.float32)
    doubled, whole = (
        jax.jit(functools.partial(attend, pattern="dense", **options))(q, q, q)
        for options in ({"score": score}, {"scale": 1.0})
    )
    np.testing.assert_allclose(doubled, whole, atol=1e-6)


def test_a_parameter_is_a_row(monkeypatch):
    with pytest.raises(ValueError, match="got parameter 'gate/kernel' of 2 axes"):
        optimizers.decay_mask({"gate": {"kernel": np.ones((2, 3))}})
    row = parameters.Rule("gate/kernel", ("fsdp", None), True)
    monkeypatch.setattr(parameters, "PARAMETERS", (*parameters.PARAMETERS, row))
    assert optimizers.decay_mask({"gate": {"kernel": np.ones((2, 3))}}) == {
        "gate": {"kernel": True}
    }
    parameters.rule_of.cache_clear()


def test_a_tokenizer_kind_is_a_subclass(tmp_path, monkeypatch):
    class Reversed(RawBytes):
        kind = "reversed"

        def _encode_ordinary(self, texts):
            return super()._encode_ordinary([text[::-1] for text in texts])

        def _decode(self, ids):
            return super()._decode(ids)[::-1]

    monkeypatch.setitem(loading.KINDS, "reversed", Reversed)
    Reversed().save(tmp_path / "mine")
    tokenizer = loading.load_tokenizer(str(tmp_path / "mine"))
    assert tokenizer.encode("ab").tolist() == [98, 97] and tokenizer.decode([98, 97]) == "ab"


def test_a_binary_is_a_main_and_its_flags(tmp_path):
    (tmp_path / "greet.py").write_text(
        textwrap.dedent('''
        from absl import flags
        from experiments.flags.command_line import run

        _NAME = flags.DEFINE_string("name", None, "Who is greeted.")

        def main(argv):
            """Greets."""
            if _NAME.value is None:
                raise ValueError("--name: got none, expected a name")
            print("Hello,", _NAME.value)

        if __name__ == "__main__":
            run(main)
        ''')
    )

    def greet():
        runpy.run_path(str(tmp_path / "greet.py"), run_name="__main__")

    assert called(greet, "--name=Ada").output == "Hello, Ada\n"
    assert called(greet).refusal == "--name: got none, expected a name"
    assert "did you mean --name?" in called(greet, "--nam=Ada").refusal
