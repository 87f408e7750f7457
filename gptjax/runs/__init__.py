"""One run, from its configuration to its result."""

from gptjax.runs.kind import Kind, kind_of
from gptjax.runs.workdir import WorkDirectory

__all__ = ["Kind", "WorkDirectory", "kind_of"]
