"""One run, from its configuration to its result."""

from typing import TYPE_CHECKING

from gptjax.rooms import public_names

if TYPE_CHECKING:
    from gptjax.runs.kind import Kind, kind_of
    from gptjax.runs.workdir import WorkDirectory

__all__ = ["Kind", "WorkDirectory", "kind_of"]
__getattr__, __dir__ = public_names(__name__)
