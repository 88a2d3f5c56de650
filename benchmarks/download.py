"""How fast images come down and are resized, against img2dataset's own command, from a server on this machine.

Run it with `python benchmarks/download.py` (about five minutes), `--images 2000` for a smaller list, `--json` for one
object a line. The first run makes the peer's environment and the images. Both keep the shorter side at 128 px, encode
as JPEG of quality 95, write Parquet, and use two processes; what they kept is compared after every measurement.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import environments
import pyarrow.parquet as pq
import workload
from measure import Metric, alternate, report, times_better

SIZE_PX = 128
WORKERS = 2
CONNECTIONS = 64
CPU_SECONDS: dict[str, list[float]] = {}
"""What each contestant's processes took of the cores, by its command: a busy machine bends that least."""
SERVER = """
import http.server, socketserver, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log_message = lambda *_: None
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512
server = Server(("127.0.0.1", 0), lambda *a: Handler(*a, directory=sys.argv[1]))
print(server.server_port, flush=True)
server.serve_forever()
"""


def ours(urls: Path, out: Path) -> float:
    """Run the pipeline from a cold start of the process to its end."""
    source = {
        "op": "download",
        "path": str(urls),
        "resize": {"mode": "keep_ratio", "size_px": SIZE_PX},
        "allow_private_addresses": True,
        "host_requests_per_s": None,
        "host_connections": CONNECTIONS,
        "concurrency": CONNECTIONS,
    }
    file = out.with_suffix(".yaml")
    file.write_text(json.dumps({"name": "web", "out": str(out), "source": source}))
    return _timed([sys.executable, "-m", "reinforced", "run", str(file), "--workers", str(WORKERS)])


def theirs(urls: Path, out: Path) -> float:
    """Run img2dataset's command from a cold start of the process to its end."""
    command = Path(environments.interpreter("img2dataset")).with_name("img2dataset")
    flags = {
        "url_list": urls,
        "output_folder": out,
        "output_format": "parquet",
        "image_size": SIZE_PX,
        "resize_mode": "keep_ratio",
        "processes_count": WORKERS,
        "thread_count": CONNECTIONS,
        "number_sample_per_shard": 1000,
    }
    return _timed([str(command), *(f"--{name}={value}" for name, value in flags.items())])


def _timed(command: list[str]) -> float:
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    CPU_SECONDS.setdefault(command[0], []).append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return time.perf_counter() - start


def _measured(contestant: Callable[[Path, Path], float], urls: Path, kept: dict[str, dict[str, int]]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        seconds = contestant(urls, out)
        files = sorted((out / "samples").glob("*.parquet")) or sorted(out.glob("*.parquet"))
        rows = [row for file in files for row in pq.read_table(file).to_pylist()]
        made = {row["url"]: row.get("image") or row.get("jpg") for row in rows}
        kept[contestant.__name__] = {url: hash(data) for url, data in made.items() if data}
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    images, _ = workload.jpegs(arguments.images)
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(images)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with tempfile.TemporaryDirectory() as folder:
            urls = Path(folder) / "urls.txt"
            names = sorted(path.name for path in images.iterdir())
            urls.write_text("".join(f"http://127.0.0.1:{port}/{name}\n" for name in names))
            kept: dict[str, dict[str, int]] = {}
            contestants = {f.__name__: functools.partial(_measured, f, urls, kept) for f in (ours, theirs)}
            seconds = alternate(contestants, arguments.rounds)
    finally:
        server.terminate()
        server.wait()
    assert kept["ours"] == kept["theirs"], "the two have kept different pictures"
    count = len(names)
    metrics = [
        Metric("download", count / seconds["ours"], "images/s", count / seconds["theirs"]),
        times_better("download_vs_img2dataset", seconds["theirs"] / seconds["ours"], ">= 1.3"),
    ]
    used = [statistics.median(values) for values in CPU_SECONDS.values()]
    metrics.append(times_better("download_cores_vs_img2dataset", used[1] / used[0]))
    report(f"{count:,} images of about 25 KB, resized, {WORKERS} processes", metrics, arguments.json)


if __name__ == "__main__":
    main()
