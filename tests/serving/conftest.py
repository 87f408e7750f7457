from tests.support.trained import trained  # noqa: F401
