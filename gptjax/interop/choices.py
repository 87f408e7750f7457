"""Names of interop that command lines offer."""

DTYPES = ("float32", "bfloat16", "float16")  # of weights in a model directory
