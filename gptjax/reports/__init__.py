"""Reports for people: Markdown, pages of samples."""

from typing import TYPE_CHECKING

from gptjax.rooms import public_names

if TYPE_CHECKING:
    from gptjax.reports.configurations import explained
    from gptjax.reports.markdown import markdown_table
    from gptjax.reports.samples import Sample, write_samples

__all__ = ["Sample", "explained", "markdown_table", "write_samples"]
__getattr__, __dir__ = public_names(__name__)
