"""From a crawl to scored pairs: every planted copy, bomb, opt-out, leak and dead link is named as what it is."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from photos import layer_bytes
from PIL import Image
from small_teachers import small_clip
from web_server import MISBEHAVIOURS, WebServer, body

pytest.importorskip("open_clip")

from reinforced.clip import OpenClipModel
from reinforced.operators.embed.clip import EmbedClip
from reinforced.operators.score.clip import ScoreClip
from reinforced.run import run
from reinforced.verify import verify

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PICTURES, COPIES, LEAKS, PAGE_IMAGES = 240, 12, 8, 5
TIMEOUT_S, CONCURRENCY, WORKERS = 4, 4, 2
TEXT = "a photograph of a garden"


def photo(seed: int, side: int = 128) -> Image.Image:
    """Return a picture that is near to no other one: a coarse random pattern, smoothly enlarged."""
    pattern = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(pattern).resize((side + seed % 7, side), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@dataclass
class Planted:
    """An image of the loopback web: what it answers (None: nothing there), and where its row has to end."""

    path: str
    answer: Any
    step: str = "kept"
    reason: str = ""
    text: str | None = TEXT
    key: str = ""


def planted() -> list[Planted]:
    """Return everything that is on the web, originals before their copies."""
    rows = [
        Planted(f"/good/{i}.jpg", body(encoded(photo(i), quality=92)), text=f"{TEXT}, {i}") for i in range(PICTURES)
    ]
    for i in range(COPIES):
        original, smaller = rows[i], photo(i + COPIES).resize((96, 92))
        rows.append(Planted(f"/again/{i}.jpg", original.answer, "dedup.exact", f"duplicate of {i}"))
        copy = body(encoded(smaller, "WEBP", quality=60))
        rows.append(Planted(f"/smaller/{i}.webp", copy, "dedup.perceptual", f"near-duplicate of {i + COPIES}"))
    for i in range(LEAKS):
        leak = body(encoded(photo(10_000 + i).resize((110, 106)), quality=70))
        rows.append(Planted(f"/leak/{i}.jpg", leak, "dedup.against", f"contaminated: test{i}"))
        rows.append(Planted(f"/leak-again/{i}.jpg", leak, "dedup.against", f"contaminated: test{i}"))
    for name, (answer, reason) in MISBEHAVIOURS.items():
        if reason is not None and name != "to-metadata":  # its words depend on this machine's routes
            said = reason.replace("within 1 s", f"within {TIMEOUT_S} s")
            rows.append(Planted(f"/{name}", answer, "download", said))
    rows += [Planted(f"/dead/{i}.jpg", None, "download", "HTTP 404: Not Found") for i in range(15)]
    tiny, long, dull = photo(501).resize((40, 40)), photo(502).resize((400, 80)), Image.new("RGB", (99, 99), (90, 9, 9))
    truncated = encoded(photo(503))[:-1500]
    return [
        *rows,
        Planted("/tiny.png", body(encoded(tiny, "PNG")), "filter.image", "min_side_px"),
        Planted("/long.png", body(encoded(long, "PNG")), "filter.image", "max_aspect"),
        Planted("/cut.jpg", body(truncated), "filter.image", "corrupt: "),
        Planted("/dull.png", body(encoded(dull, "PNG")), "filter.where", "where"),
        Planted("/short.jpg", None, "crawl:filter.alt_text", "min_words", "logo"),
        Planted("/drawing.svg", None, "crawl:filter.where#2", "where"),
        Planted("/untitled.jpg", None, "never read", text=None),
    ]


def write_wat(folder: Path, server: WebServer, rows: list[Planted], foreign: Planted) -> str:
    """Write the pages that show the images as a WAT file, set each row's key; return the key of a broken record."""
    folder.mkdir()
    packed, name = bytearray(), "part.wat.gz"

    def add(content: bytes) -> str:
        head = "WARC/1.0\r\nWARC-Type: metadata\r\nContent-Type: application/json\r\nContent-Length: "
        key = f"{name}/{len(packed):012d}"
        packed.extend(gzip.compress(head.encode() + b"%d\r\n\r\n" % len(content) + content + b"\r\n\r\n", mtime=0))
        return key

    pages = [rows[start : start + PAGE_IMAGES] for start in range(0, len(rows), PAGE_IMAGES)]
    for images in [*pages, [foreign]]:
        language = "de" if images == [foreign] else "en-GB"
        links = [
            {"path": "IMG@/src", "url": server.url(row.path)} | ({} if row.text is None else {"alt": row.text})
            for row in images
        ]
        metadata = {"Head": {}, "Links": [*links, {"path": "A@/href", "url": "/elsewhere"}]}
        response = {"Headers": {"Content-Language": language}, "HTML-Metadata": metadata}
        envelope = {
            "WARC-Header-Metadata": {"WARC-Target-URI": "https://example.com/"},
            "Payload-Metadata": {"HTTP-Response-Metadata": response},
        }
        key = add(json.dumps({"Envelope": envelope}).encode())
        for position, row in enumerate(images):
            row.key = f"{key}/{position:04d}"
    broken = add(b"{no json")
    (folder / name).write_bytes(packed)
    return broken


