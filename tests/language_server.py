"""A server on loopback that speaks the chat protocol of OpenAI: slow, rate limited, broken or refusing, as one asks it.

What it says of an image depends on the image's pixels, so that a caption that went to another image shows.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from reinforced.images import decode, pixel_sha256

TRANSIENT = ("429", "500", "truncated", "reset")
"""Faults that a question meets once; the others it meets every time."""


def words_about(image: bytes) -> str:
    """Return what the server says of an image."""
    pixels = decode(image)
    red, green, blue = pixels.reshape(-1, 3).mean(axis=0).round().astype(int)
    height, width = pixels.shape[:2]
    return f"A picture of {width} by {height} px, mean colour {red} {green} {blue}, digest {pixel_sha256(pixels)[:16]}."


@dataclass
class Settings:
    latency_s: float = 0.0
    one_in: dict[str, int] = field(default_factory=dict)
    """Fault to how rare it is: of so many questions one meets it, by the question's hash."""
    retry_after_s: float = 0.05
    key: str | None = None
    fixed: str | None = None
    """What to say of every image, for measuring how fast one can ask."""


class LanguageServer:
    """Serves `/v1/chat/completions` from a thread of its own until the `with` ends."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.asked: Counter[str] = Counter()
        """How often each question came, by its hash."""
        self.answered: Counter[str] = Counter()
        self.arrivals: list[float] = []
        self.payloads: list[dict[str, Any]] = []
        self.busy = self.most_busy = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> LanguageServer:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._converse, "127.0.0.1", 0, backlog=512))
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode("latin-1").split("\r\n")
                headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:])}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.busy += 1
                self.most_busy = max(self.most_busy, self.busy)
                try:
                    response = await self._answer(headers, body)
                finally:
                    self.busy -= 1
                if response is None:
                    break
                status, text, extra = response
                kind = "content-type: application/json\r\n"
                top = f"HTTP/1.1 {status} X\r\n{kind}content-length: {len(text)}\r\n{extra}\r\n"
                writer.write(top.encode() + text)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes, str] | None:
        self.arrivals.append(time.monotonic())
        await asyncio.sleep(self.settings.latency_s)
        if self.settings.key and headers.get("authorization") != f"Bearer {self.settings.key}":
            return 401, _error(f"Incorrect API key: {headers.get('authorization')}"), ""
        payload = json.loads(body)
        if self.settings.fixed:
            self.asked["any"] += 1
            return 200, _completion(self.settings.fixed), ""
        digest = hashlib.sha256(body).hexdigest()
        self.asked[digest] += 1
        self.payloads.append(payload)
        fault = self._fault(digest)
        match fault:
            case "429":
                return 429, _error("slow down"), f"retry-after: {self.settings.retry_after_s}\r\n"
            case "500":
                return 500, _error("internal"), ""
            case "reset":
                return None
            case "truncated":
                return 200, _completion("A picture")[:-20], ""
        self.answered[digest] += 1
        match fault:
            case "refusal":
                return 200, _completion("I'm sorry, but I can't help with that image."), ""
            case "schema":
                return 200, _completion('{"colour": 7}'), ""
            case "repetition":
                return 200, _completion("a cat and " * 40), ""
            case "cut":
                return 200, _completion("A picture of", finish="length"), ""
        return 200, _completion(self._say(payload)), ""

    def _fault(self, digest: str) -> str | None:
        for i, (kind, one_in) in enumerate(self.settings.one_in.items()):
            chosen = int(digest[4 * i : 4 * i + 4], 16) % one_in == 0
            if chosen and (kind not in TRANSIENT or self.asked[digest] == 1):
                return kind
        return None

    def _say(self, payload: dict[str, Any]) -> str:
        content = payload["messages"][-1]["content"]
        if isinstance(content, str):
            return f"Said about: {content}"
        url = next(part["image_url"]["url"] for part in content if part["type"] == "image_url")
        said = words_about(base64.b64decode(url.partition(",")[2]))
        return json.dumps({"caption": said}) if "response_format" in payload else said


def _completion(text: str, finish: str = "stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    made = {"id": "1", "object": "chat.completion", "created": 0, "model": "small-eye", "choices": [choice]}
    return json.dumps({**made, "usage": usage}).encode()


def _error(text: str) -> bytes:
    return json.dumps({"error": {"message": text, "type": "test"}}).encode()


def main() -> None:
    """Serve one fixed answer until standard input closes; prints the address."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency_s", type=float, default=0.1)
    with LanguageServer(Settings(parser.parse_args().latency_s, fixed="A picture.")) as server:
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
