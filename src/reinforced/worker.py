"""A worker process of the local engine: takes shards over its socket until the driver hangs up."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection


def main(descriptor: int, threads: int) -> None:
    """Take (stage, shard) pairs and answer each with its result, or with the error as text; no stage means the last."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    import pyarrow as pa

    pa.set_cpu_count(threads)
    connection = Connection(descriptor)
    function: Callable[[object], object] | None = None
    while True:
        try:
            stage, shard = connection.recv()
        except EOFError:
            return
        except Exception as error:  # an operator that this process cannot import
            connection.send(_say(error))
            continue
        function = stage or function
        assert function is not None
        try:
            answer = function(shard)
        except Exception as error:  # the driver says it, with what was kept
            answer = _say(error)
        connection.send(answer)


def _say(error: Exception) -> str:
    if os.environ.get("REINFORCED_DEBUG"):
        traceback.print_exc()
    return f"{type(error).__name__}: {error}"


def _die_with(driver: int) -> None:
    """End as soon as the driver is gone, even in the middle of a shard: its next run may write the same files."""
    while os.getppid() == driver:
        time.sleep(0.1)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
