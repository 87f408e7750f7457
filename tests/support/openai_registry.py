"""A registry of OpenAI Evals that a test writes: each class, with samples and corner cases.

root = write(tmp_path)          # of two samples or more each
answer(prompt, **arguments)     # a deterministic completion function, often nearly right
"""

import gzip
import hashlib
import json
import textwrap
from pathlib import Path

EVALS = """
match:
  id: match.dev
  metrics: [accuracy]
match.dev:
  id: match.dev.v0
match.dev.v0:
  class: evals.elsuite.basic.match:Match
  args: {samples_jsonl: words/samples.jsonl}
match-few.dev.v0:
  class: evals.elsuite.basic.match:Match
  args: {samples_jsonl: chats.jsonl, num_few_shot: 2, few_shot_jsonl: shots.jsonl}
includes.dev.v0:
  class: evals.elsuite.basic.includes:Includes
  args: {samples_jsonl: words/samples.jsonl}
includes-any-case.dev.v0:
  class: evals.elsuite.basic.includes:Includes
  args: {samples_jsonl: words/samples.jsonl, ignore_case: true}
fuzzy.dev.v0:
  class: evals.elsuite.basic.fuzzy_match:FuzzyMatch
  args: {samples_jsonl: words/samples.jsonl, max_tokens: 7}
json-match.dev.v0:
  class: evals.elsuite.basic.json_match:JsonMatch
  args: {samples_jsonl: json.jsonl}
json-validator.dev.v0:
  class: evals.elsuite.basic.json_validator:JsonValidator
  args: {samples_jsonl: chats.jsonl.gz}
translate.dev.v0:
  class: evals.elsuite.translate:Translate
  args: {samples_jsonl: chats.jsonl, num_few_shot: 1, few_shot_jsonl: shots.jsonl}
mmlu.dev.v0:
  class: evals.elsuite.sandbagging.mmlu_eval:MMLU
  args: {samples_jsonl: questions.jsonl}
test-match.s1.v0:
  class: evals.elsuite.test.match:TestMatch
choice.val.v0:
  class: evals.elsuite.multiple_choice:MultipleChoice
  args: {dataset: "hf://hendrycks_test?name=sums&split=validation", instructions: "Choose."}
lambada.test.v0:
  class: evals.elsuite.lambada:Lambada
  args: {subset: en}
graded-classify.dev.v0:
  class: evals.elsuite.modelgraded.classify:ModelBasedClassify
  args: {samples_jsonl: chats.jsonl, modelgraded_spec: right, eval_type: classify}
graded-cot.dev.v0:
  class: evals.elsuite.modelgraded.classify:ModelBasedClassify
  args:
    samples_jsonl: words/samples.jsonl
    modelgraded_spec: right
    eval_type: cot_classify
    match_fn: exact
    eval_kwargs: {max_tokens: 9, temperature: 0.5}
graded-cot-first.dev.v0:
  class: evals.elsuite.modelgraded.classify:ModelBasedClassify
  args: {samples_jsonl: words, modelgraded_spec: letters, eval_type: classify_cot}
graded-jp.dev.v0:
  class: evals.elsuite.modelgraded.classify:ModelBasedClassify
  args: {samples_jsonl: chats.jsonl, modelgraded_spec: letters, eval_type: cot_classify_jp}
graded-own.dev.v0:
  class: evals.elsuite.modelgraded.classify:ModelBasedClassify
  args:
    samples_jsonl: words/samples.jsonl
    modelgraded_spec: own
    modelgraded_spec_args: {criteria: "Is it a {word}?"}
    match_fn: include
graded-meta.dev.v0:
  class: evals.elsuite.modelgraded.classify:ModelBasedClassify
  args: {samples_jsonl: meta.jsonl, modelgraded_spec: right, eval_type: classify, metaeval: true}
graded-best.dev.v0:
  class: evals.elsuite.modelgraded.classify:ModelBasedClassify
  args:
    samples_jsonl: chats.jsonl
    modelgraded_spec: best
    eval_type: cot_classify
    multicomp_n: 3
    sample_kwargs: {temperature: 0.4}
agent.dev.v0:
  class: evals.elsuite.bluff.eval:BluffEval
odd.dev.v0:
  class: somewhere.else:Odd
"""
SETS = """
basic:
  evals: [match, includes.dev.v0, "fuzzy.*", nowhere]
everything:
  evals: ["*.dev.v0"]
"""
GRADED = """
right:
  prompt: |-
    Is {completion} right for {input}, and not {ideal}?
  choice_strings: ["Yes", "No", "Unsure"]
  choice_scores: {"Yes": 1.0, "No": 0.0, "Unsure": 0.5}
  input_outputs: {input: completion}
letters:
  prompt: "{input} {completion}: which of A to E?"
  choice_strings: ABCDE
  input_outputs: {input: completion}
own:
  prompt: "{criteria} {completion}"
  eval_type: cot_classify
  choice_strings: "12345"
  choice_scores: from_strings
  input_outputs: {input: completion}
best:
  prompt: "Which of {n} is best for {input}?\\n{completion}"
  choice_strings: from_n_ABC
  input_outputs: {input: completion}
  output_template: "{i_ABC} {i} {i_abc}) {output}\\n"
"""
FUNCTIONS = """
ours:
  class: evals.completion_fns.openai:OpenAIChatCompletionFn
  args: {model: small, api_base: "http://127.0.0.1:1/v1", extra_options: {temperature: 0}}
thoughts:
  class: evals.completion_fns.cot:ChainOfThoughtCompletionFn
"""
WORDS = ("fox", "jar", "The sun", "a {brace}", "{}", "red hen", "An owl!", "cat")
CLASSES_WITH_SAMPLES = 19


