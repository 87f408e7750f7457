"""An encoder of images that comes from a CLIP: a run of ours, or a model of Hugging Face's.

source = encoder_source(config, "runs/clip")
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax

from gptjax.runs.initial.sources import Source, source_at
from gptjax.runs.initial.stored import FIELD, put
from gptjax.runs.kind import kind_of
from gptjax.tasks.image_text.config import ImageTextConfig
from gptjax.training.state import rng

CLIP = "pair of encoders of images and texts"
ENCODER = "vision"  # its parameters, here and in a CLIP


class EncoderOfImages(Source):
    """The encoder of a CLIP, in a model whose other parameters are drawn as without it."""

    def __init__(self, config: ImageTextConfig, clip: Source):
        """The sizes of the encoder are those of `clip`, all others those of `config`."""
        if config.data.tokenizer is None:
            raise ValueError(
                f"config.data.tokenizer: got none with {FIELD}={clip.path}, of which only the "
                "encoder of images is taken, expected images:INNER"
            )
        self.path, self._clip, self._config = Path(clip.path), clip, config
        vision = clip.model.vision  # pyright: ignore[reportAttributeAccessIssue]
        self.model = dataclasses.replace(config.model, vision=vision)
        self.tokenizer = config.data.tokenizer

    def tokenizer_hash(self) -> str:
        return self._clip.tokenizer_hash()

    def chosen_step(self) -> int | None:
        return self._clip.chosen_step()

    def may_remove_checkpoints(self) -> bool:
        return self._clip.may_remove_checkpoints()

    def sha256(self, step: int | None) -> str:
        return self._clip.sha256(step)

    def deferred(self, step: int | None) -> dict[str, Any]:
        return self._clip.deferred(step)

    def read(self, step: int | None, model: Any, target: Any) -> Any:
        """The encoder as it is stored, and the others as `Kind.init` draws them."""
        config = dataclasses.replace(self._config, model=model)
        places = jax.tree.map(lambda leaf: leaf.sharding, target)
        key = rng(config.training.seed, "params")
        stored = self._clip.deferred(step)[ENCODER]
        self._refuse_another(stored, target[ENCODER])
        drawn = jax.jit(lambda key: kind_of(config).init(config, key), out_shardings=places)(key)
        return drawn | {ENCODER: put(stored, target[ENCODER])}

    def _refuse_another(self, stored: Any, target: Any) -> None:
        """Refuses parameters of other names or shapes than those of this run."""
        theirs, ours = (
            {
                jax.tree_util.keystr(keys, simple=True, separator="/"): list(leaf.shape)
                for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
            }
            for tree in (stored, target)
        )
        for name in theirs | ours:
            if theirs.get(name) != ours.get(name):
                raise ValueError(
                    f"{FIELD}: got {self.path}, whose encoder has {name} {theirs.get(name)}, "
                    f"expected {ours.get(name)}, as config.model.vision says"
                )


def encoder_source(config: ImageTextConfig, given: str) -> Source | None:
    """The encoder of the CLIP at a path; None where another model is there, or nothing."""
    try:
        clip = source_at(given, CLIP)
    except ValueError:
        return None  # `source_at` then says what is wrong with a whole model
    return EncoderOfImages(config, clip)
