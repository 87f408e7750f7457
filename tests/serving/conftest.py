import numpy as np
import pytest

from tests.support.chat_models import chat_model
from tests.support.trained import trained  # noqa: F401


def longest(prompts, replies):
    return np.array([float(len(reply)) for reply in replies])


@pytest.fixture(scope="module")
def model():
    return chat_model("chat", rankers={"longest": longest}, max_queue=64)


@pytest.fixture(scope="module")
def client(model):
    """A client of a server of two models in this process, the first of which chats."""
    pytest.importorskip("starlette", reason="needs the extra serve")
    from starlette.testclient import TestClient

    from gptjax.serving.app import Options, make_app
    from gptjax.serving.served import Limits, Models, Served

    limits = Limits(messages=8, prompts=40, choices=8, beams=4)
    plain = chat_model("plain", "bytes", seed=1)
    models = Models([Served(model, limits), Served(plain, limits)])
    app = make_app(models, Options(limits=limits))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client
