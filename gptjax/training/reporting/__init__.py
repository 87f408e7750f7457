"""Reporting of a run: metrics, TensorBoard, speed, statistics, traces."""
