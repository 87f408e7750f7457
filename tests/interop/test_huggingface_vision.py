"""ViT's and CLIP's parameters, against transformers: hidden states and files, both ways."""

import functools
import math

import jax
import numpy as np
import pytest
from flax import traverse_util

from gptjax.interop.vision import configs, tensors
from gptjax.interop.vision.tokenizers import clip_tokenizer_files, read_clip_tokenizer
from gptjax.models.vision.classifier import ImageClassifier
from gptjax.models.vision.clip import CLIP
from gptjax.models.vision.vit import ViT
from gptjax.tokenization import load_tokenizer
from gptjax.tokenization.byte_level_bpe import BYTES
from tests.support.binaries import call

STACK = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
IMAGES = {**STACK, "intermediate_size": 48, "image_size": 12, "patch_size": 4}
TEXTS = {**STACK, "intermediate_size": 40, "vocab_size": 61, "max_position_embeddings": 9}
IDS = {"bos_token_id": 59, "eos_token_id": 60, "pad_token_id": 1}
RNG = np.random.default_rng(0)
PIXELS = RNG.normal(size=(2, 12, 12, 3)).astype(np.float32)


def moved(model):
    """A model of theirs whose biases and gains are random too."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def written(model, folder):
    """The tensors of the file that they save, whose names are not those of their modules."""
    load_file = pytest.importorskip("safetensors.numpy").load_file
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def ours(design, state, config):
    deferred = tensors.deferred_params(design, state, config)
    return jax.tree.map(lambda leaf: leaf.read(), deferred)


def sent_back(design, params, config):
    leaves = traverse_util.flatten_dict(params, sep="/")
    return dict(tensors.tensors_for_huggingface(design, leaves.__getitem__, config))


def assert_same(state, theirs):
    assert state.keys() == theirs.keys()
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(state[name], tensor, err_msg=name)


@pytest.mark.parametrize("kind", ["ViTModel", "ViTForImageClassification"])
def test_vit_computes_what_theirs_does_and_goes_back(kind, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    theirs = moved(getattr(transformers, kind)(transformers.ViTConfig(**IMAGES, num_labels=3)))
    state = written(theirs, tmp_path)
    config = configs.with_pooler(configs.vit_config(theirs.config.to_dict()), state)
    params = ours(tensors.VIT, state, config)
    with torch.no_grad():
        out = theirs(torch.tensor(PIXELS.transpose(0, 3, 1, 2)), output_hidden_states=True)
    if kind == "ViTModel":
        encoder = {name: part for name, part in params.items() if name != "task_head"}
        hidden, pooled = jax.jit(ViT(config).apply)({"params": encoder}, PIXELS)
        np.testing.assert_allclose(hidden, out.last_hidden_state, atol=1e-4)
        np.testing.assert_allclose(pooled, out.pooler_output, atol=1e-4)
        assert not params["task_head"]["kernel"].any()
    else:
        logits = jax.jit(ImageClassifier(config).apply)({"params": params}, PIXELS)
        np.testing.assert_allclose(logits, out.logits, atol=1e-4)
    assert_same(sent_back(tensors.VIT, params, config), state)
    assert tensors.tensor_shapes(tensors.VIT, config) == {n: t.shape for n, t in state.items()}
    described = configs.huggingface_vit_config(config, "float32")
    again = transformers.ViTConfig(**described)
    assert configs.with_pooler(configs.vit_config(again.to_dict()), state) == config


def test_clip_computes_what_theirs_does_and_goes_back(tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    theirs = moved(
        transformers.CLIPModel(
            transformers.CLIPConfig(
                text_config=TEXTS | IDS, vision_config=IMAGES, projection_dim=24
            )
        )
    )
    state = written(theirs, tmp_path)
    config = configs.clip_config(theirs.config.to_dict())
    params = ours(tensors.CLIP, state, config)
    tokens, lengths = np.full((3, 9), 1, np.int32), np.array([9, 4, 2], np.int32)
    for row, length in zip(tokens, lengths, strict=True):
        row[: length - 1], row[length - 1] = RNG.integers(2, 59, length - 1), 60
    with torch.no_grad():
        out = theirs(
            input_ids=torch.tensor(tokens, dtype=torch.long),
            pixel_values=torch.tensor(PIXELS.transpose(0, 3, 1, 2)),
        )
        # Of theirs the patches are not normalised, the class token is.
        after = theirs.vision_model.post_layernorm(out.vision_model_output.last_hidden_state)
    model = CLIP(config)
    images, texts, scale = jax.jit(model.apply)({"params": params}, tokens, lengths, PIXELS)
    np.testing.assert_allclose(images, out.image_embeds, atol=1e-4)
    np.testing.assert_allclose(texts, out.text_embeds, atol=1e-4)
    assert float(scale) == pytest.approx(math.exp(state["logit_scale"]), rel=1e-5)
    hidden, _ = jax.jit(ViT(config.vision).apply)({"params": params["vision"]}, PIXELS)
    np.testing.assert_allclose(hidden, after, atol=1e-4)
    assert_same(sent_back(tensors.CLIP, params, config), state)
    described = configs.huggingface_clip_config(config, "float32")
    assert configs.clip_config(transformers.CLIPConfig(**described).to_dict()) == config


def test_what_theirs_cannot_be_and_what_does_not_fit_is_refused():
    config = configs.vit_config({"model_type": "vit", **IMAGES})
    read = functools.partial(tensors.deferred_params, tensors.VIT)
    with pytest.raises(ValueError, match=r"checkpoint: got no .*expected \d+ tensors"):
        read({}, config)
    shapes = tensors.tensor_shapes(tensors.VIT, config)
    state = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match="got shape"):
        read(state | {"vit.layernorm.bias": np.zeros(3, np.float32)}, config)
    with pytest.raises(ValueError, match=r"got vit\.more, which this model does not have"):
        read(state | {"vit.more": np.zeros(3, np.float32)}, config)
    config.pooling = "mean"
    with pytest.raises(ValueError, match="pooling: got mean, expected class"):
        configs.huggingface_vit_config(config, "float32")


def clip_tokenizer(folder):
    """A CLIPTokenizer of theirs with a few merges, and its directory."""
    transformers = pytest.importorskip("transformers")
    symbols = list(BYTES)
    merges = [("t", "h"), ("th", "e</w>"), ("c", "a"), ("ca", "t</w>"), ("ca", "f")]
    tokens = [*symbols, *(s + "</w>" for s in symbols), *map("".join, merges)]
    vocab = {token: index for index, token in enumerate(tokens)}
    vocab |= {"<|startoftext|>": len(tokens), "<|endoftext|>": len(tokens) + 1}
    theirs = transformers.CLIPTokenizer(vocab=vocab, merges=merges)
    theirs.save_pretrained(folder)
    return theirs


def test_clips_tokenizer_reads_what_theirs_does_and_is_written_for_it(tmp_path):
    theirs = clip_tokenizer(tmp_path / "theirs")
    ours = read_clip_tokenizer(tmp_path / "theirs")
    texts = ["The  Cat's café\n on 12 mats, THE end!!", "\u6f22\u5b57 \U0001f642 x==y", " "]
    for text in texts:
        ids = [ours.start_of_text, *ours.encode(text).tolist(), ours.end_of_text]
        assert ids == theirs(text)["input_ids"]
    assert ours.decode(ours.encode(texts[0])) == "the cat 's café on 1 2 mats , the end !!"
    (tmp_path / "ours").mkdir()
    for name, content in clip_tokenizer_files(ours, 9).items():
        (tmp_path / "ours" / name).write_bytes(content)
    transformers = pytest.importorskip("transformers")
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert [again(text)["input_ids"] for text in texts] == [theirs(t)["input_ids"] for t in texts]
    assert read_clip_tokenizer(tmp_path / "ours").content_hash() == ours.content_hash()
    assert load_tokenizer(f"clip:{tmp_path / 'ours'}").content_hash() == ours.content_hash()


def test_a_clip_is_converted_and_back(tmp_path):
    transformers = pytest.importorskip("transformers")
    rows = len(clip_tokenizer(tmp_path / "theirs"))
    texts = TEXTS | {"vocab_size": rows, "bos_token_id": rows - 2, "eos_token_id": rows - 1}
    theirs = transformers.CLIPModel(
        transformers.CLIPConfig(text_config=texts, vision_config=IMAGES, projection_dim=24)
    )
    state = written(theirs, tmp_path / "theirs")
    run, back = tmp_path / "run", tmp_path / "back"
    ended = call("convert", f"--from_huggingface={tmp_path / 'theirs'}", f"--workdir={run}")
    assert (ended.code, ended.errors) == (0, "")
    figures = call("clip", f"--workdir={run}", "--images=shapes:count=4")
    assert figures.code == 0 and figures.rows[0]["pictures"] == 4
    assert call("convert", f"--workdir={run}", f"--to_huggingface={back}").code == 0
    load_file = pytest.importorskip("safetensors.numpy").load_file
    assert_same(load_file(back / "model.safetensors"), state)
    again = transformers.CLIPModel.from_pretrained(back)
    assert again.config.text_config.eos_token_id == rows - 1
