r"""CLIP: Learning Transferable Visual Models From Natural Language (arXiv 2103.00020).

python -m experiments.train --experiment=clip_smoke --workdir=runs/clip
python -m experiments.clip --workdir=runs/clip --images=shapes:count=500,seed=2
"""

import dataclasses

from experiments.configs.registry import EXPERIMENTS
from gptjax.config import CheckpointConfig, DataConfig, OptimizerConfig, TrainingConfig
from gptjax.tasks.vision.config import ContrastiveConfig, ContrastiveSection
from gptjax.vision_config import ClipConfig, VisionConfig

_ENCODER = {
    "layer_norm_epsilon": 1e-5,
    "activation": "gelu_sigmoid",
    "scaled_residual_init": True,
}


@EXPERIMENTS.register("clip_b32")
def clip_b32() -> ContrastiveConfig:
    r"""CLIP with ViT-B/32, 151.3M parameters (Tables 18 and 20).

    Batches of 32,768 pairs, 32 epochs over 400M pairs, which are 390,625 steps; Adam with a rate of
    5e-4, a decay of 0.2 and a warm-up of 2,000 steps. Expected on the paper's pairs, which are not
    public: 63.2% zero-shot on ImageNet (Table 11); with 12M public pairs about 18% are normal. Give
    `--config.contrastive.train=jsonl:pairs/*.jsonl#image,caption` and CLIP's tokenizer, whose
    vocabulary has 49,408 entries, or one of your own.

    Differs from the paper: initial weights; images are cropped in the middle and moved at random,
    where the paper takes random crops; gradients are clipped at 1.

    A day on 64 A100 of 80 GB at 40% utilisation:

        python -m experiments.train --experiment=clip_b32 --workdir=runs/clip_b32 \
            --config.model.dtype=bfloat16 --config.parallelism.strategy=mesh
    """
    return ContrastiveConfig(
        model=ClipConfig(
            vocab_size=49408,
            context_length=77,
            num_layers=12,
            num_heads=8,
            d_model=512,
            projection=512,
            vision=VisionConfig(
                image_size=224,
                patch_size=32,
                num_layers=12,
                num_heads=12,
                d_model=768,
                entry_norm=True,
                patch_bias=False,
                pixel_range="clip",
                **_ENCODER,
            ),
            **_ENCODER,
        ),
        data=DataConfig(validation_fraction=0.0001),
        optimizer=OptimizerConfig(
            learning_rate=5e-4, warmup_steps=2000, beta2=0.98, epsilon=1e-6, weight_decay=0.2
        ),
        training=TrainingConfig(
            num_steps=390_625, batch_size=32_768, log_every=50, eval_every=5000, sample_tokens=0
        ),
        checkpoint=CheckpointConfig(every_steps=5000),
        contrastive=ContrastiveSection(augment_scale=0.1, augment_shift=0.1),
    )


@EXPERIMENTS.register("clip_l14")
def clip_l14() -> ContrastiveConfig:
    r"""CLIP with ViT-L/14, 427.6M parameters (Table 20): the encoder that KOSMOS-1 starts from.

    As `clip_b32` but for the sizes and a rate of 4e-4. Expected on the paper's pairs: 75.3%
    zero-shot on ImageNet (Table 11). Twelve days on 256 V100 in the paper.

    Two and a half days on 256 A100 of 80 GB at 40% utilisation:

        python -m experiments.train --experiment=clip_l14 --workdir=runs/clip_l14 \
            --config.model.dtype=bfloat16 --config.model.remat=block \
            --config.parallelism.strategy=mesh
    """
    base = clip_b32()
    vision = dataclasses.replace(
        base.model.vision, patch_size=14, num_layers=24, num_heads=16, d_model=1024
    )
    model = dataclasses.replace(
        base.model, num_heads=12, d_model=768, projection=768, vision=vision
    )
    optimizer = dataclasses.replace(base.optimizer, learning_rate=4e-4)
    return dataclasses.replace(base, model=model, optimizer=optimizer)


@EXPERIMENTS.register("clip_smoke")
def clip_smoke() -> ContrastiveConfig:
    """CLIP of small encoders on drawings and what they show, in a minute on two CPU cores.

    "A red circle left of a blue square": 1,152 captions, encoders of four and two layers of width
    64. Expected: among 500 held-out drawings a recall at 1 of about 0.5 and at 10 of about 0.99,
    where chance has 0.002 and 0.02. docs/images.md has the trial on emoji, in two renderings.

    Differs from the paper: small sizes, the mean over all patches, and a weight decay of 0.01.
    """
    paper = clip_b32()
    vision = dataclasses.replace(
        paper.model.vision,
        image_size=32,
        patch_size=8,
        num_layers=4,
        num_heads=4,
        d_model=64,
        d_ff=256,
        pooling="mean",
        pixel_range="half",
        init_std=0.1,
    )
    return dataclasses.replace(
        paper,
        model=dataclasses.replace(
            paper.model,
            vocab_size=1024,
            context_length=24,
            num_layers=2,
            num_heads=4,
            d_model=64,
            d_ff=256,
            projection=64,
            init_std=0.1,  # about one over the root of the width, as CLIP starts
            vision=vision,
        ),
        data=DataConfig(tokenizer="python_docs_1024"),
        optimizer=dataclasses.replace(
            paper.optimizer, learning_rate=3e-3, warmup_steps=30, weight_decay=0.01
        ),
        training=TrainingConfig(
            num_steps=300, batch_size=64, log_every=10, eval_every=100, sample_tokens=0
        ),
        checkpoint=CheckpointConfig(every_steps=100),
        contrastive=ContrastiveSection(
            train="shapes:count=8000", validation="shapes:count=500,seed=1"
        ),
    )
