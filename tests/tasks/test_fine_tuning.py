"""Runs of supervised fine-tuning: losses and mixtures against loops, and what is refused."""

import dataclasses
import itertools
import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from gptjax.config import TrainingConfig
from gptjax.data.batches.loader import ALL
from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.data.dialogue.conversations import load_conversations
from gptjax.data.dialogue.instructions import gold_reward
from gptjax.data.dialogue.prompts import load_prompts
from gptjax.inference.generate import Generator
from gptjax.runs.initial.params import find_initial_checkpoint
from gptjax.runs.kind import kind_of
from gptjax.runs.program import Program
from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tasks.configs.reward_modelling import RewardModelConfig
from gptjax.training.checkpoints.store import Checkpoints
from tests.support.alignment_runs import (
    assert_same_params,
    killed_at,
    make_config,
    prepared,
    refusal,
    rows,
    run,
)
from tests.support.binaries import call


@pytest.fixture(scope="module")
def whole(trained):
    """A run that nobody interrupts; it is not to be changed."""
    return trained("sft")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Two epochs with text mixed in, whose answers are scored; it is not to be changed."""
    config = make_config(
        SFTConfig,
        sft__pretraining_share=0.25,
        sft__epochs=2,
        sft__rewards="gold",
        sft__reward_prompts=6,
    )
    return run(tmp_path_factory.mktemp("runs") / "mixed", config)


def test_a_run_says_what_it_is_and_what_it_made(whole):
    described = json.loads((whole.path / "config.json").read_text())
    assert described["task"] == "sft" == whole.config().kind
    assert whole.config() == make_config(SFTConfig)
    result = whole.result()
    assert result["mixture"]["conversations"]["examples"] == 8 * 4
    assert result["loss"] < rows(whole)[0]["loss"] < 1.05 * np.log(453)
    assert result["perplexity"] == pytest.approx(np.exp(result["loss"]))
    assert "bits_per_byte" not in result


def test_the_loss_is_that_of_what_assistants_say_and_of_their_ends_alone(whole):
    """Conversation by conversation, without packing, padding or weights."""
    template, model, params = ChatTemplate(whole.tokenizer()), whole.model(), whole.params(8)
    apply = jax.jit(lambda tokens: model.apply({"params": params}, tokens))
    nats = []
    for conversation in load_conversations("instructions:split=held_out,count=20"):
        ids, learned = template.render(conversation)
        padded = np.zeros((1, 49), np.int32)
        padded[0, : len(ids)] = ids
        logits = np.asarray(apply(padded[:, :48]), np.float64)[0]
        for place in range(len(ids) - 1):
            if learned[place + 1]:
                real = logits[place, :453]
                nats.append(np.log(np.exp(real).sum()) - real[ids[place + 1]])
    assert whole.result()["loss"] == pytest.approx(np.mean(nats), rel=1e-5)
    assert len(nats) == sum(
        len(template.answer(chat[-1].content))
        for chat in load_conversations("instructions:split=held_out,count=20")
    )


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_bits(whole, tmp_path):
    """Before there is a checkpoint, while one may be half written, and again."""
    config = make_config(SFTConfig, checkpoint__every_steps=2)
    killed = killed_at(tmp_path / "killed", config, 1, 3, 6)
    with Checkpoints(killed.path / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() in (2, 4, 6)
    assert not killed.has_result()
    run(killed.path, config)
    assert rows(killed) == rows(whole)
    assert_same_params(killed, whole, 8)


def test_epochs_decide_the_steps_and_the_decay(mixed):
    task = prepared(make_config(SFTConfig, sft__epochs=3))
    steps = task.config.training.num_steps
    assert task.config.optimizer.decay_steps == steps
    for decay in (5, TrainingConfig().num_steps):
        own = prepared(make_config(SFTConfig, sft__epochs=3, optimizer__decay_steps=decay))
        assert (own.config.training.num_steps, own.config.optimizer.decay_steps) == (steps, decay)
    assert prepared(task.config).config == task.config  # as a work directory has it
    rows_a_step, rows_an_epoch = 4, 17
    assert (steps - 1) * rows_a_step < 3 * rows_an_epoch <= steps * rows_a_step
    assert mixed.config().training.num_steps == mixed.result()["step"]


@pytest.mark.parametrize(("saved", "judged"), [(2, 4), (4, 4), (8, 4)])
def test_the_best_checkpoint_is_one_that_is_saved(saved, judged):
    changes = {"checkpoint__every_steps": saved, "training__eval_every": judged}
    for config in (
        make_config(SFTConfig, **changes),
        make_config(SFTConfig, checkpoint__every_steps=3, sft__choose="newest"),
    ):
        kind_of(config).check(config)


def test_text_is_mixed_in_and_judged_apart(mixed):
    mixture = mixed.result()["mixture"]
    assert mixture["pretraining"]["share"] == pytest.approx(0.25, abs=0.05)
    assert mixture["conversations"]["epochs"] == pytest.approx(2, abs=0.3)
    splits = {row.get("split") for row in rows(mixed)}
    assert splits == {None, "pretraining", "validation"}
    assert mixed.result()["split"] == "validation"
    assert "corpus_hash" in mixed.record()


def _first_rows(task, count, skipped=()):
    """Of the first rows that are trained on: their arrays, and which are of text."""
    batches = list(itertools.islice(task.batches(0, skipped, ALL), count // 4))
    rows = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    return rows, rows["loss_weights"].all(axis=1)


@pytest.mark.parametrize("document_masking", [False, True])
def test_documents_of_text_are_hidden_in_training_as_in_evaluation(document_masking):
    """Conversations that share a row are always hidden from each other."""
    config = make_config(
        SFTConfig, sft__pretraining_share=0.5, data__document_masking=document_masking
    )
    task = prepared(config)
    rows, is_text = _first_rows(task, 64)
    several = rows["segment_ids"].max(axis=1) > 0
    assert several[is_text].any() == document_masking
    assert several[~is_text].any()
    program = Program(config)
    judged = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "gptjax.tasks.fine_tuning.language_model_evaluator",
            lambda _, batches, *__: judged.append(next(iter(batches()))),
        )
        task.evaluators(program)
    assert ("segment_ids" in judged[0]) == document_masking


def test_the_seed_decides_which_text_comes_when():
    def first(seed):
        changes = {"sft__pretraining_share": 0.5, "training__seed": seed}
        rows, is_text = _first_rows(prepared(make_config(SFTConfig, **changes)), 16)
        return is_text.tolist(), rows["tokens"][is_text][:4].tolist()

    (places, texts), others = first(0), first(1)
    assert (places, texts) == first(0) and places != others[0] and texts != others[1]


def test_the_mixture_that_is_told_leaves_out_what_the_run_did(whole, tmp_path):
    path = Path(shutil.copytree(whole.path, tmp_path / "copy"))
    skipped = ((0, 9), (17, 30))
    with (path / "metrics.jsonl").open("a") as metrics:
        metrics.write(json.dumps({"step": 8, "loss": 1.0, "skipped_examples": skipped}) + "\n")
    task = prepared(make_config(SFTConfig, sft__pretraining_share=0.25))
    figures = task.final_metrics(None, None, WorkDirectory(str(path)))
    _, is_text = _first_rows(task, 32, skipped)
    told = {name: part["examples"] for name, part in figures["mixture"].items()}
    assert told == {"conversations": 32 - is_text.sum(), "pretraining": is_text.sum()}


def test_examples_are_shown_as_they_are_learned():
    config = make_config(SFTConfig, sft__pretraining_share=0.25)
    shown = list(itertools.islice(prepared(config).examples(False), 10))
    rows, is_text = _first_rows(prepared(config), 12)
    assert len(shown) == 10
    for number, text in enumerate(shown):
        lines = text.splitlines()
        headings = [line for line in lines if line.startswith("row ")]
        learned = sum(int(re.fullmatch(r".*, (\d+) learned", line)[1]) for line in headings)
        assert headings[0].startswith(f"row {number}, part 0: ")
        assert learned == rows["loss_weights"][number].sum()
        assert any("<|assistant|>" in line for line in lines) != is_text[number]
        assert all(line.startswith(("row ", "+", " ")) for line in lines)


@pytest.mark.slow
def test_later_commands_take_the_checkpoint_that_is_chosen(tmp_path):
    """The loss is lowest at step 4, the reward highest at step 6."""
    config = make_config(
        SFTConfig,
        training__eval_every=2,
        checkpoint__every_steps=2,
        checkpoint__keep=4,
        sft__choose="reward",
        sft__rewards="gold",
    )

    def judged_by_order(task):
        losses = itertools.chain((3.0, 1.0, 2.0), itertools.repeat(4.0))
        rewards = itertools.chain((0.1, 0.2, 0.4), itertools.repeat(0.3))
        judge = {"validation": lambda _: {"loss": next(losses), "reward": next(rewards)}}
        return dataclasses.replace(task, evaluators=lambda _: judge)

    workdir = run(tmp_path / "run", config, change=judged_by_order)
    assert workdir.chosen_step() == workdir.resolve_step(None) == 6
    later = make_config(RewardModelConfig, checkpoint__init_from=str(workdir.path))
    assert find_initial_checkpoint(later).step == 6
    result = workdir.result()
    assert (result["step"], result["loss"], result["chosen_step"]) == (8, 4.0, 6)
    assert (result["chosen_loss"], result["chosen_reward"]) == (2.0, 0.4)
    with Checkpoints(workdir.path / "checkpoints") as checkpoints:
        expected, last = (checkpoints.restore_params(step) for step in (6, 8))
    jax.tree.map(np.testing.assert_array_equal, workdir.params(), expected)
    with pytest.raises(AssertionError):
        jax.tree.map(np.testing.assert_array_equal, expected, last)

    for choose, step in (("loss", 4), ("newest", 8)):
        config.sft.choose = choose
        assert run(workdir.path, config).chosen_step() == step


def test_the_reward_that_chooses_is_that_of_answers_to_held_out_prompts(mixed):
    step = mixed.result()["step"]
    template = ChatTemplate(mixed.tokenizer())
    prompts = list(load_prompts("instructions:split=held_out,count=20"))[:6]
    ids = [template.prompt(prompt) for prompt in prompts]
    answers = Generator(mixed.model(), mixed.params(step)).generate(
        ids,
        max_new_tokens=48 - max(map(len, ids)),
        seed=mixed.config().training.seed,
        stop_token=template.tokenizer.end_of_turn,
    )
    gold = [
        gold_reward(prompt[-1].content, template.response(answer)[0])
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    judged = [row for row in rows(mixed) if row.get("split") == "validation"]
    assert judged[-1]["reward"] == pytest.approx(np.mean(gold))
    assert mixed.result()["chosen_reward"] in [row["reward"] for row in judged]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sft__random_start": False}, r"init_from: got none for a new run of kind sft, "),
        ({"checkpoint__init_from": "nowhere"}, "no checkpoint in .*nowhere"),
        (
            {"data__tokenizer": "instructions_448", "model__vocab_size": 448},
            r"config\.data\.tokenizer: got one of kind byte_level_bpe, expected .* chat:INNER",
        ),
        ({"model__context_length": 3}, r"got none of 60 \(60 conversations longer than 4 tokens"),
        ({"sft__validation": "instructions:split=test"}, "split"),
        ({"sft__choose": "reward"}, r"sft\.rewards: got None, expected rewards such as reward_mod"),
        (
            {"model__attention": "prefix(length=40)", "sft__rewards": "gold"},
            r"attention prefix.length=40.: got \d+ tokens at once, to be continued one by one",
        ),
        (
            {"sft__epochs": 3, "training__num_steps": 7},
            r"num_steps: got 7 with epochs, which take 13 steps, expected one .*\.sft\.epochs=none",
        ),
        ({"checkpoint__every_steps": 3}, r"every_steps: got 3, expected a multiple or a divisor"),
    ],
)
def test_bad_input_is_one_line(tmp_path, changes, message):
    said = refusal(run, tmp_path / "run", make_config(SFTConfig, **changes))
    assert re.search(message, said)
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_the_command_line_has_its_fields(tmp_path):
    command = ["--experiment=sft_smoke", f"--workdir={tmp_path}/run"]
    ended = call("train", *command, "--config.sft.conversations=none")
    assert ended.code == 2 and "Traceback" not in ended.errors
    assert "config.sft.conversations: got none, expected jsonl:" in ended.errors


def test_a_model_of_another_tokenizer_is_refused(trained, tmp_path):
    config = make_config(
        SFTConfig,
        checkpoint__init_from=str(trained("pretrain").path),
        data__tokenizer="chat:bytes",
        model__vocab_size=261,
        model__vocab_multiple=512,
    )
    said = refusal(run, tmp_path / "run", config)
    assert re.search(r"init_from: got .*pretrain of the tokenizer \w{12}, expected", said)


def test_runs_of_other_kinds_are_told_apart(trained, whole):
    said = refusal(run, trained("pretrain").path, make_config(SFTConfig))
    assert "holds a run of kind pretrain; expected one of" in said
    for changes, differs in (
        ({"sft__epochs": 2}, r"training\.num_steps: 9, not 8, although the learning rates so far"),
        ({"sft__conversations": "instructions:count=59"}, r"conversations_hash: \w{12}, not"),
    ):
        said = refusal(run, whole.path, make_config(SFTConfig, **changes))
        assert re.search("holds another run.*" + differs, said)


def test_of_dolly_a_share_is_held_out(shared_data, whole):
    config = make_config(
        SFTConfig,
        sft__conversations=f"dolly:{shared_data}/dolly_hhrlhf_small/*.jsonl",
        sft__validation=None,
        data__tokenizer="chat:python_docs_1024",
        model__vocab_size=1029,
        training__eval_batches=2,
    )
    task = prepared(config)
    figures = task.final_metrics(None, None, whole)
    (reason,) = figures["dropped"]
    assert reason == "conversations longer than 49 tokens"
    assert 0.3 < figures["fill"] <= 1
    assert task.hashes["conversations_hash"] != task.hashes["validation_hash"]
