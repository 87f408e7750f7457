"""HTTP: OpenAI's API over runs, the page, and people's feedback; the web framework is here alone.

    serving.serve(models, Options(), bound("127.0.0.1", 8000), drain_seconds=30)

Starlette and uvicorn serve all of it with seven packages. FastAPI would add telemetry, and an error
shape of its own, which is not OpenAI's.
"""

import importlib.util

for _package in ("starlette", "uvicorn", "prometheus_client"):
    if importlib.util.find_spec(_package) is None:
        raise ValueError(
            f"serving: {_package} is not installed; expected the extra `serve` "
            "(pip install 'gptjax[serve]')"
        )

from gptjax.serving.app import Options, keys_in, make_app  # noqa: E402
from gptjax.serving.feedback import feedback_routes  # noqa: E402
from gptjax.serving.guard import LOOPBACK  # noqa: E402
from gptjax.serving.life import bound, serve  # noqa: E402
from gptjax.serving.page_files import page_routes  # noqa: E402
from gptjax.serving.served import Limits, Models, Served  # noqa: E402

__all__ = [
    "LOOPBACK",
    "Limits",
    "Models",
    "Options",
    "Served",
    "bound",
    "feedback_routes",
    "keys_in",
    "make_app",
    "page_routes",
    "serve",
]
