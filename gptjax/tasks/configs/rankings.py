"""The rankings that reward models and DPO learn from, as sections of their configurations."""

import dataclasses

from gptjax.settings import setting


@dataclasses.dataclass
class RankingsSection:
    """The rankings that a run learns from, and the limits on their length."""

    rankings: str | None = setting(
        None,
        "set of rankings: instructions, jsonl:PATH, votes:STORE, hh:PATH, ...; none: it must be "
        "given",
    )
    validation: str | None = setting(
        None,
        "set of rankings that are held out; none: data.validation_fraction of the prompts in "
        "rankings",
        gives_way_to="rankings",
    )
    epochs: int | None = setting(
        None, "passes over the rankings; none: training.num_steps decides", low=1
    )
    max_prompt_tokens: int = setting(
        1024, "largest number of tokens in a prompt, including the assistant's mark", low=1
    )
    max_answer_tokens: int = setting(
        1024, "largest number of tokens in an answer, including the end of its turn", low=1
    )
    max_answers: int = setting(
        9, "largest number of answers to a prompt; rankings of more answers are left out", low=2
    )
    random_start: bool = setting(
        False, "whether a run without checkpoint.init_from starts from random parameters"
    )
