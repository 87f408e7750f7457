"""Variants as a command line writes them; nothing is trained."""

import dataclasses

import pytest

from gptjax.config import (
    CheckpointConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    resolve,
)
from gptjax.model_config import EncoderDecoderConfig
from gptjax.runs.kind import kind_named
from gptjax.studies.equal_budget.variants import loss_differs, parse_variants
from gptjax.tasks.configs.translation import TranslationConfig, TranslationSection
from gptjax.tasks.policy_optimisation.config import PPOConfig
from gptjax.tokenization import load_tokenizer
from tests.support.prepared import write_prepared

SIZES = {"vocab_size": 512, "context_length": 512, "num_layers": 2, "num_heads": 4, "d_model": 64}


def make_base(**sections):
    return ExperimentConfig(**{"model": ModelConfig(**SIZES)} | sections)


def keys(text, base=None):
    return [variant.key for variant in parse_variants(base or make_base(), text)]


def test_attention_alone_is_read_without_its_spaces():
    text = "dense; dense, banded(window = 64) ;banded(window=2)|banded(window=3)"
    variants = ["dense", "dense,banded(window=64)", "banded(window=2)|banded(window=3)"]
    assert keys(text) == variants
    assert [variant.name for variant in parse_variants(make_base(), text)] == variants


def test_fields_are_divided_where_the_next_one_begins():
    text = (
        "base; mixed: model.attention=dense, banded(window=64), model.num_heads = 2;"
        "lora.rank=8,lora.targets=attention,feed_forward; wide one: dense,banded(window=3);"
        "optimizer.name=muon,optimizer.learning_rate=0.02,data.document_masking=true"
    )
    base, mixed, lora, wide, muon = parse_variants(make_base(), text)
    assert (base.name, base.key, base.values) == ("base", "base", {})
    assert mixed.name == "mixed"
    assert mixed.values == {"model.attention": "dense,banded(window=64)", "model.num_heads": 2}
    assert lora.name == lora.key == "lora.rank=8,lora.targets=attention,feed_forward"
    assert (wide.name, wide.key) == ("wide one", "dense,banded(window=3)")
    config = resolve(muon.of(make_base()))
    assert (config.optimizer.name, config.optimizer.learning_rate) == ("muon", 0.02)
    assert config.data.document_masking is True
    assert resolve(mixed.of(make_base())).model.d_head == 32  # follows from the heads
    named, other = parse_variants(make_base(), "a: model.d_ff=8,model.norm=post;base")
    assert named.key == "model.d_ff=8,model.norm=post" and other.key == "base"
    assert keys("model.norm=post,model.d_ff=8") == [named.key]


def test_an_optional_field_may_be_none_and_a_replaced_one_gives_way():
    base = make_base(optimizer=OptimizerConfig(warmup_steps=5))
    base.lora.rank = 4
    full, tokens = parse_variants(base, "lora.rank=none;optimizer.warmup_tokens=4096")
    assert full.of(base).lora.rank is None
    assert tokens.of(base).optimizer.warmup_steps is None
    assert base.optimizer.warmup_steps == 5 and base.lora.rank == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dense;bandit(window=4)", "unknown attention pattern 'bandit' .did you mean 'banded'"),
        ("dense;banded(window=8);banded( window=8 )", "'banded.window=8.' and .* the same; expect"),
        ("dense;", "got 'dense' and 'base', which are the same"),
        ("a: dense; a: banded(window=8)", "got the name 'a' twice"),
        ("dense;strided(stride=513)", "stride=513, expected at most the length, 512"),
        (
            "model.num_head=2",
            "--variants: unknown config field 'model.num_head' .did you mean 'model.num_hea",
        ),
        ("num_heads=2", "unknown config section 'num_heads' .did you mean 'model.num_heads'"),
        ("model.num_heads=two", "model.num_heads: got 'two', expected int >= 1"),
        ("data.document_masking=maybe", "data.document_masking: got 'maybe', expected bool"),
        ("model.num_heads=0", "model.num_heads=0: config.model.num_heads: got 0, expected int"),
        ("odd: model.num_heads=3", "odd: config.model.d_model: got 64 with 3 heads"),
        ("model.norm=post,model.norm=pre", "got model.norm twice"),
        ("training.seed=3", "training.seed, .*: --seeds says how many"),
        ("training.num_steps=3", "training.num_steps, .*: the budget decides"),
        (
            "data.corpus=text:a",
            "none and text:a, expected one, .*: it decides what .* judged on",
        ),
        ("model.context_length=8", "model.context_length, .*: it decides what .* judged on"),
        ("checkpoint.keep=3", "checkpoint.keep, .*: it does not change what a run learns"),
        ("profile.num_steps=3", "profile.num_steps, .*: it does not change what a run learns"),
    ],
)
def test_bad_variants_are_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match=message) as error:
        parse_variants(make_base(), text)
    assert "\n" not in str(error.value)


def test_what_parameters_to_start_from_decide_does_not_vary():
    base = make_base(checkpoint=CheckpointConfig(init_from="runs/other"))
    assert keys("banded(window=8)", base) == ["banded(window=8)"]
    with pytest.raises(ValueError, match=r"the parameters of checkpoint\.init_from decide it"):
        parse_variants(base, "model.num_layers=1")


def test_batches_of_several_sizes_are_judged_on_all_examples():
    base = make_base()
    assert keys("base;training.batch_size=4", base) == ["base", "training.batch_size=4"]
    base.training.eval_batches = 2
    with pytest.raises(ValueError, match=r"batch_size of 4 and 8 with .*=2, expected"):
        parse_variants(base, "base;training.batch_size=4")


def test_prepared_data_may_vary_where_their_held_out_shards_are_the_same(tmp_path):
    tokenizer = load_tokenizer("python_docs_1024")
    for name, text, held_out in [("raw", "a b", "c"), ("sifted", "a", "c"), ("other", "a", "d")]:
        texts = {"train/web-0": [text], "validation/docs-0": [held_out]}
        write_prepared(tmp_path / name, texts, tokenizer, {"web": 1.0})
    sifted, other = (f"data.corpus=prepared:{tmp_path / name}" for name in ("sifted", "other"))
    base = make_base(data=DataConfig(corpus=f"prepared:{tmp_path}/raw"))
    assert keys(f"base;{sifted}", base) == ["base", sifted]
    with pytest.raises(ValueError, match=r"sifted and prepared:.*other, expected one, or prepared"):
        parse_variants(base, f"{sifted};{other}")
    with pytest.raises(ValueError, match=r"no index\.json"):
        parse_variants(base, f"data.corpus=prepared:{tmp_path}")


def test_a_kind_says_what_its_runs_are_judged_on_and_what_its_loss_measures():
    base = TranslationConfig(
        model=EncoderDecoderConfig(**SIZES), translation=TranslationSection(pairs="numbers")
    )
    kind = kind_named("translation")
    plain, smoothing = parse_variants(base, "model.norm=post;translation.label_smoothing=0.3")
    assert not loss_differs([plain], kind) and loss_differs([plain, smoothing], kind)
    for field in ("translation.pairs=reversed", "translation.buckets=3"):
        with pytest.raises(ValueError, match="it decides what the variants are judged on"):
            parse_variants(base, field)
    with pytest.raises(ValueError, match="does not change what a run learns"):
        parse_variants(base, "translation.num_beams=2")
    with pytest.raises(ValueError, match="got one of kind ppo, expected one of a kind that learns"):
        parse_variants(dataclasses.replace(PPOConfig(), model=ModelConfig(**SIZES)), "dense")
