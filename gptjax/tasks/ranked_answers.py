"""Rankings that reward models and DPO learn from, and those that are held out.

learned, held_out, hashes = ranked_answers("reward", config.reward, fraction, template)
"""

from gptjax.data.batches.ranking_rows import RankingRows, ranking_rows
from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.data.dialogue.preferences import load_rankings
from gptjax.data.dialogue.rankings import Ranking
from gptjax.data.dialogue.records import Records
from gptjax.runs import inputs
from gptjax.runs.planning.costs import Shapes, array
from gptjax.tasks.configs.rankings import RankingsSection
from gptjax.training.processes import together


def ranked_answers(
    name: str,
    section: RankingsSection,
    validation_fraction: float,
    template: ChatTemplate,
    share_prompts: bool = False,
) -> tuple[RankingRows, RankingRows, dict[str, str]]:
    """The rows of both sets, and the content hashes of what was read.

    Args:
      name: of the section in the configuration.
      section: what it says.
      validation_fraction: share of the prompts that is held out if no validation set is named.
      template: of the tokenizer.
      share_prompts: whether a prompt is encoded once for all its answers.

    Raises:
      ValueError: no set is named, a set cannot be read, or nothing of it fits.
    """
    if section.rankings is None:
        raise ValueError(
            f"config.{name}.rankings: got none, expected jsonl:PATH with rows of prompt, chosen "
            "and rejected or of prompt, responses and ranks, another set of rankings, or "
            "instructions to try it out"
        )
    given = section.rankings

    def encoded(rankings: Records[Ranking]) -> RankingRows:
        return ranking_rows(
            rankings,
            template,
            max_prompt_tokens=section.max_prompt_tokens,
            max_answer_tokens=section.max_answer_tokens,
            max_answers=section.max_answers,
            share_prompts=share_prompts,
        )

    learned, held_out = together(
        lambda: inputs.learned_and_held_out(
            load_rankings,
            given,
            section.validation,
            lambda ranking: ranking.prompt,
            validation_fraction,
        )
    )
    rows, validation = together(lambda: (encoded(learned), encoded(held_out)))
    hashes = {"rankings_hash": learned.content_hash(), "validation_hash": held_out.content_hash()}
    return rows, validation, hashes


def largest_rankings(rows: int, section: RankingsSection) -> Shapes:
    """The arrays of so many rankings of whole texts, at their limits."""
    count, length = section.max_answers, section.max_prompt_tokens + section.max_answer_tokens
    return {
        "num_answers": array(rows),
        "preferred": array(rows, count, count, dtype="float32"),
        "tokens": array(rows, count, length),
        "lengths": array(rows, count),
    }
