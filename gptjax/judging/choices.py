"""Names and bounds of judging that configurations and command lines offer."""

OF_CLASSES = ("accuracy", "macro_f1", "matthews")  # metrics
OF_NUMBERS = ("pearson", "spearman")
MOST_ANSWERS = 4096  # to one prompt
