"""The sample binary: what it prints, where prompts come from, and what it refuses."""

import functools
import json

import jax
import numpy as np
import pytest

from gptjax.config import DataConfig, ExperimentConfig, ModelConfig, resolve
from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.inference.beam import BeamSearch
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler
from gptjax.inference.text import encode_prompt
from gptjax.models.gpt import GPT
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import to_dict
from gptjax.tokenization import Tokenizer, load_tokenizer
from tests.support.binaries import call
from tests.support.params import random_params

PROMPT = "The function"


@pytest.fixture(scope="module", autouse=True)
def _cache(cache):
    return cache


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer("python_docs_1024")


@pytest.fixture(scope="module")
def run(tmp_path_factory, tokenizer) -> WorkDirectory:
    """A work directory as pretrain leaves it, of an untrained model, with checkpoints 1 and 2."""
    model = ModelConfig(
        vocab_size=1024, context_length=32, num_layers=1, num_heads=2, d_model=16, init_std=0.5
    )
    data = DataConfig(corpus="python_docs", tokenizer="python_docs_1024")
    config = resolve(ExperimentConfig(model=model, data=data))
    workdir = WorkDirectory(str(tmp_path_factory.mktemp("run")))
    workdir.begin("test", config, {"tokenizer_hash": tokenizer.content_hash()})
    tokenizer.save(workdir.path / "tokenizer")
    with workdir.checkpoints() as checkpoints:
        for step in (1, 2):
            params = jax.device_put(random_params(GPT(config.model), std=0.5, seed=step))
            state = {"count": jax.device_put(np.float32(0))}
            checkpoints.save(step, params=params, opt_state=state, data={}, config=to_dict(config))
    return workdir


def expected(run: WorkDirectory, tokenizer: Tokenizer, step: int, index: int, **options) -> str:
    """Prompt and continuation, by the whole-batch call."""
    prompt = tokenizer.encode(PROMPT)
    (new,) = Generator(run.model(), run.params(step)).generate(
        [prompt],
        sample_indices=[index],
        stop_token=tokenizer.end_of_text,
        **options,
    )
    new = new[new != tokenizer.end_of_text]
    return tokenizer.decode(np.concatenate([prompt, new]))


def test_prints_each_sample_under_a_header(run, tokenizer):
    options = ("--temperature=0.8", "--top_k=50", "--top_p=0.9", "--seed=3", "--num_samples=2")
    done = call(
        "sample", f"--workdir={run.path}", f"--prompt={PROMPT}", "--max_new_tokens=12", *options
    )
    sampler = make_sampler(0.8, 50, 0.9)
    texts = [
        expected(run, tokenizer, 2, i, max_new_tokens=12, sampler=sampler, seed=3) for i in (0, 1)
    ]
    assert texts[0] != texts[1]
    assert done.output == (
        f"======== sample 1 of 2 ========\n{texts[0]}\n"
        f"======== sample 2 of 2 ========\n{texts[1]}\n"
    )
    assert (done.code, done.errors) == (0, "")


def test_prompts_come_from_a_pipe_or_a_file(run, tokenizer, tmp_path):
    (tmp_path / "prompt.txt").write_text(f"{PROMPT}\n")
    greedy = make_sampler(temperature=0)
    first, second = (expected(run, tokenizer, step, 0, sampler=greedy) for step in (1, 2))
    assert first != second
    flags = ("sample", f"--workdir={run.path}", "--temperature=0")
    piped = call(*flags, "--restore_step=1", stdin=f"{PROMPT}\n")
    from_file = call(*flags, f"--prompt_file={tmp_path}/prompt.txt")
    assert (piped.code, piped.output) == (0, first + "\n")
    assert (from_file.code, from_file.output) == (0, second + "\n")


