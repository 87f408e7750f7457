from tests.support.trained import shared_cache, trained  # noqa: F401
