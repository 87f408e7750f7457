"""Steps on images beside a GPT's: an encoder of images, and a decoder that reads them.

Each step's FLOPs a second stand beside those of a GPT of the same width, layers and tokens, in
float32. Then the loader makes batches of pictures from PNG files while steps run.

    python -m experiments.benchmark --suite=multimodal
"""

import base64
import dataclasses
import io
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.benchmarks.figures import Target, with_targets
from experiments.benchmarks.interleaved import TimedProgram, interleaved, medians
from experiments.benchmarks.registry import SUITES
from experiments.benchmarks.training_program import TrainingProgram
from gptjax.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig, resolve
from gptjax.data.batches.loader import ALL
from gptjax.data.batches.token_stream import HostBatch
from gptjax.multimodal_config import MultimodalConfig
from gptjax.runs.kind import kind_of
from gptjax.tasks.image_text.config import ImageTextConfig, ImageTextSection
from gptjax.tasks.vision.config import ImageClassificationConfig
from gptjax.vision_config import ImageClassifierConfig, VisionConfig


@dataclasses.dataclass(frozen=True)
class ImageSizes:
    """Models, batches and rounds of the suite `multimodal`.

    Attributes:
      stack: layers, heads and width of every stack.
      context_length: tokens of a row of text.
      rows: of a batch of text, alone and with images.
      image, patch: rows and columns of an image and of a patch, in pixels.
      places: of an image in a text.
      row_images: of a row of text with images.
      vocab_size: of the tokenizer `images:python_docs_1024`.
      documents: with a picture each, that the loader reads.
      batches: that it makes.
      rounds: of the comparison.
    """

    stack: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {"num_layers": 6, "num_heads": 6, "d_model": 384}
    )
    context_length: int = 256
    rows: int = 8
    image: int = 112
    patch: int = 14
    places: int = 16
    row_images: int = 4
    vocab_size: int = 1027
    documents: int = 256
    batches: int = 20
    rounds: int = 8


TARGETS: dict[str, Target] = {
    "vit.utilisation_over_gpt": ("at least", 0.9),
    "image_text.utilisation_over_gpt": ("at least", 0.9),
    "loader.wait_share": ("at most", 0.02),
}


@SUITES.register("multimodal")
def multimodal() -> dict[str, Any]:
    """Runs the whole suite, in some minutes on two CPU cores."""
    return with_targets(measure_multimodal(ImageSizes()), TARGETS)


def measure_multimodal(sizes: ImageSizes) -> dict[str, Any]:
    """Runs the suite's parts, without targets."""
    with tempfile.TemporaryDirectory() as folder:
        config = _with_images(sizes, Path(folder))
        steps = {
            "gpt": TrainingProgram(_text(sizes)),
            "vit": _of_images(sizes),
            "image_text": TrainingProgram(config, next(_batches(config))),
        }
        programs: dict[str, TimedProgram] = dict(steps)
        seconds = medians(interleaved(programs, sizes.rounds))
        speeds = {name: step.flops / seconds[f"{name}_seconds"] for name, step in steps.items()}
        figures: dict[str, Any] = {
            name: {
                "flops": step.flops,
                "flops_per_second": speeds[name],
                "compile_seconds": step.compile_seconds,
                "utilisation_over_gpt": speeds[name] / speeds["gpt"],
            }
            for name, step in steps.items()
        }
        figures["gpt"].pop("utilisation_over_gpt")
        loading = _loading(sizes, config, steps["image_text"])
        return figures | {"loader": loading}


def _text(sizes: ImageSizes) -> ExperimentConfig:
    return resolve(
        ExperimentConfig(
            model=ModelConfig(
                vocab_size=sizes.vocab_size, context_length=sizes.context_length, **sizes.stack
            ),
            training=TrainingConfig(batch_size=sizes.rows),
        )
    )


def _of_images(sizes: ImageSizes) -> TrainingProgram:
    """A step of a ViT on as many patches as a batch of text has tokens."""
    patches = (sizes.image // sizes.patch) ** 2
    images = max(1, sizes.rows * sizes.context_length // patches)
    config = resolve(
        ImageClassificationConfig(
            model=ImageClassifierConfig(
                image_size=sizes.image, patch_size=sizes.patch, pooling="mean", **sizes.stack
            ),
            training=TrainingConfig(batch_size=images),
        )
    )
    rng = np.random.default_rng(0)
    shape = images, sizes.image, sizes.image, 3
    batch = {
        "images": rng.integers(0, 256, shape, np.uint8),
        "classes": rng.integers(0, config.model.num_classes, images, np.int32),
        "loss_weights": np.ones(images, np.float32),
    }
    return TrainingProgram(config, batch)


def _with_images(sizes: ImageSizes, folder: Path) -> ImageTextConfig:
    """A run on documents of a picture and a sentence each, which are written to `folder`."""
    rng = np.random.default_rng(0)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for number in range(sizes.documents):
            pixels = rng.integers(0, 256, (sizes.image, sizes.image, 3), np.uint8)
            held = io.BytesIO()
            Image.fromarray(pixels).save(held, "PNG")
            address = f"data:image/png;base64,{base64.b64encode(held.getvalue()).decode()}"
            row = {"text": f"<image> is picture {number}", "images": [address]}
            file.write(json.dumps(row) + "\n")
    return resolve(
        ImageTextConfig(
            model=MultimodalConfig(
                vocab_size=sizes.vocab_size,
                context_length=sizes.context_length,
                image_tokens=sizes.places,
                resampler_layers=1,
                vision=VisionConfig(
                    image_size=sizes.image, patch_size=sizes.patch, pooling="mean", **sizes.stack
                ),
                **sizes.stack,
            ),
            data=DataConfig(tokenizer="images:python_docs_1024"),
            training=TrainingConfig(batch_size=sizes.rows),
            image_text=ImageTextSection(
                train=f"jsonl:{folder}/rows.jsonl", max_images=sizes.row_images
            ),
        )
    )


def _batches(config: ImageTextConfig) -> Iterator[HostBatch]:
    task: Any = kind_of(config).prepare(config)
    return task.batches(0, (), ALL)


def _loading(sizes: ImageSizes, config: ImageTextConfig, step: TrainingProgram) -> dict[str, Any]:
    """Seconds that a batch takes alone, and the share of its time that a loop waits for one."""
    batches = _batches(config)
    next(batches)  # starts the loader
    waited, began = 0.0, time.perf_counter()
    for _ in range(sizes.batches):
        asked = time.perf_counter()
        next(batches)
        waited += time.perf_counter() - asked
        step()
    return {"wait_share": waited / (time.perf_counter() - began)}
