"""Text with images in it: documents, sets of them, and rows for the training loop."""

from gptjax.data.image_text import captions, mnist, nlvr, shapes  # noqa: F401, to register their sets
