"""What a run would take before it starts: memory, FLOPs, and a configuration that fits."""
