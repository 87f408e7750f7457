"""BERT's parameters and tokenizer, against transformers: both ways, with all and with few heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from gptjax.interop.huggingface_bert import deferred_params, tensor_shapes, with_heads
from gptjax.interop.huggingface_bert_config import model_config
from gptjax.interop.huggingface_directory import Pretrained, write_pretrained
from gptjax.interop.huggingface_wordpiece import read_wordpiece, wordpiece_files
from gptjax.models.bert import Bert
from gptjax.tokenization import WordPiece, load_tokenizer
from gptjax.tokenization.wordpiece import HUGGING_FACE, ORIGINAL
from tests.support.tiers import tiered

CLASSES = {
    "pretraining": "BertForPreTraining",
    "masked_lm": "BertForMaskedLM",
    "encoder": "BertModel",
}
SIZES = {
    "vocab_size": 2048,
    "max_position_embeddings": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_size": 32,
    "intermediate_size": 80,
}
RNG = np.random.default_rng(1)
TOKENS = RNG.integers(0, 2048, (3, 20)).astype(np.int32)
TYPES = RNG.integers(0, 2, (3, 20)).astype(np.int32)
REAL = np.arange(20)[None] < np.array([[20], [13], [1]])  # the others are padding


def theirs(heads: str, **settings):
    """A random model of theirs, with biases and gains that are random too."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = getattr(transformers, CLASSES[heads])(
        transformers.BertConfig(**SIZES, **settings)
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def state_of(model) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def their_outputs(model) -> list[np.ndarray]:
    torch = pytest.importorskip("torch")
    tokens, types = (torch.tensor(array, dtype=torch.long) for array in (TOKENS, TYPES))
    with torch.no_grad():
        out = model(input_ids=tokens, token_type_ids=types, attention_mask=torch.tensor(REAL))
    return [each.numpy() for each in out.to_tuple()]


def our_outputs(config, params) -> dict[str, np.ndarray]:
    segments = jnp.where(REAL, 0, -1)
    apply = jax.jit(Bert(config).apply)
    outputs = apply({"params": params}, TOKENS, token_types=TYPES, segment_ids=segments)
    return {name: np.asarray(x) for name, x in outputs._asdict().items() if x is not None}


def assert_same_outputs(config, params, model, heads):
    ours, found = our_outputs(config, params), their_outputs(model)
    names = {
        "pretraining": ["masked_lm", "next_sentence"],
        "masked_lm": ["masked_lm"],
        "encoder": ["hidden", "pooled"],
    }[heads]
    for name, expected in zip(names, found, strict=True):
        real = REAL if expected.ndim == 3 else slice(None)
        np.testing.assert_allclose(ours[name][real], expected[real], rtol=1e-4, atol=1e-4)


def read(tree):
    return jax.tree.map(lambda leaf: leaf.read(), tree)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("python_docs_wordpiece_2048")


@pytest.mark.parametrize("heads", tiered([(x,) for x in CLASSES], [("pretraining",)]))
def test_their_directories_give_their_outputs_and_ours_load_there(heads, tmp_path, tokenizer):
    transformers = pytest.importorskip("transformers")
    model = theirs(heads)
    model.save_pretrained(tmp_path / "theirs")
    source = Pretrained(tmp_path / "theirs")
    assert source.model.heads == heads and source.makes == "masked language model"
    params = read(source.params())
    assert_same_outputs(source.model, params, model, heads)

    leaves = traverse_util.flatten_dict(params, sep="/")
    ours = tmp_path / "ours"
    write_pretrained(ours, source.model, leaves.__getitem__, tokenizer, makes=source.makes)
    loaded, report = getattr(transformers, CLASSES[heads]).from_pretrained(
        ours, output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for name, tensor in state_of(loaded.eval()).items():
        np.testing.assert_array_equal(tensor, state_of(model)[name], err_msg=name)
    if heads == "pretraining":
        smaller = transformers.BertModel.from_pretrained(ours).eval()
        encoder = {**params}
        del encoder["masked_lm_head"], encoder["next_sentence_head"]
        config = with_heads(source.model, state_of(smaller))
        assert_same_outputs(config, encoder, smaller, "encoder")
    again = Pretrained(ours)
    assert again.tokenizer().content_hash() == tokenizer.content_hash()
    text = "Naïve [MASK] unaffable!"
    told = transformers.AutoTokenizer.from_pretrained(ours)(text)["input_ids"]
    special = tokenizer.special_tokens
    expected = tokenizer.encode(text, allowed_special=["[MASK]"]).tolist()
    assert told == [special["[CLS]"], *expected, special["[SEP]"]]


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["gelu_new", "relu"])
def test_other_activations_are_theirs(activation):
    model = theirs("masked_lm", hidden_act=activation)
    state = state_of(model)
    config = with_heads(model_config(model.config.to_dict()), state)
    assert_same_outputs(config, read(deferred_params(state, config)), model, "masked_lm")


