r"""ViT: An Image is Worth 16x16 Words (Dosovitskiy et al. 2020, arXiv 2010.11929).

python -m experiments.train --experiment=vit_smoke --workdir=runs/vit
"""

import dataclasses

from experiments.configs.registry import EXPERIMENTS
from gptjax.config import CheckpointConfig, DataConfig, OptimizerConfig, TrainingConfig
from gptjax.tasks.vision.config import ImageClassificationConfig, ImageClassificationSection
from gptjax.vision_config import ImageClassifierConfig


@EXPERIMENTS.register("vit_b16")
def vit_b16() -> ImageClassificationConfig:
    r"""ViT-B/16, 86.6M parameters with a head of 1,000 classes (Table 1), on ImageNet alone.

    The recipe of Table 3 for ImageNet: Adam with a rate of 3e-3 and a decay of 0.3, batches of
    4,096, 300 epochs, a warm-up of 10,000 steps, dropout of 0.1. Expected: 77.9% (Table 5), which
    is after fine-tuning at 384 pixels: `checkpoint.init_from` with `model.image_size=384` begins
    that. Give `--config.images.train=folder:imagenet/train` and `--config.images.validation=`.

    Differs from the paper: initial weights; images are cropped in the middle, moved, scaled and
    mirrored at random, where the paper takes random crops; pictures are held out by a hash unless
    a set is given; classes come from folders.

    Half a day on 8 A100 of 80 GB at 40% utilisation:

        python -m experiments.train --experiment=vit_b16 --workdir=runs/vit_b16 \
            --config.model.dtype=bfloat16 --config.training.accumulate=2 \
            --config.parallelism.strategy=mesh
    """
    return ImageClassificationConfig(
        model=ImageClassifierConfig(
            num_layers=12,
            num_heads=12,
            d_model=768,
            pooler=False,
            embedding_dropout=0.1,
            residual_dropout=0.1,
            scaled_residual_init=False,
        ),
        data=DataConfig(validation_fraction=0.01),
        optimizer=OptimizerConfig(
            learning_rate=3e-3, warmup_steps=10_000, beta2=0.999, weight_decay=0.3
        ),
        training=TrainingConfig(batch_size=4096, log_every=50, eval_every=2000, sample_tokens=0),
        checkpoint=CheckpointConfig(every_steps=2000),
        images=ImageClassificationSection(
            epochs=300, augment_scale=0.2, augment_shift=0.1, augment_mirror=True
        ),
    )


@EXPERIMENTS.register("vit_l14")
def vit_l14() -> ImageClassificationConfig:
    r"""ViT-L/14, 304.2M parameters: the image encoder of CLIP's and KOSMOS-1's size, as a ViT.

    The paper has L/16 and H/14; CLIP (arXiv 2103.00020, Table 20) has L/14. The recipe is that of
    `vit_b16`. Expected: about 76.5%, that of L/16 on ImageNet alone (Table 5), below B/16: it is
    too large for these data. CLIP's own is `clip_l14`.

    Two days on 8 A100 of 80 GB at 40% utilisation:

        python -m experiments.train --experiment=vit_l14 --workdir=runs/vit_l14 \
            --config.model.dtype=bfloat16 --config.model.remat=block \
            --config.training.accumulate=4 --config.parallelism.strategy=mesh
    """
    base = vit_b16()
    model = dataclasses.replace(
        base.model, patch_size=14, num_layers=24, num_heads=16, d_model=1024
    )
    return dataclasses.replace(base, model=model)


@EXPERIMENTS.register("vit_smoke")
def vit_smoke() -> ImageClassificationConfig:
    """A ViT of four layers of width 64 on drawings of two shapes, in a minute on two CPU cores.

    Two classes: one shape is left of the other, or above it. Expected: an accuracy of about 1 on
    held-out drawings, where chance has 0.5. With MNIST's files it learns digits; docs/images.md
    says how.

    Differs from the paper: patches of 8 x 8 pixels, positions are waves of rows and columns, and
    the mean over all patches stands for an image (as big_vision's vit_s16).
    """
    return ImageClassificationConfig(
        model=ImageClassifierConfig(
            image_size=32,
            patch_size=8,
            num_layers=4,
            num_heads=4,
            d_model=64,
            d_ff=256,
            pooling="mean",
            positions="sinusoidal_2d",
            init_std=0.1,  # at 0.02 layers of width 64 say little for hundreds of steps
            num_classes=2,
        ),
        optimizer=OptimizerConfig(
            learning_rate=2e-3, warmup_steps=20, beta2=0.999, weight_decay=1e-4
        ),
        training=TrainingConfig(
            num_steps=200, batch_size=64, log_every=10, eval_every=50, sample_tokens=0
        ),
        checkpoint=CheckpointConfig(every_steps=50),
        images=ImageClassificationSection(
            train="shapes:count=4000,classes=true",
            validation="shapes:count=1000,seed=1,classes=true",
        ),
    )
