"""Other projects' checkpoints as ours: key tables, read without those projects at run time."""
