from tests.support.tiny_runs import cache, folder, make_config  # noqa: F401
