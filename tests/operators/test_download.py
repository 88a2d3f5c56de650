from __future__ import annotations

import hashlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from photos import layer_bytes
from PIL import Image
from web_server import (
    JPEG,
    MISBEHAVIOURS,
    WebServer,
    body,
    good,
    in_seconds,
    picture,
    redirect,
    stall,
    status,
    times,
)

from reinforced.cli import main
from reinforced.errors import RequestError, RunError
from reinforced.operators.download import Download
from reinforced.run import RunResult, run
from reinforced.storage import Storage, Written
from reinforced.verify import verify

SCRIPT = """
import json, sys
from reinforced.run import run
run(json.loads(sys.argv[1]), workers=2)
"""


@pytest.fixture
def server() -> Iterator[WebServer]:
    made = WebServer()
    yield made
    made.stop()


def listed(folder: Path, urls: list[str]) -> Path:
    path = folder / "urls.txt"
    path.write_text("".join(f"{url}\n" for url in urls))
    return path


def spec(path: Path, out: Path, steps: Any = (), **parameters: Any) -> dict[str, Any]:
    source = {
        "op": "download",
        "path": str(path),
        "allow_private_addresses": True,
        "host_requests_per_s": None,
        "host_connections": 64,
        "retries": 0,
        "timeout_s": 5,
    } | parameters
    return {"name": "web", "out": str(out), "source": source, "steps": list(steps), "max_failure_rate": 1.0}


def ledger(out: Path, step: str = "download") -> dict[str, str]:
    """Return why each failed or dropped row is gone, by key."""
    rows = pa.concat_tables([pq.read_table(p) for p in sorted((out / "_runs/ledger/web" / step).iterdir())]).to_pylist()
    return {row["key"]: row["reason"] for row in rows if row["outcome"] != "kept"}


def paths(result: RunResult) -> list[str]:
    """Return the paths of the URLs that gave an image."""
    return [
        re.sub(r"^http://[^/]+/", "", url) for url in result.dataset.to_arrow(columns=["url"]).column(0).to_pylist()
    ]


def test_each_way_a_server_misbehaves_costs_its_own_row_and_the_ledger_names_it(
    server: WebServer, tmp_path: Path
) -> None:
    server.answers = {f"/{path}": answer for path, (answer, _) in MISBEHAVIOURS.items()}
    server.answers["/robots.txt"] = body(b"User-agent: *\nDisallow: /disallowed/\n", Content_Type="text/plain")
    server.answers["/to-metadata"] = redirect("http://[::ffff:a9fe:a9fe]:1/latest/meta-data/")
    urls = [server.url(f"/{path}") for path in MISBEHAVIOURS]
    source = {"timeout_s": 1, "max_bytes": 1_000_000, "host_connections": 200, "concurrency": 200}
    result = run(spec(listed(tmp_path, urls), tmp_path / "out", **source))
    reasons = ledger(tmp_path / "out")
    found = {path: reasons.get(f"urls/{row:08d}") for row, path in enumerate(MISBEHAVIOURS)}
    del found["to-metadata"]  # where this machine has a route to it or not decides on the words; see the next test
    for path, reason in found.items():
        expected = MISBEHAVIOURS[path][1]
        assert (reason or "").startswith(expected or "") and (reason is None) == (expected is None), (path, reason)
    assert server.asked["/disallowed/1.jpg"] == 0 and server.asked["/robots.txt"] == 1
    rows = result.dataset.to_arrow(columns=["url", "image", "etag", "content_type", "status", "bytes"]).to_pylist()
    by_path = {row["url"].rpartition("/")[2]: row for row in rows}
    assert by_path["gzip"]["image"] == by_path["wrong-type"]["image"] == JPEG
    assert by_path["wrong-type"]["content_type"] == "text/plain"
    assert by_path["polyglot"]["image"].startswith(JPEG) and {row["status"] for row in rows} == {200}
    assert all(row["bytes"] == len(row["image"]) for row in rows)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
def test_no_spelling_of_this_machine_is_connected_to(server: WebServer, tmp_path: Path, host: str) -> None:
    urls = [f"http://{host}:{server.server_port}/picture/1.jpg"]
    run(spec(listed(tmp_path, urls), tmp_path / "out", allow_private_addresses=False))
    (reason,) = ledger(tmp_path / "out").values()
    assert reason.startswith(("refused address: ", "refused URL: ", "unknown host: ")), reason
    assert not server.asked


