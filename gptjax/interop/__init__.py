"""Other projects' checkpoints as ours: key tables, read without those projects at run time."""

from typing import TYPE_CHECKING

from gptjax.rooms import public_names

if TYPE_CHECKING:
    from gptjax.interop.huggingface_directory import Pretrained, write_pretrained

__all__ = ["Pretrained", "write_pretrained"]
__getattr__, __dir__ = public_names(__name__)