def test_a_chat_run_answers_a_users_turn_and_shows_no_marks(trained):
    workdir = trained("sft")
    tokenizer, said = workdir.tokenizer(), "copy: fox jar"
    template = ChatTemplate(tokenizer)
    generator = Generator(workdir.model(), workdir.params())
    (answer,) = generator.generate(
        [template.prompt([Message("user", said)])], seed=1, stop_token=tokenizer.end_of_turn
    )
    text, finished = template.response(answer)
    command = ("sample", f"--workdir={workdir.path}", f"--prompt={said}", "--seed=1")
    assert call(*command).output == f"{said}\n{text}\n" and finished
    assert "<|endofturn|>" not in call(*command, "--num_beams=2").output
    plain = call(*command, "--nochat", "--max_new_tokens=2").output
    assert plain.startswith(said) and plain[len(said)] != "\n"


@pytest.mark.slow
def test_no_answer_holds_padding_or_another_turn(trained, monkeypatch):
    """Of a model to which padding is the most probable, then the user's mark, then "x"."""
    workdir, direction = trained("sft"), np.ones(16, np.float32)
    tokenizer, params = workdir.tokenizer(), workdir.params()
    table = np.zeros((512, 16), np.float32)
    for size, token in enumerate((tokenizer.encode("x")[0], tokenizer.role("user")), start=1):
        table[token] = size * direction
    table[tokenizer.padding] = 3 * direction
    norm = {"scale": np.zeros(16, np.float32), "bias": 5 * direction}
    changed = {"token_embedding": table, "trunk": params["trunk"] | {"final_norm": norm}}
    monkeypatch.setattr(WorkDirectory, "params", lambda *_: params | changed)
    command = ("sample", f"--workdir={workdir.path}", "--prompt=Hi", "--max_new_tokens=3")
    assert call(*command).output == call(*command, "--num_beams=2").output == "Hi\nxxx\n"
    assert call(*command, "--nochat").output == "Hi" + 3 * "<|padding|>" + "\n"


def test_a_chat_without_its_marks_is_refused(run):
    refused = call("sample", f"--workdir={run.path}", "--prompt=a", "--chat").refusal
    assert "expected one with the tokens of a chat, chat:INNER" in refused


def test_beams_penalties_and_stop_strings(run, tokenizer):
    """Each as the library has it."""
    prompt = encode_prompt(tokenizer, PROMPT)
    flags = ("sample", f"--workdir={run.path}", f"--prompt={PROMPT}", "--max_new_tokens=10")
    done = call(*flags, "--num_beams=3", "--num_samples=2", "--length_penalty=0.5")
    assert (done.code, done.errors) == (0, "")
    search = functools.partial(
        BeamSearch(run.model(), run.params(), tokenizer),
        [prompt],
        num_beams=3,
        max_new_tokens=10,
        length_penalty=0.5,
        stop_token=tokenizer.end_of_text,
    )
    (found,) = search(num_best=2)
    for text in found:
        assert tokenizer.decode(np.concatenate([prompt, text.tokens])) in done.output
    best = tokenizer.decode(np.concatenate([prompt, found[0].tokens]))
    stop = best[-3:-1]
    done = call(*flags, "--num_beams=3", "--length_penalty=0.5", f"--stop={stop}")
    ((ended,),) = search(stop=[stop])
    assert done.output == PROMPT + tokenizer.decode(ended.tokens).partition(stop)[0] + "\n"

    options = ("--temperature=0", "--repetition_penalty=1.5", "--presence_penalty=0.5")
    sampler = make_sampler(0, repetition_penalty=1.5, presence_penalty=0.5)
    whole = expected(run, tokenizer, 2, 0, sampler=sampler, max_new_tokens=10)
    stop = whole[-3:-1]
    assert call(*flags, *options, f"--stop={stop}").output == (
        PROMPT + whole[len(PROMPT) :].partition(stop)[0] + "\n"
    )


def test_beams_of_a_prompt_that_fills_the_context_find_nothing_more(run, tokenizer):
    prompt = tokenizer.decode(tokenizer.encode("The function returns a list. " * 9)[:32])
    assert tokenizer.encode(prompt).size == 32
    done = call("sample", f"--workdir={run.path}", f"--prompt={prompt}", "--num_beams=2")
    assert (done.code, done.output) == (0, prompt + "\n")
    assert done.errors.startswith("note: only 0 new tokens fit")


