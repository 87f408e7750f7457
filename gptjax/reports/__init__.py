"""Reports for people: Markdown, pages of samples."""

from gptjax.reports.configurations import explained
from gptjax.reports.markdown import markdown_table
from gptjax.reports.samples import Sample, write_samples

__all__ = ["Sample", "explained", "markdown_table", "write_samples"]