def test_a_redirect_to_a_private_address_is_refused_though_the_first_host_is_public(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reinforced.web import addresses

    really = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1" or really(address))
    server.answers["/away"] = redirect(f"http://127.0.0.2:{server.server_port}/picture/1.jpg")
    urls = [server.url("/away"), server.url("/picture/2.jpg")]
    result = run(spec(listed(tmp_path, urls), tmp_path / "out", allow_private_addresses=False))
    assert ledger(tmp_path / "out") == {
        "urls/00000000": "refused address: 127.0.0.2 is not public; allow_private_addresses decides"
    }
    assert paths(result) == ["picture/2.jpg"]


def test_odd_urls_cost_their_rows_only(server: WebServer, tmp_path: Path) -> None:
    odd = ["ftp://example.com/a.jpg", "not a url", "http://", "http://[::1", "http://a:99999/", "javascript:alert(1)"]
    result = run(spec(listed(tmp_path, [*odd, server.url("/picture/1.jpg?a=b c")]), tmp_path / "out"))
    reasons = ledger(tmp_path / "out")
    assert len(reasons) == len(odd) and all(reason.startswith("refused URL: ") for reason in reasons.values()), reasons
    assert len(result.dataset) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("code", [429, 503])
def test_a_host_that_asks_to_wait_is_left_alone_so_long_and_asked_again(
    server: WebServer, tmp_path: Path, code: int, form: str
) -> None:
    wait = "2" if form == "seconds" else in_seconds(3)
    server.answers["/busy.jpg"] = times(1, status(code, Retry_After=wait), good(3))
    urls = [server.url("/busy.jpg")]
    result = run(spec(listed(tmp_path, urls), tmp_path / "out", retries=2, robots_txt=False))
    first, second = server.times["/busy.jpg"]
    assert len(result.dataset) == 1 and second - first >= 1.9


def test_a_pause_longer_than_the_shard_may_take_fails_the_row_instead_of_waiting(
    server: WebServer, tmp_path: Path
) -> None:
    server.answers["/busy.jpg"] = status(429, Retry_After="3600")
    start = time.monotonic()
    urls = [server.url("/busy.jpg"), server.url("/picture/1.jpg")]
    run(spec(listed(tmp_path, urls), tmp_path / "out", retries=1, shard_deadline_s=20, host_connections=1))
    assert time.monotonic() - start < 10
    assert {reason.partition(":")[0] for reason in ledger(tmp_path / "out").values()} <= {
        "HTTP 429",
        "host asks to wait",
    }
    assert server.asked["/busy.jpg"] == 1


def test_a_shard_ends_at_its_deadline_however_many_urls_hang(server: WebServer, tmp_path: Path) -> None:
    server.answers |= {f"/hang/{i}": stall for i in range(30)}
    urls = [server.url(f"/hang/{i}") for i in range(30)] + [server.url(f"/picture/{i}.jpg") for i in range(10)]
    start = time.monotonic()
    result = run(spec(listed(tmp_path, urls), tmp_path / "out", timeout_s=60, shard_deadline_s=2, retries=3))
    assert time.monotonic() - start < 6
    assert len(result.dataset) == 10
    assert {reason.partition(":")[0] for reason in ledger(tmp_path / "out").values()} == {"deadline"}


def test_no_host_gets_more_requests_a_second_than_allowed_from_all_workers_together(
    server: WebServer, tmp_path: Path
) -> None:
    urls = [server.url(f"/picture/{i}.jpg") for i in range(40)]
    source = {"host_requests_per_s": 20, "shard_rows": 10, "robots_txt": False}
    result = run(spec(listed(tmp_path, urls), tmp_path / "out", **source), workers=2)
    moments = sorted(moment for found in server.times.values() for moment in found)
    assert len(result.dataset) == 40
    assert moments[-1] - moments[0] > 38 / 20


def test_retry_failed_asks_only_for_what_failed_in_passing(server: WebServer, tmp_path: Path) -> None:
    server.answers["/back.jpg"] = times(1, status(503), good(5))
    server.answers["/gone.jpg"] = status(410)
    server.answers["/small.png"] = body(picture(2, "PNG", size=(8, 8)))
    urls = [server.url(p) for p in ("/picture/1.jpg", "/back.jpg", "/gone.jpg", "/small.png", "/picture/2.jpg")]
    steps = [{"op": "filter.image", "min_side_px": 16}, {"op": "hash.pixels"}]
    pipeline = spec(listed(tmp_path, urls), tmp_path / "out", steps, shard_rows=3)
    first = run(pipeline)
    assert paths(first) == ["picture/1.jpg", "picture/2.jpg"]
    assert ledger(tmp_path / "out")["urls/00000001"] == "HTTP 503: Service Unavailable"
    assert run(pipeline).shards_made == 0
    before = dict(server.asked)
    again = run(pipeline, retry_failed=True)
    assert paths(again) == ["picture/1.jpg", "back.jpg", "picture/2.jpg"] and again.shards_made == 1
    asked = {path: count - before.get(path, 0) for path, count in server.asked.items()}
    assert {path for path, count in asked.items() if count} <= {"/back.jpg", "/robots.txt"} and asked["/back.jpg"] == 1
    assert verify(str(tmp_path / "out")) == []
    assert not (tmp_path / "out/_runs/spool").exists()
    assert run(pipeline, retry_failed=True).shards_made == 0
    other = spec(listed(tmp_path, urls), tmp_path / "other", steps, shard_rows=3)
    run(other)
    assert layer_bytes(tmp_path / "out") == layer_bytes(tmp_path / "other")


def test_the_command_line_retries_too(server: WebServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.answers["/back.jpg"] = times(1, status(500), good(5))
    file = tmp_path / "web.yaml"
    file.write_text(json.dumps(spec(listed(tmp_path, [server.url("/back.jpg")]), tmp_path / "out")))
    assert main(["run", str(file)]) == 0 and "0 samples" in capsys.readouterr().out
    assert main(["run", str(file), "--retry-failed"]) == 0 and "1 samples" in capsys.readouterr().out


def test_rows_that_a_filter_dropped_are_not_downloaded_again_by_a_retry_and_stay_dropped(
    server: WebServer, tmp_path: Path
) -> None:
    server.answers["/back.jpg"] = times(1, status(502), good(5))
    server.answers["/small.png"] = body(picture(2, "PNG", size=(8, 8)))
    urls = [server.url(p) for p in ("/small.png", "/back.jpg", "/picture/2.jpg")]
    pipeline = spec(listed(tmp_path, urls), tmp_path / "out", [{"op": "filter.image", "min_side_px": 16}])
    run(pipeline)
    again = run(pipeline, retry_failed=True)
    assert paths(again) == ["back.jpg", "picture/2.jpg"] and server.asked["/small.png"] == 1
    assert again.counts["filter.image"].rows_in == 3 and again.counts["filter.image"].dropped == 1
    assert again.counts["download"].failed == 0
    assert verify(str(tmp_path / "out")) == []


def test_a_changed_filter_downloads_nothing_that_is_there_and_patience_makes_nothing_again(
    server: WebServer, tmp_path: Path
) -> None:
    urls = [server.url(f"/picture/{i}.jpg") for i in range(5)]
    path = listed(tmp_path, urls)
    run(spec(path, tmp_path / "out", [{"op": "filter.image", "min_side_px": 4}]))
    result = run(spec(path, tmp_path / "out", [{"op": "filter.image", "min_side_px": 5}], timeout_s=9))
    assert result.shards_made == 1 and len(result.dataset) == 5
    assert all(server.asked[f"/picture/{i}.jpg"] == 1 for i in range(5))
    assert run(spec(path, tmp_path / "out", [{"op": "filter.image", "min_side_px": 5}], retries=3)).shards_made == 0


def test_a_list_that_grew_downloads_only_the_new_shards(server: WebServer, tmp_path: Path) -> None:
    urls = [server.url(f"/picture/{i}.jpg") for i in range(7)]
    run(spec(listed(tmp_path, urls[:4]), tmp_path / "out", shard_rows=2))
    result = run(spec(listed(tmp_path, urls), tmp_path / "out", shard_rows=2))
    assert len(result.dataset) == 7 and result.shards_made == 2
    assert all(server.asked[f"/picture/{i}.jpg"] == 1 for i in range(7))


def test_a_shard_of_which_nothing_was_reached_is_not_done(tmp_path: Path) -> None:
    closed = [f"http://127.0.0.1:9/{i}.jpg" for i in range(25)]
    pipeline = spec(listed(tmp_path, closed), tmp_path / "out", robots_txt=False)
    with pytest.raises(RunError, match="none of 25 URLs was reached"):
        run(pipeline)
    assert not list((tmp_path / "out").glob("_runs/records/web/*.json"))


def test_a_retry_that_reaches_nothing_leaves_the_dataset_as_it_was(server: WebServer, tmp_path: Path) -> None:
    urls = [f"http://127.0.0.1:9/{i}.jpg" for i in range(25)] + [server.url("/picture/1.jpg")]
    pipeline = spec(listed(tmp_path, urls), tmp_path / "out", robots_txt=False)
    run(pipeline)
    before = layer_bytes(tmp_path / "out")
    assert len(run(pipeline, retry_failed=True).dataset) == 1
    assert layer_bytes(tmp_path / "out") == before and run(pipeline).shards_made == 0


def test_too_many_failures_stop_the_run_and_say_how_to_try_again(server: WebServer, tmp_path: Path) -> None:
    server.answers |= {f"/{i}": status(503) for i in range(30)}
    urls = [server.url(f"/{i}") for i in range(30)]
    pipeline = spec(listed(tmp_path, urls), tmp_path / "out") | {"max_failure_rate": 0.1}
    with pytest.raises(RunError, match="30 of them may do better on another try: --retry-failed"):
        run(pipeline)
    server.answers = {f"/{i}": good(i) for i in range(30)}
    assert len(run(pipeline, retry_failed=True).dataset) == 30


def test_killed_anywhere_and_resumed_it_asks_for_nothing_it_had_and_makes_the_same_dataset(
    server: WebServer, tmp_path: Path
) -> None:
    server.delay_s = 0.05
    server.answers["/gone.jpg"] = status(404)
    urls = [server.url(f"/picture/{i}.jpg") for i in range(240)]
    urls[100] = server.url("/gone.jpg")
    steps = [{"op": "filter.image", "min_side_px": 16}, {"op": "hash.pixels"}]
    source = {"shard_rows": 60, "concurrency": 4, "robots_txt": False}
    pipeline = spec(listed(tmp_path, urls), tmp_path / "out", steps, **source)
    chance, kills, in_flight = random.Random(7), 0, 0
    for _ in range(12):
        driver = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, json.dumps(pipeline)],
            env=os.environ | {"PYTHONPATH": ":".join(p for p in sys.path if p)},
            start_new_session=True,
        )
        try:
            assert driver.wait(timeout=chance.uniform(1.5, 4.0)) == 0
            break
        except subprocess.TimeoutExpired:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
            time.sleep(0.3)  # its workers die with it
            kills, in_flight = kills + 1, in_flight + 2 * source["concurrency"]
    run(pipeline)
    assert kills > 0
    assert sum(server.asked.values()) - len(urls) <= in_flight  # only what was on its way was asked for again
    server.delay_s = 0.0
    run(pipeline | {"out": str(tmp_path / "whole")})
    assert layer_bytes(tmp_path / "out") == layer_bytes(tmp_path / "whole")
    assert verify(str(tmp_path / "out")) == []


