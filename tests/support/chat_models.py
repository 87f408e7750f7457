"""Chat models with random weights, made in memory: a byte tokenizer with the marks of a chat."""

import dataclasses

import jax
import numpy as np

from gptjax.chat.chat_model import ChatModel
from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.data.image_text.rows import ImageForm
from gptjax.inference.generate import Generator
from gptjax.models.gpt import GPT
from gptjax.models.multimodal.decoder import ImageGPT
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.multimodal_config import MultimodalConfig
from gptjax.tokenization import load_tokenizer
from gptjax.vision_config import VisionConfig

CONFIG = ModelConfig(
    vocab_size=261,
    vocab_multiple=8,
    context_length=96,
    num_layers=1,
    num_heads=2,
    d_model=16,
    init_std=0.4,
)


def chat_model(
    name: str = "tiny", tokenizer: str = "chat:bytes", seed: int = 0, rankers=None, **options
) -> ChatModel:
    """A model of `CONFIG`; `options` are the generator's."""
    loaded = load_tokenizer(tokenizer)
    config = dataclasses.replace(CONFIG, vocab_size=loaded.vocab_size)
    model = GPT(resolve(ExperimentConfig(model=config)).model)
    rng = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda leaf: (0.4 * rng.normal(size=leaf.shape)).astype(np.float32), parameter_shapes(model)
    )
    options = {"slots": 4, "kept_texts": 2} | options
    generator = Generator(model, params, loaded, **options)
    return ChatModel(name, model, params, loaded, generator, rankers or {}, made=1)


def image_chat_model(name: str = "sees", seed: int = 0, rankers=None) -> ChatModel:
    """A chat model that reads images of 8 x 8 pixels, each in 3 places."""
    loaded = load_tokenizer("images:chat:bytes")
    config = MultimodalConfig(
        vocab_size=loaded.vocab_size,
        vocab_multiple=8,
        context_length=48,
        num_layers=1,
        num_heads=2,
        d_model=16,
        image_tokens=3,
        resampler_layers=1,
        vision=VisionConfig(image_size=8, patch_size=4, num_layers=1, num_heads=2, d_model=8),
    ).resolved()
    model, rng = ImageGPT(config), np.random.default_rng(seed)
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: rng.normal(path[-1].key == "scale", 0.4, leaf.shape).astype(np.float32),
        parameter_shapes(model),
    )
    generator = Generator(model, params, loaded, slots=2, kept_texts=2)
    form = ImageForm(config.image_places, 8)
    return ChatModel(name, model, params, loaded, generator, rankers or {}, made=1, images=form)