@pytest.mark.slow
def test_the_most_probable_of_several_samples_is_written(run, tokenizer):
    options = {"max_new_tokens": 8, "seed": 3}
    flags = ("sample", f"--workdir={run.path}", f"--prompt={PROMPT}", "--best_of=8")
    done = call(*flags, *(f"--{name}={value}" for name, value in options.items()))
    generator, prompt = Generator(run.model(), run.params(), tokenizer), tokenizer.encode(PROMPT)
    best = generator.best_of(prompt, 8, stop_token=tokenizer.end_of_text, **options)
    assert (done.code, done.errors) == (0, "")
    assert done.output == PROMPT + "".join(best.text()) + "\n"
    assert done.output != expected(run, tokenizer, 2, 0, **options) + "\n"


def test_every_option_of_sampling_reaches_the_sampler(run, monkeypatch):
    def noted(**named):
        raise ValueError(json.dumps(named))

    monkeypatch.setattr("gptjax.inference.sampling.make_sampler", noted)
    options = {"temperature": 0.7, "top_k": 40, "top_p": 0.9, "min_p": 0.02}
    penalties = {name: 0.1 * i for i, name in enumerate(("repetition", "presence", "frequency"))}
    penalties = {f"{name}_penalty": value for name, value in penalties.items()}
    flags = [f"--{name}={value}" for name, value in (options | penalties).items()]
    banned = ("--banned_token=5", "--banned_token=7")
    refused = call("sample", f"--workdir={run.path}", "--prompt=a", *flags, *banned).refusal
    named = penalties | {"banned_tokens": [5, 7], "vocab_size": 1024}
    assert json.loads(refused) == options | named


def test_a_window_takes_the_last_tokens_of_a_long_prompt(run, tokenizer):
    tokens = tokenizer.encode("The function returns a list. " * 9)
    assert tokens.size > 32
    flags = ("--temperature=0", "--max_new_tokens=4", "--sliding_window", "--prompt_file=-")
    done = call("sample", f"--workdir={run.path}", *flags, stdin=tokenizer.decode(tokens))
    (new,) = Generator(run.model(), run.params()).generate(
        [tokens[-28:]], max_new_tokens=4, sampler=make_sampler(0), stop_token=tokenizer.end_of_text
    )
    assert (done.code, done.errors) == (0, "")
    assert done.output == tokenizer.decode(np.concatenate([tokens[-28:], new])) + "\n"


def test_a_text_from_nothing_fills_the_context_and_says_so(run):
    done = call("sample", f"--workdir={run.path}", "--prompt=", "--max_new_tokens=100")
    assert done.code == 0
    assert done.errors.splitlines() == [
        "note: only 31 new tokens fit in the context after the prompt's 1"
    ]
    assert done.output.strip()
    assert "endoftext" not in done.output


@pytest.mark.parametrize(
    ("flags", "stdin", "message"),
    [
        (["--prompt=a", "--top_p=0"], b"", "top_p: got 0.0, expected above 0"),
        (["--prompt=a", "--temperature=-1"], b"", "temperature: got -1.0, expected 0"),
        (["--prompt=a", "--num_beams=2", "--top_k=5"], b"", "--num_beams: got it with --top_k"),
        (["--prompt=a", "--best_of=2", "--num_beams=2"], b"", "expected it alone"),
        (["--prompt=a", "--num_beams=2", "--num_samples=3"], b"", "num_best: got 3, expected 1 to"),
        (["--prompt=a", "--banned_token=5000"], b"", "token: got 5000, expected 0 to 1023"),
        (["--prompt=a", "--prompt_file=-"], b"", "got both --prompt and --prompt_file"),
        (["--prompt_file=missing.txt"], b"", "No such file or directory: 'missing.txt'"),
        (["--prompt_file=-"], b"\xff", "standard input: 'utf-8' codec can't decode"),
        (["--prompt=" + "a b c d " * 10], b"", "expected at most 32, the context length"),
        (["--prompt=a", "--restore_step=7"], b"", "--restore_step: got 7, expected one of 1, 2"),
        (["--prompt=a", "--workdir=missing"], b"", "--workdir: no run in missing (config.json: "),
    ],
)
def test_bad_input_is_one_line(run, flags, stdin, message):
    assert message in call("sample", f"--workdir={run.path}", *flags, stdin=stdin).refusal