@pytest.fixture(scope="module")
def checkpoint():
    """All tensors of a model, and our configuration; neither torch nor transformers is needed."""
    config = model_config({"model_type": "bert", **SIZES})
    shapes = tensor_shapes(config)
    rng = np.random.default_rng(0)
    return {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}, config


def test_old_names_positions_and_tied_outputs_are_understood(checkpoint):
    state, config = checkpoint
    plain = read(deferred_params(state, config))
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in state.items()
    }
    old["bert.embeddings.position_ids"] = np.arange(24)[None]
    old["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"]
    old["cls.predictions.decoder.bias"] = state["cls.predictions.bias"]
    assert with_heads(config, old).heads == "pretraining"
    jax.tree.map(np.testing.assert_array_equal, read(deferred_params(old, config)), plain)


def test_a_file_has_the_heads_that_its_names_tell(checkpoint):
    state, config = checkpoint

    def heads(*absent: str) -> str:
        return with_heads(config, [n for n in state if not n.startswith(absent)]).heads

    assert heads("none") == "pretraining"
    assert heads("cls.seq_relationship") == heads("bert.pooler") == "masked_lm"
    assert heads("cls.") == "encoder"
    some = {name: x for name, x in state.items() if not name.startswith("cls.seq_relationship")}
    params = deferred_params(some, with_heads(config, some))  # a pooler that nothing reads
    assert "pooler" not in params and "masked_lm_head" in params


def test_tensors_that_do_not_fit_are_refused_by_name(checkpoint):
    state, config = checkpoint

    def refusal(**changes) -> str:
        changed = {**state, **{name.replace("__", "."): x for name, x in changes.items()}}
        with pytest.raises(ValueError) as caught:
            deferred_params({n: x for n, x in changed.items() if x is not None}, config)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    name = "bert.encoder.layer.1.intermediate.dense.weight"
    assert refusal(**{name: None}) == f"checkpoint: got no {name}, expected {len(state)} tensors"
    assert refusal(**{name: state[name].T}) == f"{name}: got shape (32, 80), expected (80, 32)"
    assert "got dtype int8" in refusal(**{name: state[name].astype(np.int8)})
    assert refusal(classifier__weight=state[name]) == (
        "checkpoint: got classifier.weight, which this model does not have"
    )
    other = state["bert.embeddings.word_embeddings.weight"] + 1
    assert "got other values than" in refusal(cls__predictions__decoder__weight=other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type_vocab_size": 1}, "type_vocab_size: got 1, expected 2"),
        ({"position_embedding_type": "relative_key"}, "got 'relative_key', expected 'absolute'"),
        ({"hidden_act": "silu"}, "hidden_act: got 'silu', expected one of gelu, "),
        ({"hidden_size": 30}, "config.model.d_model: got 30 with 4 heads"),
    ],
)
def test_configs_that_our_model_cannot_express_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        model_config({"model_type": "bert", **SIZES, **change})


def test_a_tokenizer_is_read_from_either_file(tmp_path, tokenizer):
    vocab = tokenizer.files()["vocab.txt"]
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "vocab.txt").write_bytes(vocab)
    found = read_wordpiece(tmp_path)
    assert (found.lowercase, found.max_word_characters) == (True, HUGGING_FACE)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert not read_wordpiece(tmp_path).lowercase
    cased = WordPiece(tokenizer.tokens, lowercase=False)
    for name, content in wordpiece_files(cased, 512).items():
        (tmp_path / name).write_bytes(content)
    found = read_wordpiece(tmp_path)
    assert found.content_hash() == cased.content_hash()
    assert (found.lowercase, found.max_word_characters) == (False, ORIGINAL)
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}}')
    with pytest.raises(ValueError, match=r"tokenizer.json: got no WordPiece vocabulary"):
        read_wordpiece(tmp_path)
