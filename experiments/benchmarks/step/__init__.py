"""Where the time of a training step goes, by the compiled program's own profile."""
