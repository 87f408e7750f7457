from tests.support.programs import programs_once  # noqa: F401
from tests.support.trained import shared_cache, trained  # noqa: F401
