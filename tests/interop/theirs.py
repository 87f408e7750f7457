"""Models of transformers', tiny and random, and what they compute."""

from pathlib import Path

import numpy as np
import pytest

from gptjax.tokenization.loading import REPOSITORY_TOKENIZERS

KINDS = ("gpt2", "openai-gpt")
SIZES = {"vocab_size": 61, "n_positions": 24, "n_layer": 3, "n_embd": 32, "n_head": 4}


def huggingface(kind: str, **settings):
    """A randomly initialised model of theirs, with biases and gains that are random too."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    names = {"gpt2": "GPT2", "openai-gpt": "OpenAIGPT"}
    fields = {**SIZES, "bos_token_id": 0, "eos_token_id": 0, **settings}
    config = getattr(transformers, names[kind] + "Config")(**fields)
    torch.manual_seed(0)
    model = getattr(transformers, names[kind] + "LMHeadModel")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def tensors(model) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def their_logits(model, tokens: np.ndarray) -> np.ndarray:
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return model(torch.tensor(tokens, dtype=torch.long)).logits.float().numpy()


def save(model, directory: Path, **options) -> Path:
    """As `save_pretrained`, with the repository's tokenizer of 1,024 ids as GPT-2's files."""
    model.save_pretrained(directory, **options)
    return save_tokenizer(directory)


def save_tokenizer(directory: Path) -> Path:
    """The repository's tokenizer of 1,024 ids as GPT-2's files."""
    kept = REPOSITORY_TOKENIZERS / "python_docs_1024"
    for ours, name in (("encoder.json", "vocab.json"), ("vocab.bpe", "merges.txt")):
        (directory / name).write_bytes((kept / ours).read_bytes())
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    return directory
