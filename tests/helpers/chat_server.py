"""A stub of a chat-completion server on the loopback."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(content, *, finish="stop"):
    return 200, json.dumps({"choices": [{"message": {"content": content}, "finish_reason": finish}]})


@contextmanager
def server(*script, delay=0.0):
    """A stub that answers ``script`` in turn, the last one for ever; yields (address, requests received)."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.append({"path": self.path, "headers": dict(self.headers), "body": body})
            status, text, *headers = script[min(len(received), len(script)) - 1]
            time.sleep(delay)
            try:
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client did not wait

        def log_message(self, *_):
            pass

    stub = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{stub.server_port}", received
    finally:
        stub.shutdown()
        stub.server_close()
        thread.join()
