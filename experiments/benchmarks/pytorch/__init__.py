"""The programs of PyTorch that suites compare with, each run in a process of its own."""
