from tests.support.programs import programs_once  # noqa: F401
from tests.support.tiny_runs import cache, folder, make_config  # noqa: F401
from tests.support.trained import trained  # noqa: F401
