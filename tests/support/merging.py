"""Adapters merged into kernels by a loop in NumPy, with no code of ours.

full = merged(params, adapters, scale)
"""

import numpy as np


def merged(params, trained, scale):
    """`params` with `scale` A B added to each kernel that has A [L, *in, r] and B [L, r, *out]."""
    if not isinstance(params, dict):
        return trained
    full = {
        name: merged(params[name], part, scale) for name, part in trained.items() if name in params
    }
    if "lora_a" in trained:
        a, b, kernel = trained["lora_a"], trained["lora_b"], np.array(params["kernel"])
        for layer in range(len(kernel)):
            matrix = kernel[layer].reshape(np.size(a[layer]) // a.shape[-1], -1)
            product = np.zeros(matrix.shape)
            for r in range(a.shape[-1]):
                column = np.asarray(a[layer][..., r], np.float64).ravel()
                product += np.outer(column, np.asarray(b[layer][r], np.float64).ravel())
            kernel[layer] = (matrix + scale * product).reshape(kernel[layer].shape)
        full["kernel"] = kernel
    return {**params, **full}
