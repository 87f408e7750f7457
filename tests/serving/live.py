"""A server of a small model at a port of this machine, in a thread of the test's process."""

import contextlib
import threading
from collections.abc import Iterator

import gptjax.serving as serving
from gptjax.serving.life import server_of
from tests.support.chat_models import chat_model


@contextlib.contextmanager
def live(*models, more=(), **limits) -> Iterator[str]:
    """The address of a server of `models`, one of `chat_model` by default."""
    limited = serving.Limits(**limits)
    served = [serving.Served(model, limited) for model in models or [chat_model(max_queue=64)]]
    app = serving.make_app(serving.Models(served), serving.Options(limits=limited), more)
    server = server_of(app, 5)
    listening = serving.bound("127.0.0.1", 0)
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
