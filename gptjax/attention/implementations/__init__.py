"""How attention is computed: reference, blockwise, fused, on a mesh."""
