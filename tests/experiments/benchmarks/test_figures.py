from experiments.benchmarks.figures import figure_lines, with_targets


def test_targets_reach_the_figures_they_name():
    figures = {"fast": {"speedup": 4.0, "bytes": 10}, "slow": {"speedup": 3.9}, "note": "none"}
    targets = {"*.speedup": ("at least", 4), "fast.bytes": ("at most", 10)}
    made = with_targets(figures, targets)
    assert made == {
        "fast": {
            "speedup": {"value": 4.0, "target": "at least 4", "met": True},
            "bytes": {"value": 10, "target": "at most 10", "met": True},
        },
        "slow": {"speedup": {"value": 3.9, "target": "at least 4", "met": False}},
        "note": "none",
    }
    shown = [line.split() for line in figure_lines(made)]
    assert shown == [
        ["fast"],
        ["speedup", "4", "at", "least", "4:", "met"],
        ["bytes", "10", "at", "most", "10:", "met"],
        ["slow"],
        ["speedup", "3.9", "at", "least", "4:", "MISSED"],
        ["note", "none"],
    ]
