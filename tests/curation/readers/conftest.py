from tests.support.remote import memory  # noqa: F401