@pytest.mark.parametrize("moment", ["_runs/records", "samples", "_runs/ledger"])
def test_a_retry_killed_while_it_commits_goes_on_without_a_download(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    server.answers["/back.jpg"] = times(1, status(500), good(5))
    server.answers["/small.png"] = body(picture(2, "PNG", size=(8, 8)))
    urls = [server.url(p) for p in ("/picture/1.jpg", "/back.jpg", "/small.png")]
    pipeline = spec(listed(tmp_path, urls), tmp_path / "out", [{"op": "filter.image", "min_side_px": 16}])
    run(pipeline)
    written, really = [], Storage.write

    def write(storage: Storage, path: str, data: bytes | memoryview) -> Written:
        written.append(path)
        # the first record is the mark of the retry, the second says that the layers are being replaced
        if path.startswith(moment) and sum(p.startswith(moment) for p in written) == (2 if "records" in moment else 1):
            really(storage, path, data)
            raise KeyboardInterrupt
        return really(storage, path, data)

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "write", write)
        with pytest.raises(KeyboardInterrupt):
            run(pipeline, retry_failed=True)
    result = run(pipeline)
    assert paths(result) == ["picture/1.jpg", "back.jpg"]
    assert server.asked["/picture/1.jpg"] == server.asked["/small.png"] == 1 and server.asked["/back.jpg"] == 2
    assert verify(str(tmp_path / "out")) == []


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl"])
def test_every_kind_of_list_keeps_its_other_columns(server: WebServer, tmp_path: Path, kind: str) -> None:
    rows = [
        {"URL": server.url(f"/picture/{i}.jpg"), "caption": f'a "{i}",\nso to say', "WIDTH": str(i), "uid": f"u{i}"}
        for i in range(5)
    ]
    path = tmp_path / f"list.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        mark = "\t" if kind == "tsv" else ","
        quoted = [mark.join('"' + value.replace('"', '""') + '"' for value in row.values()) for row in rows]
        path.write_text("\n".join([mark.join(rows[0]), *quoted]))
    pipeline = spec(path, tmp_path / "out", url_column="URL", key_column="uid", shard_rows=2)
    table = run(pipeline).dataset.to_arrow()
    assert len(list(Download(path=str(path), url_column="URL", shard_rows=2).shards())) == 3
    assert table.column("key").to_pylist() == [row["uid"] for row in rows]
    assert table.column("caption").to_pylist() == [row["caption"] for row in rows]
    assert table.column(".WIDTH").to_pylist() == [row["WIDTH"] for row in rows]
    assert table.column("width").to_pylist() == [64] * 5 and table.column("url").to_pylist() == [r["URL"] for r in rows]


