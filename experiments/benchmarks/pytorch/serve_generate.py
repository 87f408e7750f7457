"""A loop around `transformers`' generate behind HTTP, as small servers have it.

Each request is one call of `generate`, one after another. It prints its port, and serves until its
input ends:

    python -m experiments.benchmarks.pytorch.serve_generate DIR
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
import transformers


def main() -> None:
    """Serves the model of a directory."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])
    model = loaded.to(device).eval()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            tokens = torch.tensor([body["prompt"]], device=device)
            with lock, torch.no_grad():
                torch.manual_seed(body["seed"])
                made = model.generate(
                    tokens,
                    attention_mask=torch.ones_like(tokens),
                    do_sample=True,
                    top_k=0,
                    max_new_tokens=body["max_tokens"],
                    min_new_tokens=body["max_tokens"],
                    pad_token_id=0,
                )
            count = made.shape[1] - tokens.shape[1]
            content = json.dumps({"usage": {"completion_tokens": count}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    for _ in sys.stdin:
        print(f"torch {torch.__version__}, transformers {transformers.__version__} on {device}")


if __name__ == "__main__":
    main()
