"""Models behind an HTTP endpoint that speaks OpenAI's chat protocol: hosted ones, vLLM, Ollama, llama.cpp.

Every answer is on disk before it is used, so what was paid for is never asked again, however a run ends.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from reinforced import counter
from reinforced.answers import Answer, AnswerStore, default_folder
from reinforced.errors import RequestError, RunError
from reinforced.images import ImageError
from reinforced.language_model import LanguageModel, Question, Speaker, Text, Use, as_sent

if TYPE_CHECKING:
    from aiohttp import ClientSession

GIVE_UP_AFTER = 10
"""Questions in a row without an answer after which it is the endpoint that is at fault, not they."""
_LONGEST_WAIT_S = 60.0
_PX_PER_TOKEN, _CHARACTERS_PER_TOKEN = 500, 3
"""Guesses on the dear side, until the endpoint has said what a question costs."""


class Endpoint(LanguageModel):
    """A model behind an OpenAI-compatible endpoint."""

    endpoint: Annotated[str, Field(description="Base address, such as https://api.openai.com/v1.")]
    name: Annotated[str, Field(min_length=1, description="The model's name there.")]
    key_variable: Annotated[
        str | None,
        Field(pattern=r"^[A-Z][A-Z0-9_]*$", description="Environment variable with the API key; none sends no key."),
    ] = None
    extra: Annotated[
        dict[str, Any] | None,
        Field(description="Further members of each request, such as {top_p: 0.9}; null takes one of ours out."),
    ] = None

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError("must be an http or https address such as http://localhost:8000/v1, without a key in it")
        return value.rstrip("/")

    def key(self) -> str:
        """Return the API key from the environment. Raises: RequestError when it is not there."""
        if self.key_variable is None:
            return ""
        if not (key := os.environ.get(self.key_variable, "").strip()):
            raise RequestError(f"the environment variable {self.key_variable} with the key of {self.endpoint} is empty")
        return key

    def check(self) -> None:
        """Check that the key is there, and does not go over an open line."""
        parts = urlsplit(self.endpoint)
        if self.key() and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise RequestError(f"{self.endpoint} would get the key of {self.key_variable} unencrypted: use https")

    def open(self, use: Use) -> Speaker:
        """Open the store of answers; the first question opens the connection."""
        return _Client(self, use)

    def body(self, question: Question) -> tuple[bytes, float]:
        """Return the request of a question and a high guess at the tokens it sends. Raises: ImageError."""
        content: list[dict[str, Any]] = [{"type": "text", "text": question.prompt}]
        tokens = len(question.prompt) / _CHARACTERS_PER_TOKEN
        if question.image is not None:
            image, kind, (width, height) = as_sent(question.image, self.image_side_px)
            url = f"data:{kind};base64,{base64.b64encode(image).decode()}"
            content.append({"type": "image_url", "image_url": {"url": url}})
            tokens += width * height / _PX_PER_TOKEN + 100
        words: Any = content if question.image is not None else question.prompt
        members = self.members(question) | {"messages": [{"role": "user", "content": words}]}
        return json.dumps({n: value for n, value in members.items() if value is not None}).encode(), tokens

    def members(self, question: Question) -> dict[str, Any]:
        """Return what a request says besides its messages."""
        members = {"model": self.name, "max_tokens": self.max_tokens, "temperature": self.temperature}
        if question.draw:
            members["seed"] = question.draw
        if question.schema is not None:
            form = {"name": "answer", "strict": True, "schema": question.schema}
            members["response_format"] = {"type": "json_schema", "json_schema": form}
        return members | (self.extra or {})

    def identify(self, question: Question) -> bytes:
        """Return the 32 bytes that stand for a question: all that decides what is sent."""
        about = [self.endpoint, self.members(question), self.image_side_px, question.prompt, question.draw]
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        digest.update(hashlib.sha256(question.image).digest() if question.image is not None else b"")
        return digest.digest()


class _Client:
    """Asks an endpoint, remembering every answer."""

    def __init__(self, model: Endpoint, use: Use) -> None:
        self.model, self.requests, self.account, self.seed = model, use.requests, use.account, use.seed
        self.key = model.key()
        self.store = AnswerStore(self.requests.cache or default_folder())
        self.line = hashlib.sha256(f"{model.endpoint} {model.name}".encode()).hexdigest()[:16]
        self.failed_in_a_row = 0
        self.not_before = 0.0
        self.stopped: RunError | None = None
        self.unstored: list[tuple[bytes, Answer, float]] = []

    def ask(self, questions: Sequence[Question]) -> list[Answer | Text]:
        """Take what is stored, and send the rest; equal questions are sent once."""
        identities = [self.model.identify(question) for question in questions]
        wanted = dict(zip(identities, questions, strict=True))
        found: dict[bytes, Answer | Text] = dict(self.store.find(list(wanted)))
        missing = [identity for identity in wanted if identity not in found]
        if missing:
            # In a thread of its own, because a notebook's thread has a loop that runs already.
            with ThreadPoolExecutor(1) as thread:
                sent = {identity: wanted[identity] for identity in missing}
                found |= thread.submit(asyncio.run, self._ask_all(sent)).result()
        return [found[identity] for identity in identities]

    async def _ask_all(self, questions: dict[bytes, Question]) -> dict[bytes, Answer | Text]:
        import aiohttp

        found: dict[bytes, Answer | Text] = {}
        self.stopped, self.failed_in_a_row = None, 0
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {self.key}"} if self.key else {})
        timeout = aiohttp.ClientTimeout(total=self.requests.timeout_s)
        connector = aiohttp.TCPConnector(limit=self.requests.concurrency)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:
            waiting = iter(questions.items())
            count = min(self.requests.concurrency, len(questions))
            await asyncio.gather(*(self._work(session, waiting, found) for _ in range(count)))
        if self.unstored:
            self._store()
        if self.stopped:
            raise self.stopped
        return found

    async def _work(
        self, session: ClientSession, waiting: Iterator[tuple[bytes, Question]], found: dict[bytes, Answer | Text]
    ) -> None:
        """Ask one question after the other; when the run must stop, what is under way is still waited for and kept."""
        for identity, question in waiting:
            if self.stopped:
                return
            try:
                found[identity] = await self._ask(session, identity, question)
            except RunError as error:
                self.stopped = self.stopped or error

    async def _ask(self, session: ClientSession, identity: bytes, question: Question) -> Answer | Text:
        try:
            body, input_tokens = self.model.body(question)
        except ImageError as error:
            return f"corrupt: {error}"
        tokens = input_tokens + self.model.max_tokens
        said = ""
        for attempt in range(self.requests.attempts):
            await self._wait_for_turn(identity, input_tokens, tokens)
            answer, said, wait_s = await self._send(session, body)
            if answer is not None:
                self._keep(identity, answer, tokens)
                return answer
            if self.requests.budget_usd is not None:
                self.store.release(self.account, identity)
            if wait_s is None:
                return said
            if attempt + 1 < self.requests.attempts:
                await asyncio.sleep(wait_s or self._backoff(question.key, attempt))
        self.failed_in_a_row += 1
        if self.failed_in_a_row >= GIVE_UP_AFTER:
            raise RunError(
                f"{self.model.endpoint} gave no answer to {GIVE_UP_AFTER} questions in a row, each sent "
                f"{self.requests.attempts} times; the last: {said}. All answers so far are stored: once it is up, "
                "the same command goes on without paying for them again"
            )
        return f"{said}, after {self.requests.attempts} attempts"

    def _keep(self, identity: bytes, answer: Answer, guessed_tokens: float) -> None:
        self.failed_in_a_row = 0
        usd = self.requests.price(answer.input_tokens, answer.output_tokens)
        if not self.unstored:  # what else has arrived by now is stored along: a transaction costs more than a row
            asyncio.get_running_loop().call_soon(self._store)
        self.unstored.append((identity, answer, usd))
        if limit := self.requests.tokens_per_minute:
            used = answer.input_tokens + answer.output_tokens
            self.store.next_turn(f"{self.line}/tokens", used - guessed_tokens, limit)

    def _store(self) -> None:
        self.store.keep(self.account, self.unstored)
        self.unstored = []

    async def _wait_for_turn(self, identity: bytes, input_tokens: float, tokens: float) -> None:
        """Wait until the budget, the limits and a server that asked for a pause allow the next request."""
        requests = self.requests
        if requests.budget_usd is not None:
            usd = requests.price(input_tokens, self.model.max_tokens)
            seconds = requests.timeout_s + 60
            while (aside := self.store.promise(self.account, identity, usd, requests.budget_usd, seconds)) is not True:
                if aside is False:
                    spent = self.store.spending(self.account)
                    raise RunError(
                        f"budget_usd {requests.budget_usd:g} is spent: {spent.requests:,} requests cost "
                        f"{spent.usd:.4f} US$, and the next could cost {usd:.4f}. All answers are stored: a higher "
                        "budget_usd goes on from here and pays for none of them again"
                    )
                await asyncio.sleep(0.05)
        if requests.requests_per_minute:
            await asyncio.sleep(self.store.next_turn(f"{self.line}/requests", 1, requests.requests_per_minute))
        if requests.tokens_per_minute:
            await asyncio.sleep(self.store.next_turn(f"{self.line}/tokens", tokens, requests.tokens_per_minute))
        while (left := self.not_before - time.monotonic()) > 0:
            await asyncio.sleep(left)

    async def _send(self, session: ClientSession, body: bytes) -> tuple[Answer | None, Text, float | None]:
        """Return the answer; or why there is none and the seconds to wait: 0 for our own pace, None for never."""
        import aiohttp

        try:
            async with session.post(
                f"{self.model.endpoint}/chat/completions", data=body, allow_redirects=False
            ) as response:
                text, status, headers = await response.read(), response.status, response.headers
        except (aiohttp.ClientError, TimeoutError) as error:
            return None, self._clean(f"no answer: {type(error).__name__}: {error}"), 0.0
        if status == 200:
            answer = _parse(text, self.model.name)
            return answer, "" if answer else "broken answer: not a chat completion", 0.0
        said = self._clean(f"HTTP {status}: {text[:300].decode('utf-8', 'replace')}")
        if status in (401, 402, 403, 404) or 300 <= status < 400 or b"insufficient_quota" in text:
            raise RunError(f"{self.model.endpoint} refuses model {self.model.name}: {said}. Mend that and run again")
        if status not in (408, 409, 429) and status < 500:
            return None, said, None
        wait_s = _retry_after(headers.get("retry-after"))
        if status == 429 and wait_s:
            self.not_before = max(self.not_before, time.monotonic() + wait_s)
        return None, said, wait_s

    def _backoff(self, key: str, attempt: int) -> float:
        """Return 0.5 s, doubled with each attempt, times a random number from a half to one that depends on the key."""
        drawn = float(counter.words(self.seed, "endpoint", [key], [attempt], 1)[0, 0, 0])
        longest: float = min(_LONGEST_WAIT_S, 0.5 * 2.0**attempt)
        return longest * (0.5 + drawn / 2**33)

    def _clean(self, text: str) -> str:
        """Take the key out of a message, whoever wrote it there, and put it on one line."""
        text = text.replace(self.key, "[key]") if self.key else text
        return " ".join(re.sub(r"(?i)bearer\s+\S+", "[key]", text).split())[:300]


def _parse(text: bytes, name: str) -> Answer | None:
    try:
        said = json.loads(text)
        choice = said["choices"][0]
        message, usage = choice["message"], said.get("usage") or {}
        refusal = message.get("refusal")
        finish = "refusal" if refusal else str(choice.get("finish_reason") or "stop")
        tokens = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
        return Answer(str(refusal or message.get("content") or ""), finish, str(said.get("model") or name), *tokens)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None


def _retry_after(value: str | None) -> float:
    """Return the seconds that a Retry-After header asks for, a number or a date; 0 where there is none."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
