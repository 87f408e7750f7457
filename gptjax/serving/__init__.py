"""HTTP: OpenAI's API over runs, the page, and people's feedback; the web framework is here alone.

    life.serve(models, Options(), life.bound("127.0.0.1", 8000), drain_seconds=30)

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
