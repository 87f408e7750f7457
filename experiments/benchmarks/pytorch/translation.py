"""Training of `nn.Transformer` on our batches for some time, then greedy translation.

The recipe is the configuration's: Adam, the learning rate, dropout and label smoothing.
`torch_program` starts this and talks to it:

    python -m experiments.benchmarks.pytorch.translation '{"pairs": "tsv:deu.txt", ...}'
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from experiments.benchmarks.interleaved import TimedProgram
from experiments.benchmarks.pytorch.encoders import IGNORED, EncoderDecoder
from experiments.benchmarks.pytorch.program import serve
from experiments.benchmarks.pytorch.training import DEVICE
from experiments.benchmarks.translation import Clock, batches, config_of
from gptjax.config import OptimizerConfig
from gptjax.data.batches.pair_rows import encoded, end_of
from gptjax.data.batches.token_stream import HostBatch
from gptjax.tasks.configs.translation import TranslationConfig
from gptjax.tasks.translation import KIND, held_out_pairs

AT_ONCE = 64  # sentences that are translated


def model_of(config: TranslationConfig) -> EncoderDecoder:
    """`nn.Transformer` of the configuration's sizes."""
    model = config.model
    names = ("vocab_size", "context_length", "num_layers", "num_heads", "d_model")
    return EncoderDecoder(
        **{name: getattr(model, name) for name in names},
        d_ff=model.d_ff or 4 * model.d_model,
        dropout=model.residual_dropout,
        smoothing=config.translation.label_smoothing,
    ).to(DEVICE)


def learner(module: EncoderDecoder, config: OptimizerConfig):
    """Builds a function that takes a training step on one of our batches."""
    optimizer = torch.optim.Adam(
        module.parameters(),
        config.learning_rate,
        (config.beta1, config.beta2),
        config.epsilon,
        fused=True,
    )
    warmup = config.warmup_steps or 1
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (warmup / (step + 1)) ** 0.5)
    )

    def learn(batch: HostBatch) -> float:
        given = {name: torch.from_numpy(array).to(DEVICE) for name, array in batch.items()}
        real = given["lengths"] > 0  # a row without a source is padding, of which attention is NaN
        targets = given["targets"].long().masked_fill(given["loss_weights"] == 0, IGNORED)
        loss = module(
            given["sources"][real], given["lengths"][real], given["tokens"][real], targets[real]
        )
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return learn


@torch.inference_mode()
def translated(
    module: EncoderDecoder, sources: Sequence[np.ndarray], end: int, more_tokens: int, context: int
) -> list[list[int]]:
    """The greedy target of each source, without its end; at most `more_tokens` longer."""
    module.eval()
    found: dict[int, list[int]] = {}
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    for first in range(0, len(order), AT_ONCE):
        held = order[first : first + AT_ONCE]
        lengths = torch.tensor([len(sources[i]) for i in held], device=DEVICE)
        rows = [torch.from_numpy(sources[i]).to(DEVICE) for i in held]
        memory = module.encode(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)
        limits = (lengths + more_tokens).clamp(max=context - 1)
        tokens = torch.full((len(held), 1), end, device=DEVICE)
        ended = torch.zeros(len(held), dtype=torch.bool, device=DEVICE)
        while not ended.all():
            best = module.logits(module.decode(tokens, memory, lengths)[:, -1]).argmax(-1)
            tokens = torch.cat([tokens, torch.where(ended, end, best)[:, None]], 1)
            ended |= (best == end) | (tokens.shape[1] > limits)
        for i, row in zip(held, tokens[:, 1:].tolist(), strict=True):
            found[i] = row[: row.index(end)] if end in row else row
    return [found[i] for i in range(len(sources))]


def _training(
    pairs: str, tokenizer: str, seconds: float, slices: int, scored: int, output: str
) -> TimedProgram:
    """Builds a function that trains for a slice of `seconds`, the last of which writes `output`."""
    config = config_of(pairs, tokenizer)
    task, module = KIND.prepare(config), model_of(config)
    learn, stream = learner(module, config.optimizer), batches(task)
    clock, steps = Clock(seconds), 0

    def write() -> None:
        end, search = end_of(task.tokenizer), config.translation
        texts = [pair.source for pair in held_out_pairs(config, task.tokenizer)[:scored]]
        sources = encoded(texts, task.tokenizer, end)
        context = config.model.context_length
        found = translated(module, sources, end, search.more_tokens, context)
        lines = [" ".join(task.tokenizer.decode(np.array(ids)).split()) for ids in found]
        made = {"steps": steps, "seconds": clock.seconds, "translations": lines}
        Path(output).write_text(json.dumps(made))

    def step() -> None:
        nonlocal steps
        learn(next(stream))
        steps += 1

    def train() -> float:
        taken = clock.fill(step)
        if clock.slices == slices:
            write()
        return taken

    return train


if __name__ == "__main__":
    serve(_training, f"torch {torch.__version__} on {DEVICE}")
