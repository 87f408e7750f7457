"""The server against its own document, by thousands of made-up requests."""

import re
import subprocess
import sys

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("schemathesis", reason="needs the extra clients")
from gptjax.data.feedback.opening import open_store
from gptjax.serving.feedback import feedback_routes
from tests.serving.live import live
from tests.support.chat_models import chat_model


@pytest.mark.slow
def test_no_made_up_request_fails_hangs_or_is_answered_as_the_document_does_not_say(tmp_path):
    """Requests that fit the schema may be refused: some fields exclude one another."""
    with (
        open_store(str(tmp_path / "votes.db"), create=True) as store,
        live(chat_model(max_queue=64), more=feedback_routes(store)) as address,
    ):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json"),
                *("--phases", "examples,coverage,fuzzing", "--max-examples", "12"),
                *("--exclude-checks", "positive_data_acceptance", "--request-timeout", "60"),
                *("--seed", "1", "--no-color"),
            ],
            cwd=tmp_path,  # it leaves a cache
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.findall(r"(\d+) generated", done.stdout)[0]) > 300
