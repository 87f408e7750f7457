"""Figures whose cells other commands make, or that wait for their systems.

InstructGPT (Ouyang et al. 2022, arXiv 2203.02155), figure 1, and GPT-4 (OpenAI 2023, arXiv
2303.08774), figure 1.
"""

from gptjax.studies.paper_tables.table import TABLES, Cell, Elsewhere, Model, Table


@TABLES.register("instructgpt:1")
def preferences() -> Table:
    """How often InstructGPT's outputs are preferred."""
    by = Elsewhere("python -m experiments.instruct --experiment=instruct_demo (docs/alignment.md)")
    column = "preferred"
    return Table(
        name="instructgpt:1",
        title="how often InstructGPT is preferred",
        source="arXiv 2203.02155, section 1, labelers' preferences",
        units={column: "%"},
        cells=[
            Cell("175B over GPT-3 175B", column, 85.0, "PPO-ptx", by),
            Cell("175B over GPT-3 175B, few-shot prompted", column, 71.0, "PPO-ptx", by),
        ],
        models={"PPO-ptx": Model("ppo_ptx_175b")},
        notes="The pipeline `instruct_demo` of experiments.instruct has win rates against SFT.",
    )


@TABLES.register("gpt4:1")
def predicted_loss() -> Table:
    """GPT-4's final loss, predicted from smaller runs."""
    by = Elsewhere("scaling laws are not built yet")
    column = "bits a word of code"
    return Table(
        name="gpt4:1",
        title="the final loss, predicted from runs of a ten-thousandth of the compute",
        source="arXiv 2303.08774, figure 1",
        units={column: ""},
        cells=[Cell("predicted minus reached", column, None, "GPT", by)],
        models={"GPT": Model("gpt3_small")},
        notes="The figure has no numbers.",
    )