def outcomes(out: Path, pipeline: str, prefix: str = "") -> dict[str, tuple[str, str]]:
    """Return the step that each lost row was lost at and why, by key; no key may be lost twice."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted((out / "_runs/ledger" / pipeline).glob("*/*.parquet")):
        for row in pq.read_table(path).to_pylist():
            if row["outcome"] != "kept":
                assert row["key"] not in found, row
                found[row["key"]] = (prefix + row["step"], row["reason"])
    return found


@dataclass
class World:
    """What a run needs, and what it must come to: step and reason of every key, "kept" of the others."""

    place: Path
    server: WebServer
    rows: list[Planted]
    settings: list[str]
    least_score: float
    expected: dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    place, server, rows = tmp_path_factory.mktemp("web"), WebServer(), planted()
    foreign = Planted("/garten.jpg", None, "crawl:filter.where", "where", "ein Bild von einem Garten")
    broken = write_wat(place / "wat", server, rows, foreign)
    server.answers = {row.path: row.answer for row in rows if row.answer is not None}
    server.answers["/robots.txt"] = body(b"User-agent: *\nDisallow: /disallowed/\n", Content_Type="text/plain")
    (place / "test").mkdir()
    for i in range(LEAKS):
        (place / "test" / f"test{i}.png").write_bytes(encoded(photo(10_000 + i), "PNG"))
    held_out = {"op": "read.images", "path": str(place / "test")}
    steps = [{"op": "hash.perceptual"}]
    run({"name": "test", "out": str(place / "held-out"), "source": held_out, "steps": steps}, workers=1)
    small_clip(place / "clip", 32)
    scores = clip_scores(place / "clip", rows[:PICTURES])
    least = np.sort(list(scores.values()))[PICTURES // 4 :][:2].mean()  # between two scores: a quarter is below
    assert np.abs(np.array(list(scores.values())) - least).min() > 0
    settings = [
        f"source.path={place}/urls/samples",
        f"variables.clip={{open_clip: {place}/clip, weights: null}}",
        f"variables.evaluation={place}/held-out",
        f"variables.least_score={least}",
        "steps.7.resources.gpus=0",
        "steps.8.resources.gpus=0",
        "source.allow_private_addresses=true",
        "source.host_requests_per_s=null",
        f"source.concurrency={CONCURRENCY}",
        f"source.timeout_s={TIMEOUT_S}",
        "source.retries=0",
        "source.max_bytes=1000000",
        "source.shard_rows=90",
    ]
    expected = {row.key: (row.step, row.reason) for row in [*rows, foreign]}
    expected[broken] = ("crawl:read.common_crawl", "bad record")
    for row in rows[:PICTURES]:
        if scores[row.path] < least:
            expected[row.key] = ("filter.where#2", "where")
    for row in rows:
        for kind in ("duplicate", "near-duplicate"):
            if row.reason.startswith(f"{kind} of "):
                expected[row.key] = (row.step, f"{kind}: {rows[int(row.reason.split()[-1])].key} is kept")
    yield World(place, server, rows, settings, float(least), expected)
    server.stop()


def clip_scores(model: Path, rows: list[Planted]) -> dict[str, float]:
    """Return the scores that the pictures will get, by path, asked without any pipeline."""
    images = [encoded(photo(i), quality=92) for i in range(len(rows))]
    table = pa.table({"key": [r.path for r in rows], "image": images, "alt_text": [r.text for r in rows]})
    clip = OpenClipModel(open_clip=str(model))
    scored = ScoreClip(model=clip, column="alt_text", embedding="clip_embedding")(EmbedClip(model=clip)(table))
    return dict(zip(scored.column("key").to_pylist(), scored.column("clip_score").to_pylist(), strict=True))


def download(world: World, out: Path) -> list[str]:
    """Return the command line that runs the recipe."""
    arguments = ["run", "web_to_clip", f"out={out}", *world.settings, "--workers", str(WORKERS), "--plain"]
    return [sys.executable, "-m", "reinforced", *arguments]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_planted_row_is_named_as_what_it_is_and_kills_refetch_only_what_was_in_flight(world: World) -> None:
    place, server = world.place, world.server
    run("crawl_urls", [f"source.path={place}/wat", f"out={place}/urls"], workers=1)
    run("web_to_clip", [*world.settings, f"out={place}/whole"], workers=WORKERS)
    lost = outcomes(place / "urls", "crawl-urls", "crawl:") | outcomes(place / "whole", "web-to-clip")
    wrong = {
        key: (expected, lost.get(key, ("kept", "")))
        for key, expected in world.expected.items()
        if expected[0] != "never read"
        and (lost.get(key, ("kept", ""))[0] != expected[0] or not lost.get(key, ("", ""))[1].startswith(expected[1]))
    }
    assert wrong == {} and lost.keys() <= world.expected.keys()
    assert verify(str(place / "whole")) == verify(str(place / "urls")) == []
    assert not any(server.asked[row.path] for row in world.rows if row.step.startswith("crawl:"))
    assert server.asked["/disallowed/1.jpg"] == 0
    killed_and_resumed(world)


def killed_and_resumed(world: World) -> None:
    """Kill the recipe while it downloads, three times at random; the last run ends in the bytes of the first one."""
    place, server = world.place, world.server
    server.asked.clear()
    pictures = [row for row in world.rows if row.path.startswith(("/good/", "/again/", "/smaller/", "/leak"))]
    for row in pictures:
        server.answers[row.path] = slowly(row.answer)
    chance, kills = random.Random(3), 0
    for _ in range(3):
        before = sum(server.asked.values())
        driver = subprocess.Popen(
            download(world, place / "killed"),
            env=os.environ | {"PYTHONPATH": ":".join(p for p in sys.path if p)},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        while driver.poll() is None and sum(server.asked.values()) <= before + 10:
            time.sleep(0.02)  # until it downloads
        try:
            assert driver.wait(timeout=chance.uniform(0.3, 2.0)) == 0
        except subprocess.TimeoutExpired:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
            time.sleep(0.3)  # its workers die with it
            kills += 1
    assert kills == 3
    result = run("web_to_clip", [*world.settings, f"out={place}/killed"], workers=WORKERS)
    again = sum(max(0, server.asked[row.path] - 1) for row in pictures)
    assert 0 < again <= kills * WORKERS * CONCURRENCY
    assert all(server.asked[row.path] for row in pictures)
    assert layer_bytes(place / "killed") == layer_bytes(place / "whole")
    assert outcomes(place / "killed", "web-to-clip") == outcomes(place / "whole", "web-to-clip")
    assert files(Path(f"{place}/killed-wds")) == files(Path(f"{place}/whole-wds"))
    assert len(result.dataset) == sum(step == "kept" for step, _ in world.expected.values())
    assert verify(str(place / "killed")) == []


def slowly(answer: Any) -> Any:
    def late(handler: Any) -> None:
        time.sleep(0.1)
        answer(handler)

    return late
