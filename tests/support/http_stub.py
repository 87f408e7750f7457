"""A small HTTP server that answers as a test says.

with server(lambda path, body, number: said("2")) as (url, requests):
    ...
requests[0]   # (path, body, headers)
"""

import contextlib
import http.server
import json
import threading


@contextlib.contextmanager
def server(reply):
    """Serves `reply(path, body, number of the request) -> (status, JSON)`: URL and requests."""
    requests, lock = [], threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(None)

        def do_POST(self):
            size = int(self.headers["Content-Length"])
            self._answer(json.loads(self.rfile.read(size)))

        def _answer(self, body):
            with lock:
                requests.append((self.path, body, dict(self.headers)))
                status, content = reply(self.path, body, len(requests))
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{serving.server_port}", requests
    finally:
        serving.shutdown()
        thread.join()
        serving.server_close()


def said(text):
    """The reply of a server with OpenAI's interface, to a chat or a text."""
    return 200, {
        "model": "m-1",
        "choices": [{"message": {"content": text}, "text": text}],
        "usage": {"total_tokens": 2},
    }
