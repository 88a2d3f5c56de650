"""A real HTTP server on loopback that misbehaves in every way its paths name, and remembers what it was asked."""

from __future__ import annotations

import gzip
import io
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

Answer = Callable[["Handler"], None]


def picture(
    seed: int, kind: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (64, 48), **options: object
) -> bytes:
    """Encode a smooth picture that is another one for each seed."""
    x, y = np.meshgrid(np.linspace(0, 3, size[0]), np.linspace(0, 3, size[1]))
    waves = [np.sin(x * (1 + seed % 7) + c) * np.cos(y * (1 + seed % 5) + seed) for c in range(3)]
    image = Image.fromarray(np.uint8(np.stack(waves, 2) * 100 + 120)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer

    def do_GET(self) -> None:
        self.server.note(self)
        path = self.path.partition("?")[0]
        try:
            answer = self.server.answers.get(path)
            if answer is not None:
                answer(self)
            elif path.startswith("/picture/"):
                time.sleep(self.server.delay_s)
                self.give(picture(int(path.rpartition("/")[2].partition(".")[0])))
            else:
                self.give(b"nothing here", 404, {"Content-Type": "text/plain"})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def give(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "image/jpeg", "Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def raw(self, data: bytes) -> None:
        self.wfile.write(data)
        self.close_connection = True

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: object) -> None:
        pass


class WebServer(ThreadingHTTPServer):
    """Serves /picture/N.jpg and what `answers` names; `asked` counts the requests of each path."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.agents: set[str] = set()
        self.delay_s = 0.0
        self.stopping = threading.Event()
        self.answers: dict[str, Answer] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def note(self, handler: Handler) -> None:
        with self._lock:
            self.asked[handler.path] += 1
            self.times.setdefault(handler.path, []).append(time.time())
            self.agents.add(handler.headers.get("User-Agent", ""))

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def stop(self) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hung up in the middle is part of the play


def trickle(handler: Handler) -> None:
    """Send a header at once and a byte of the body every 50 ms, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for byte in picture(1):
        if handler.server.stopping.wait(0.05):
            return
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()


def stall(handler: Handler) -> None:
    handler.server.stopping.wait(60)
    handler.close_connection = True


def times(count: int, first: Answer, then: Answer) -> Answer:
    """Answer one way so many times and another way from then on."""
    lock, left = threading.Lock(), [count]

    def answer(handler: Handler) -> None:
        with lock:
            left[0] -= 1
            chosen = first if left[0] >= 0 else then
        chosen(handler)

    return answer


def status(code: int, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.give(b"no", code, {"Content-Type": "text/plain"} | named)


def good(seed: int = 1, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.give(picture(seed), 200, named)


def body(data: bytes, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.give(data, 200, named)


def redirect(location: str, code: int = 302) -> Answer:
    return lambda handler: handler.give(b"", code, {"Location": location})


def in_seconds(seconds: float) -> str:
    """Return a date for Retry-After."""
    return formatdate(time.time() + seconds, usegmt=True)


def bomb(megabytes: int) -> bytes:
    """Compress a JPEG's first bytes and then zeros: a body that unpacks a thousandfold."""
    return gzip.compress(picture(1)[:64] + bytes(megabytes << 20), 9)


def wide_png(side: int) -> bytes:
    """Return a PNG of a few bytes whose header says (side, side) pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


JPEG = picture(1)
MISBEHAVIOURS: dict[str, tuple[Answer, str | None]] = {
    # path: what it does, and the reason in the ledger; None for what is an image all the same
    "slow-loris": (trickle, "timeout: not done within 1 s"),
    "stall": (stall, "timeout: not done within 1 s"),
    "reset": (Handler.reset, "connection failed: Connection reset by peer"),
    "hang-up": (lambda h: h.raw(b""), "connection failed: closed without an answer"),
    "loop": (redirect("/loop"), "too many redirects: more than 5"),
    "to-metadata": (redirect("http://169.254.169.254/latest/meta-data/"), "refused"),
    "to-file": (redirect("file:///etc/passwd"), "refused URL: scheme 'file', only http and https are fetched"),
    "no-location": (status(302), "bad answer: HTTP 302 without a Location"),
    "too-short": (
        lambda h: h.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + JPEG[:500]),
        "incomplete body: the connection ended before all had come",
    ),
    "wrong-type": (body(JPEG, Content_Type="text/plain"), None),
    "html": (
        body(b"<!DOCTYPE html><title>Sorry</title>", Content_Type="image/jpeg"),
        "not an image: its bytes are of no allowed format, Content-Type says image/jpeg",
    ),
    "svg": (
        body(b"<svg xmlns='http://www.w3.org/2000/svg'/>", Content_Type="image/svg+xml"),
        "not an image: its bytes are of no allowed format, Content-Type says image/svg+xml",
    ),
    "gzip-bomb": (body(bomb(40), Content_Encoding="gzip"), "too large: more than 1,000,000 bytes when unpacked"),
    "pixel-bomb": (body(wide_png(60_000)), "more than 89,478,485 pixels"),
    "gzip": (body(gzip.compress(JPEG), Content_Encoding="gzip"), None),
    "half-gzip": (
        body(gzip.compress(JPEG)[:-30], Content_Encoding="gzip"),
        "incomplete body: the compressed stream ends early",
    ),
    "not-gzip": (body(JPEG, Content_Encoding="gzip"), "bad answer: the body is not compressed as it says"),
    "brotli": (body(JPEG, Content_Encoding="br"), "bad answer: Content-Encoding 'br' was not asked for"),
    "too-large": (body(JPEG + bytes(1_000_000)), "too large: Content-Length"),
    "too-large-unsaid": (
        lambda h: h.raw(b"HTTP/1.0 200 OK\r\n\r\n" + JPEG + bytes(1_500_000)),
        "too large: more than 1,000,000 bytes",
    ),
    "empty": (body(b""), "empty body: HTTP 200 without a byte"),
    "huge-header": (lambda h: h.give(JPEG, 200, {"X-Long": "a" * 100_000}), "bad answer: no valid HTTP header"),
    "no-http": (lambda h: h.raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "bad answer: no valid HTTP header"),
    "404": (status(404), "HTTP 404: Not Found"),
    "410": (status(410), "HTTP 410: Gone"),
    "403": (status(403), "HTTP 403: Forbidden"),
    "500": (status(500), "HTTP 500: Internal Server Error"),
    "204": (lambda h: h.raw(b"HTTP/1.1 204 No Content\r\n\r\n"), "HTTP 204: No Content"),
    "999": (status(999), "HTTP 999: unknown status"),
    "noai": (good(X_Robots_Tag="noai, noimageai"), "opted out: X-Robots-Tag: noai"),
    "noimageai-for-us": (good(X_Robots_Tag="reinforced: noimageai"), "opted out: X-Robots-Tag: noimageai"),
    "noai-for-others": (good(X_Robots_Tag="otherbot: noai"), None),
    "noindex": (good(X_Robots_Tag="noindex, unavailable_after: 25 Jun 2030 15:00:00 PST"), None),
    "tdm": (good(tdm_reservation="1"), "opted out: tdm-reservation: 1"),
    "tdm-0": (good(tdm_reservation="0"), None),
    "disallowed/1.jpg": (good(), "opted out: robots.txt of 127.0.0.1"),
    "animated": (body(picture(1, "GIF", "P", save_all=True, append_images=[Image.new("P", (64, 48))])), None),
    "cmyk": (body(picture(1, "JPEG", "CMYK")), None),
    "grey-16-bit": (body(picture(1, "PNG", "I;16")), None),
    "polyglot": (body(JPEG + b"<script>alert(1)</script>PK\x05\x06" + bytes(18)), None),
    "polyglot-gif": (body(b"GIF89a/*" + b"<script>" * 4), "broken GIF header"),
    "odd-headers": (body(JPEG, ETag='\xff\xfe"x', Last_Modified="never"), None),
    "truncated": (body(JPEG[:300]), "cannot be decoded: OSError: Truncated File Read"),
    "truncated-late": (body(JPEG[:-200]), None),  # its header is whole: who decodes it finds out
}