def write(folder: Path) -> Path:
    """Writes the registry below a folder; returns its root."""
    root = folder / "registry"
    for kind, content in {
        "evals": EVALS,
        "eval_sets": SETS,
        "modelgraded": GRADED,
        "completion_fns": FUNCTIONS,
    }.items():
        (root / kind).mkdir(parents=True)
        (root / kind / "all.yaml").write_text(textwrap.dedent(content))
    words = [
        {"input": f"Copy {{it}} {i}: {word}", "ideal": [word, word.upper()] if i % 3 == 0 else word}
        for i, word in enumerate(WORDS * 4)
    ]
    chats = [
        {
            "input": [
                {"role": "system", "content": f"Say {{x}} number {i}."},
                {"role": "user", "content": word},
            ],
            "ideal": word,
        }
        for i, word in enumerate(WORDS)
    ]
    shots = [{"sample": _shot(word)} for word in WORDS[:3]]
    rows = {
        "words/samples.jsonl": words,
        "chats.jsonl": chats,
        "shots.jsonl": shots,
        "json.jsonl": [
            {"input": f"JSON {i}", "ideal": [json.dumps({"a": i % 3}), "[1]"]} for i in range(12)
        ],
        "questions.jsonl": [
            {"question": f"{i} + 1? A) {i + 1} B) {i}", "answer": "AB"[i % 2]} for i in range(9)
        ],
        "meta.jsonl": [
            {"input": word, "completion": word, "ideal": "x", "choice": ("Yes", "No")[i % 2]}
            for i, word in enumerate(WORDS)
        ],
        "lambada.jsonl": [{"text": f"He saw the {word} and {word}"} for word in WORDS],
    }
    for name, its in rows.items():
        path = root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in its))
    plain = (root / "data" / "chats.jsonl").read_bytes()
    (root / "data" / "chats.jsonl.gz").write_bytes(gzip.compress(plain))
    val = root / "data" / "mmlu" / "val"
    val.mkdir(parents=True)
    lines = [f'"{i} + 1, or {i}?",{i},{i + 1},{i + 2},{i + 3},B' for i in range(9)]
    (val / "sums_val.csv").write_text("\n".join(lines) + "\n")
    return root


def datasets(root: Path) -> dict[str, str]:
    """The data sets that hf:// names in it."""
    data = root / "data"
    return {"hendrycks_test": str(data / "mmlu"), "lambada": str(data / "lambada.jsonl")}


def _shot(word: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": word, "name": "example_user"},
        {"role": "system", "content": f"{word}!", "name": "example_assistant"},
    ]


def answer(prompt, **arguments):
    """An answer that is a function of the prompt and the arguments, and often nearly right."""
    key = json.dumps([prompt, sorted(arguments.items())], ensure_ascii=False)
    number = int(hashlib.sha256(key.encode()).hexdigest(), 16)
    text = prompt if isinstance(prompt, str) else "\n".join(each["content"] for each in prompt)
    words = text.split()
    return (
        "A",
        "Yes",
        f"No\nbecause {words[number % len(words)]}",
        "Reasoning: {x}\nAnswer: B",
        words[-1],
        " ".join(words[-2:]),
        json.dumps({"a": number % 3}),
        f"The answer is\n{'ABCDE'[number % 5]}",
        str(number % 7),
        "Unsure.",
        text.rpartition(": ")[2],
        text.rpartition(": ")[2] + "s",
    )[number % 12]