def test_bad_rows_of_a_list_cost_themselves(server: WebServer, tmp_path: Path) -> None:
    one = json.dumps({"url": server.url("/picture/1.jpg"), "n": 1})
    path = tmp_path / "list.jsonl"
    path.write_text("\n".join([one, "{broken", "[]", '{"url": null, "n": 2}', '{"url": "http://a/", "n": "text"}']))
    result = run(spec(path, tmp_path / "out"))
    assert len(result.dataset) == 1
    reasons = [reason for _, reason in sorted(ledger(tmp_path / "out").items())]
    assert [reason.partition(":")[0] for reason in reasons] == ["bad row", "bad row", "no URL", "bad row"]
    assert reasons[3] == "bad row: column 'n' holds str, not int64"


def test_a_file_that_is_not_what_the_list_was_made_of_fails(server: WebServer, tmp_path: Path) -> None:
    right = hashlib.sha256(picture(1)).hexdigest()
    path = tmp_path / "list.csv"
    path.write_text(f"url,sha256\n{server.url('/picture/1.jpg')},{right}\n{server.url('/picture/2.jpg')},{right}\n")
    result = run(spec(path, tmp_path / "out", sha256_column="sha256"))
    assert paths(result) == ["picture/1.jpg"]
    assert list(ledger(tmp_path / "out").values()) == [
        f"other content: SHA-256 {hashlib.sha256(picture(2)).hexdigest()}"
    ]


