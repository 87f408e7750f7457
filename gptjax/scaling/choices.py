"""Names of scaling laws that command lines offer."""

COUNTS = ("non_embedding", "all", "executed")  # FLOPs of training that are the compute of a run
