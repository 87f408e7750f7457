"""The benchmark suites by name: functions that return their figures, for one JSON line.

@SUITES.register("train")
def train() -> dict[str, Any]: ...
"""
