"""The quality classifier as phases."""

PHASE = "quality"
