"""The tasks that are known by name: one function each, which reads the published format."""

from gptjax.evals.registry import TASKS, load_tasks
from gptjax.evals.tasks import (  # noqa: F401, to register them
    arithmetic,
    choices,
    classification,
    code,
    free_text,
    language,
    pictures,
    schemas,
)

__all__ = ["TASKS", "load_tasks"]
