"""Other projects' checkpoints as ours: key tables, read without those projects at run time."""

from gptjax.interop.huggingface_directory import Pretrained, write_pretrained

__all__ = ["Pretrained", "write_pretrained"]
