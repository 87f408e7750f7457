"""A server of a small model at a port of this machine, in a thread of the test's process."""

import contextlib
import threading
from collections.abc import Iterator

from gptjax.serving.app import Options, make_app
from gptjax.serving.life import bound, server_of
from gptjax.serving.served import Limits, Models, Served
from tests.support.chat_models import chat_model


@contextlib.contextmanager
def live(*models, more=(), **limits) -> Iterator[str]:
    """The address of a server of `models`, one of `chat_model` by default."""
    limited = Limits(**limits)
    served = [Served(model, limited) for model in models or [chat_model(max_queue=64)]]
    app = make_app(Models(served), Options(limits=limited), more)
    server = server_of(app, 5)
    listening = bound("127.0.0.1", 0)
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
