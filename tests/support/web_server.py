"""A web server that behaves as sources do on a bad day."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Source:
    """A web server. ``behave(path, handler)`` is True where it has answered; else serve does."""

    def __init__(self, files, behave=None, tls=None):
        self.files = dict(files)
        self.behave = behave or (lambda path, handler: False)
        self.requests = []  # (path, the Range header or None)
        self.closing = threading.Event()
        source = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                source.requests.append((self.path, self.headers.get("Range")))
                try:
                    if not source.behave(self.path, self):
                        source.serve(self)
                except OSError:
                    pass  # the client has gone

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # a client that turns away from our certificate

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def body(self, path):
        return self.files.get(path.lstrip("/"))

    def serve(self, handler, keep=None, ranges=True):
        """The whole answer, or its first ``keep`` bytes under the header of the whole."""
        body = self.body(handler.path)
        if body is None:
            handler.send_error(404)
            return
        start = 0
        if ranges and (asked := handler.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        if start >= len(body):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        handler.wfile.write(body[start:] if keep is None else body[start : start + keep])

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