def test_resized_images_are_encoded_upright_and_what_does_not_decode_fails(server: WebServer, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    server.answers["/turned.jpg"] = body(picture(1, exif=turned.tobytes()))
    server.answers["/cut.jpg"] = body(JPEG[: len(JPEG) // 2])
    urls = [server.url(p) for p in ("/turned.jpg", "/cut.jpg", "/picture/3.jpg")]
    resize = {"mode": "keep_ratio", "size_px": 24, "format": "png", "quality": 3}
    result = run(spec(listed(tmp_path, urls), tmp_path / "out", resize=resize))
    table = result.dataset.to_arrow(columns=["image", "width", "height", "bytes"])
    assert table.column("width").to_pylist() == [24, 32] and table.column("height").to_pylist() == [32, 24]
    assert Image.open(io.BytesIO(table.column("image")[0].as_py())).format == "PNG"
    assert [r.partition(":")[0] for r in ledger(tmp_path / "out").values()] == ["cannot be decoded"]


def test_a_list_without_the_column_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("link\nhttp://example.com/1.jpg\n")
    with pytest.raises(RequestError, match="there is no column 'url'; set url_column to one of link"):
        run(spec(path, tmp_path / "out"))


def test_a_dataset_of_urls_is_a_list_itself(server: WebServer, tmp_path: Path) -> None:
    table = pa.table({"key": ["a", "b"], "url": [server.url(f"/picture/{i}.jpg") for i in range(2)]})
    pq.write_table(table, tmp_path / "list.parquet")
    made = {"op": "read.parquet", "path": str(tmp_path / "list.parquet"), "image_column": None}
    run({"name": "urls", "out": str(tmp_path / "urls"), "source": made})
    result = run(spec(tmp_path / "urls" / "samples", tmp_path / "out"))
    assert result.dataset.to_arrow(columns=["key"]).column(0).to_pylist() == ["a", "b"]
    assert duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/out/samples/*.parquet'").fetchall() == [(2,)]
