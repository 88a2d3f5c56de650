from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reinforced.operators.read.common_crawl import ReadCommonCrawl
from reinforced.run import run
from reinforced.verify import verify

PAGE = "https://example.com/garden/index.html"


def record(kind: str, content: bytes, type: str, url: str = PAGE) -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nContent-Type: {type}\r\n"
    return head.encode() + f"Content-Length: {len(content)}\r\n\r\n".encode() + content + b"\r\n\r\n"


def wat(links: Any, url: str = PAGE, headers: Any = None, **head: Any) -> bytes:
    response = {"Headers": headers or {}, "HTML-Metadata": {"Head": head, "Links": links}}
    envelope = {
        "WARC-Header-Metadata": {"WARC-Target-URI": url},
        "Payload-Metadata": {"HTTP-Response-Metadata": response},
    }
    return record("metadata", json.dumps({"Envelope": envelope}).encode(), "application/json", url)


def image(url: str, alt: str | None = None) -> dict[str, str]:
    return {"path": "IMG@/src", "url": url} | ({"alt": alt} if alt is not None else {})


def response(html: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", "Content-Type: text/html", *headers]
    return record("response", "\r\n".join(lines).encode() + b"\r\n\r\n" + html, "application/http; msgtype=response")


def read(folder: Path, records: list[bytes], name: str = "part.wat.gz", **parameters: Any) -> list[dict[str, Any]]:
    packed = (gzip.compress(r) if name.endswith(".gz") else r for r in records)
    (folder / name).write_bytes(b"".join(packed))
    source = ReadCommonCrawl(path=str(folder / name), **parameters)
    return [row for shard in source.shards() for row in source.read(shard).to_pylist()]


def test_images_of_a_wat_come_with_text_page_position_and_language(tmp_path: Path) -> None:
    links = [
        image("rose.jpg", " A  red\nrose "),
        {"path": "A@/href", "url": "/other"},
        image("/logo.png"),
        image("data:image/png;base64,AAAA", "inside"),
        image("//cdn.example.org/b.webp", "bee"),
    ]
    rows = read(
        tmp_path, [wat(links, headers={"content-language": "pt_BR, en"}), wat([image("x.jpg", "x")], Base="/y/")]
    )
    values = [(r["url"], r["alt_text"], r["position"], r["language"]) for r in rows]
    assert values == [
        ("https://example.com/garden/rose.jpg", "A red rose", 0, "pt-BR"),
        ("https://cdn.example.org/b.webp", "bee", 3, "pt-BR"),
        ("https://example.com/y/x.jpg", "x", 0, None),
    ]
    assert {r["page_url"] for r in rows} == {PAGE}
    everything = read(tmp_path, [wat(links)], alt_text_only=False)
    assert [r["url"] for r in everything][1] == "https://example.com/logo.png"


@pytest.mark.parametrize("name", ["part.warc", "part.warc.gz"])
def test_images_of_a_warc_are_found_in_its_html(tmp_path: Path, name: str) -> None:
    html = '<html lang="de"><base href="/b/"><IMG alt="Käse" src=k.jpg><img src="n.png"><img src=z.gif alt=\'a "b"\'>'
    packed = gzip.compress(html.encode())
    records = [
        record("warcinfo", b"software: x", "application/warc-fields"),
        response(html.encode("latin-1"), "Content-Language: fr"),
        response(html.encode("latin-1").replace(b"<html", b'<meta charset="latin-1"><html')),
        response(packed, "Content-Encoding: gzip"),
        record("response", b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8", "application/http"),
    ]
    rows = read(tmp_path, records, name)
    assert [r["alt_text"] for r in rows[2:]] == ["Käse", 'a "b"'] * 2
    assert {r["language"] for r in rows} == {"de"} and {r["url"] for r in rows[:2]} == {
        "https://example.com/b/k.jpg",
        "https://example.com/b/z.gif",
    }


def test_a_broken_record_costs_itself_and_the_ledger_says_why(tmp_path: Path) -> None:
    good = [gzip.compress(wat([image(f"{i}.jpg", f"text {i}")])) for i in range(6)]
    damaged = bytearray(good[1])
    damaged[len(damaged) // 2] ^= 0xFF
    parts = [
        good[0],
        bytes(damaged),
        gzip.compress(record("metadata", b"{no json", "application/json")),
        good[2],
        b"rubbish between records",
        good[3],
        gzip.compress(wat([]).replace(b"Content-Length: ", b"Content-Length: 9")),
        good[4],
        gzip.compress(record("metadata", b'{"Envelope": {"Payload-Metadata": []}}', "application/json")),
        good[5][:-40],
    ]
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl" / "part.wat.gz").write_bytes(b"".join(parts))
    source = {"op": "read.common_crawl", "path": str(tmp_path / "crawl")}
    result = run({"name": "urls", "out": str(tmp_path / "out"), "source": source, "max_failure_rate": 0.9})
    assert result.dataset.to_arrow(columns=["alt_text"]).column(0).to_pylist() == [f"text {i}" for i in (0, 2, 3, 4)]
    ledger = run({"name": "urls", "out": str(tmp_path / "out"), "source": source, "max_failure_rate": 0.9}).counts
    assert ledger["read.common_crawl"].failed == 5 and ledger["read.common_crawl"].reasons == {"bad record": 5}
    assert verify(str(tmp_path / "out")) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shard_bytes=st.integers(1024, 6000), packed=st.booleans())
def test_however_a_file_is_cut_into_shards_every_record_is_read_once(
    tmp_path: Path, shard_bytes: int, packed: bool
) -> None:
    records = [wat([image(f"{i}-{j}.jpg", "t" * (i * 37 % 91 + 1)) for j in range(i % 9)]) for i in range(60)]
    name = "part.wat.gz" if packed else "part.wat"
    expected = [f"https://example.com/garden/{i}-{j}.jpg" for i in range(60) for j in range(i % 9)]
    rows = read(tmp_path, records, name, shard_bytes=shard_bytes)
    assert [r["url"] for r in rows] == expected and not any(r["_error"] for r in rows)
    assert len({r["key"] for r in rows}) == len(rows)


def test_a_record_longer_than_a_shard_is_read_whole(tmp_path: Path) -> None:
    from reinforced.operators.read import _warc

    long = wat([image(f"{i:09d}{'x' * 99}.jpg", "t") for i in range(30_000)])
    assert len(long) > 2 * _warc.AHEAD_BYTES
    rows = read(tmp_path, [long, wat([image("last.jpg", "t")])], "part.wat", shard_bytes=65536)
    assert len(rows) == 30_001 and not any(r["_error"] for r in rows)
