"""One writer at a time: a file in the dataset that says who is writing and when he last said so."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from types import TracebackType
from typing import Any

from reinforced.errors import RequestError
from reinforced.storage import Storage

FILE = "_runs/lease.json"
BEAT_S = 5.0
DEAD_AFTER_S = 30.0


class Lease:
    """Hold a dataset for writing: `with Lease(storage): ...`.

    The lease is dead when its process is gone (seen on the same host) or has been silent for 30 s (from elsewhere).
    Raises: RequestError while another writer's lease is alive.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._beat = threading.Thread(target=self._keep_alive, daemon=True)

    def __enter__(self) -> Lease:
        if not self._storage.create(FILE, self._content()):
            holder = self._holder()
            if holder and _alive(holder):
                raise RequestError(
                    f"{self._storage.url} is being written by process {holder['pid']} on {holder['host']}; "
                    f"wait for it, or stop it: a lease ends {DEAD_AFTER_S:.0f} s after its writer's last sign of life"
                )
            # Of several heirs the last one to write wins; the others see the winner's token and step back.
            self._storage.write(FILE, self._content())
            if (self._holder() or {}).get("token") != self._token:
                raise RequestError(f"{self._storage.url} was taken by another run just now; wait for it to end")
        self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._beat.join()
        if (self._holder() or {}).get("token") == self._token:
            self._storage.remove(FILE)

    def _keep_alive(self) -> None:
        while not self._stop.wait(BEAT_S):
            self._storage.write(FILE, self._content())

    def _content(self) -> bytes:
        me = {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}
        return json.dumps(me | {"token": self._token, "time": time.time()}).encode()

    def _holder(self) -> dict[str, Any] | None:
        try:
            return json.loads(self._storage.read(FILE))  # type: ignore[no-any-return]
        except (FileNotFoundError, ValueError):  # gone, or half written by a process that was killed in between
            return None


def _alive(holder: dict[str, Any]) -> bool:
    if holder["host"] == socket.gethostname():
        return holder["started"] is not None and bool(_started(holder["pid"]) == holder["started"])
    return time.time() - float(holder["time"]) < DEAD_AFTER_S


def _started(pid: int) -> float | None:
    """Return when a process of this machine started, so that a reused process number is not taken for the old one."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
