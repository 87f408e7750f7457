"""Shape of a decoder whose training is measured, on any device.

TrainShape(256, 256, 6, 6, 384, batch_size=16).config
"""

import dataclasses

from gptjax.config import ExperimentConfig, ModelConfig, TrainingConfig, resolve


@dataclasses.dataclass(frozen=True)
class TrainShape:
    """Shape of a decoder and of its batches."""

    vocab_size: int
    context_length: int
    num_layers: int
    num_heads: int
    d_model: int
    batch_size: int
    dtype: str = "float32"

    @property
    def config(self) -> ExperimentConfig:
        """Resolved configuration of the shape; all other fields have their defaults."""
        fields = dataclasses.asdict(self)
        training = TrainingConfig(batch_size=fields.pop("batch_size"))
        return resolve(ExperimentConfig(model=ModelConfig(**fields), training=training))
