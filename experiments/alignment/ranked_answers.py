"""Rankings as `config` names them: what reward models and DPO learn from, and what is held out.

learned, held_out, hashes = ranked_answers("reward", config.reward, fraction, template)
"""

from experiments import sources
from experiments.task_configs import RankingsSection, RewardSection
from gptjax.data.chat_format import ChatTemplate
from gptjax.data.preferences import load_rankings
from gptjax.data.ranking_rows import RankingRows, ranking_rows
from gptjax.data.rankings import Ranking
from gptjax.data.records import Records
from gptjax.training.processes import together


def ranked_answers(
    name: str, section: RankingsSection, validation_fraction: float, template: ChatTemplate
) -> tuple[RankingRows, RankingRows, dict[str, str]]:
    """The rows of both sets, and the content hashes of what was read.

    Args:
      name: of the section in the configuration.
      section: what it says.
      validation_fraction: of the prompts that are held out where no set is named for that.
      template: of the tokenizer.

    Raises:
      ValueError: no set is named, it cannot be had, or nothing of it fits.
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
            share_prompts=isinstance(section, RewardSection) and section.share_prompts,
        )

    learned, held_out = together(
        lambda: sources.learned_and_held_out(
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
