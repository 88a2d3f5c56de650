from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from language_server import LanguageServer, Settings, words_about

from reinforced.batch import Batch
from reinforced.errors import RequestError, RowErrors, RunError
from reinforced.images import encode_png
from reinforced.operators.caption.describe import CaptionDescribe
from reinforced.run import run

KEY = "sk-a-secret-that-must-not-be-found"


@pytest.fixture
def server() -> Iterator[LanguageServer]:
    with LanguageServer() as started:
        yield started


def images(count: int, side_px: int = 8) -> pa.Table:
    """Return rows with different small PNGs, which are sent as they are."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, side_px, side_px, 3), dtype=np.uint8)
    names = pa.array([f"thing {i}" for i in range(count)])
    keys = pa.array([f"{i:04d}" for i in range(count)])
    return pa.table([keys, pa.array([encode_png(one) for one in pixels]), names], ["key", "image", "label_name"])


def describe(server: LanguageServer, folder: Path, requests: dict[str, Any] | None = None, **more: Any) -> Any:
    model = {"endpoint": server.url, "name": "small-eye", **more.pop("model", {})}
    asked = {"cache": str(folder / "answers"), "concurrency": 64, **(requests or {})}
    operator = CaptionDescribe(model=model, requests=asked, **more)
    operator.setup()
    return operator


def captions(operator: CaptionDescribe, table: pa.Table) -> list[Any]:
    return operator.apply(Batch(table)).values("caption")


def failures(operator: CaptionDescribe, table: pa.Table) -> dict[int, str]:
    with pytest.raises(RowErrors) as caught:
        operator.apply(Batch(table))
    return caught.value.reasons


def test_captions_belong_to_their_images_at_high_concurrency(server: LanguageServer, tmp_path: Path) -> None:
    server.settings.latency_s = 0.02
    server.settings.one_in = {"429": 9, "500": 9, "truncated": 9, "reset": 9}
    table = images(150)
    expected = [words_about(image) for image in table.column("image").to_pylist()]
    operator = describe(server, tmp_path)
    assert captions(operator, table) == expected
    assert 32 < server.most_busy <= 64
    assert len(server.asked) == 150 and set(server.answered.values()) == {1}
    assert sum(server.asked.values()) > 170  # the faults did happen


def test_a_second_run_sends_nothing(server: LanguageServer, tmp_path: Path) -> None:
    table = images(20)
    first = captions(describe(server, tmp_path), table)
    assert captions(describe(server, tmp_path), table) == first
    assert captions(describe(server, tmp_path, {"concurrency": 2}), table.slice(3, 5)) == first[3:8]
    assert len(server.arrivals) == 20
    captions(describe(server, tmp_path, prompt="What is it?"), table)
    captions(describe(server, tmp_path, model={"temperature": 0.5}), table)
    assert len(server.arrivals) == 60


def test_equal_images_are_sent_once(server: LanguageServer, tmp_path: Path) -> None:
    table = images(3)
    found = captions(describe(server, tmp_path), pa.concat_tables([table, table]))
    assert found[:3] == found[3:] and len(server.arrivals) == 3


def test_a_refusal_costs_its_own_row_and_is_no_caption(server: LanguageServer, tmp_path: Path) -> None:
    server.settings.one_in = {"refusal": 4, "repetition": 6, "cut": 8}
    reasons = failures(describe(server, tmp_path), images(40))
    kinds = {reason.partition(":")[0] for reason in reasons.values()}
    assert kinds == {"refusal", "repetition", "cut at max_tokens"}
    assert 5 < len(reasons) < 30


def test_a_broken_image_is_never_sent(server: LanguageServer, tmp_path: Path) -> None:
    table = images(3)
    broken = table.column("image")[1].as_py()[:-30]
    table = table.set_column(1, "image", pa.array([*table.column("image").to_pylist()[:1], broken, None]))
    reasons = failures(describe(server, tmp_path), table.slice(0, 2))
    assert list(reasons) == [1] and reasons[1].startswith("corrupt: ")
    assert len(server.arrivals) == 1


def test_columns_fill_the_prompt_and_a_null_fails_its_row(server: LanguageServer, tmp_path: Path) -> None:
    table = images(2)
    operator = describe(server, tmp_path, prompt="Describe the {label_name}.", language="German", max_words=40)
    captions(operator, table)
    said = {payload["messages"][0]["content"][0]["text"] for payload in server.payloads}
    assert said == {f"Describe the thing {i}.\nAnswer in German.\nUse at most 40 words." for i in range(2)}
    table = table.set_column(2, "label_name", pa.array(["thing", None]))
    assert failures(operator, table) == {1: "null: label_name"}
    with pytest.raises(ValueError, match="is no column's name"):
        describe(server, tmp_path, prompt="{label_name.real}")


def test_answers_follow_the_schema_or_fail(server: LanguageServer, tmp_path: Path) -> None:
    server.settings.one_in = {"schema": 3}
    schema = {"type": "object", "properties": {"caption": {"type": "string"}}, "required": ["caption"]}
    operator, table = describe(server, tmp_path, json_schema=schema), images(20)
    reasons = failures(operator, table)
    assert 0 < len(reasons) < 20 and all(reason.startswith("schema: ") for reason in reasons.values())
    good = [i for i in range(20) if i not in reasons]
    made = operator.apply(Batch(table.take(good)))
    assert [json.loads(text)["caption"] for text in made.values("caption_json")] == made.values("caption")
    with pytest.raises(ValueError, match="must require a property `caption`"):
        describe(server, tmp_path, json_schema={"type": "object"})


def test_large_images_shrink_and_their_metadata_stays_here(server: LanguageServer, tmp_path: Path) -> None:
    from io import BytesIO

    from PIL import Image

    buffer, exif = BytesIO(), Image.Exif()
    exif[0x010E] = "taken at home"
    Image.new("RGB", (200, 100), "orange").save(buffer, "JPEG", exif=exif)
    table = pa.table({"key": ["a"], "image": [buffer.getvalue()]})
    found = captions(describe(server, tmp_path, model={"image_side_px": 64}), table)
    assert re.match(r"A picture of 64 by 32 px, mean colour 25[345] 16[456] \d,", found[0])
    captions(describe(server, tmp_path), table)
    assert b"taken at home" not in json.dumps(server.payloads).encode()


def test_requests_a_minute_hold_over_two_workers(server: LanguageServer, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    limits = {"requests_per_minute": 1200}
    workers = [describe(server, tmp_path, limits) for _ in range(2)]
    table = images(40)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(captions, workers, (table.slice(0, 20), table.slice(20))))
    first, last = min(server.arrivals), max(server.arrivals)
    assert last - first > 39 * 0.05 - 0.1  # 40 turns, 50 ms apart
    assert len(server.arrivals) == 40


def test_the_tokens_that_answers_took_set_the_pace(server: LanguageServer, tmp_path: Path) -> None:
    limits = {"tokens_per_minute": 12_000, "concurrency": 1}  # 120 tokens a request: ten in 6 s
    start = time.monotonic()
    captions(describe(server, tmp_path, limits, model={"max_tokens": 20}), images(6))
    assert 2.5 < time.monotonic() - start < 12


def test_retry_after_is_waited_for(server: LanguageServer, tmp_path: Path) -> None:
    server.settings.one_in, server.settings.retry_after_s = {"429": 1}, 1.2
    start = time.monotonic()
    captions(describe(server, tmp_path), images(3))
    assert time.monotonic() - start > 1.2
    assert set(server.asked.values()) == {2}


PRICES = {"usd_per_million_input": 1000.0, "usd_per_million_output": 5000.0}
A_REQUEST = 100 * 0.001 + 20 * 0.005
"""US dollars: 100 tokens in and 20 out, see the server."""


def test_the_budget_stops_the_run_and_a_higher_one_goes_on(server: LanguageServer, tmp_path: Path) -> None:
    table, model = images(20), {"max_tokens": 20}
    budget = PRICES | {"budget_usd": 10.5 * A_REQUEST}
    with pytest.raises(RunError, match=r"budget_usd 2.1 is spent: 10 requests cost 2.0000 US\$"):
        captions(describe(server, tmp_path, budget, model=model), table)
    assert len(server.arrivals) == 10
    more = PRICES | {"budget_usd": 20.5 * A_REQUEST}
    assert None not in captions(describe(server, tmp_path, more, model=model), table)
    assert len(server.arrivals) == 20
    with pytest.raises(ValueError, match="budget_usd needs usd_per_million_input"):
        describe(server, tmp_path, {"budget_usd": 1.0})


def test_an_endpoint_that_is_down_stops_the_run_with_one_error(server: LanguageServer, tmp_path: Path) -> None:
    operator = describe(server, tmp_path, {"attempts": 1}, model={"endpoint": "http://127.0.0.1:9/v1"})
    with pytest.raises(RunError, match="gave no answer to 10 questions in a row"):
        captions(operator, images(30))


def test_a_wrong_key_stops_at_once_and_is_not_said(
    server: LanguageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.settings.key = "another"
    monkeypatch.setenv("A_KEY", KEY)
    with pytest.raises(RunError, match="refuses model small-eye: HTTP 401") as caught:
        captions(describe(server, tmp_path, model={"key_variable": "A_KEY"}), images(3))
    assert KEY not in str(caught.value) and "[key]" in str(caught.value)
    monkeypatch.delenv("A_KEY")
    with pytest.raises(RequestError, match=r"A_KEY with the key of .* is empty"):
        describe(server, tmp_path, model={"key_variable": "A_KEY"})


def test_a_key_does_not_go_over_an_open_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    model = {"endpoint": "http://example.org/v1", "name": "m", "key_variable": "A_KEY"}
    with pytest.raises(RequestError, match="unencrypted: use https"):
        CaptionDescribe(model=model).check(pa.schema([]))


def pipeline(server: LanguageServer, folder: Path, **requests: Any) -> dict[str, Any]:
    model = {"endpoint": server.url, "name": "small-eye", "key_variable": "A_KEY"}
    asked = {"cache": str(folder / "answers"), "concurrency": 4, **requests}
    return {
        "name": "described",
        "out": str(folder / "out"),
        "source": {"op": "read.images", "path": str(folder / "photos"), "shard_rows": 10},
        "steps": [{"op": "caption.describe", "model": model, "requests": asked}],
        "max_failure_rate": 1.0,
    }


def folder_of(table: pa.Table, folder: Path) -> None:
    (folder / "photos").mkdir()
    for key, image in zip(table.column("key").to_pylist(), table.column("image").to_pylist(), strict=True):
        (folder / "photos" / f"{key}.png").write_bytes(image)


SCRIPT = "import json, sys; from reinforced.run import run; run(json.loads(sys.argv[1]), workers=2)"


def test_a_run_killed_again_and_again_pays_for_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.setenv("PYTHONPATH", ":".join(p for p in sys.path if p))
    folder_of(images(60), tmp_path)
    kills, in_flight = 3, 4 * 2
    with LanguageServer(Settings(latency_s=0.15, key=KEY, one_in={"refusal": 12})) as server:
        spec = pipeline(server, tmp_path)
        for kill in range(kills):
            driver = subprocess.Popen([sys.executable, "-c", SCRIPT, json.dumps(spec)], env=os.environ)
            while sum(server.answered.values()) < 12 * (kill + 1) and driver.poll() is None:
                time.sleep(0.02)
            driver.send_signal(signal.SIGKILL)
            driver.wait()
        result = run(spec, workers=1)
        assert len(server.answered) == 60
        # A request that was on its way when its worker died was answered to nobody; no other is sent again.
        assert sum(server.answered.values()) <= 60 + kills * in_flight
        stored = sqlite3.connect(tmp_path / "answers" / "answers.sqlite").execute("SELECT count(*) FROM answers")
        assert stored.fetchone()[0] == 60
        before = len(server.arrivals)
        again = run({**spec, "out": str(tmp_path / "again")}, workers=1)
        assert len(server.arrivals) == before
    assert (
        result.counts["caption.describe"].reasons
        == again.counts["caption.describe"].reasons
        == {"refusal": 60 - len(result.dataset)}
    )
    table = result.dataset.to_arrow(columns=["image", "caption"])
    assert [words_about(image) for image in table.column("image").to_pylist()] == table.column("caption").to_pylist()
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 10 and not [file for file in files if KEY.encode() in file.read_bytes()]


def test_another_price_or_pace_makes_no_layer_again(
    server: LanguageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    folder_of(images(12), tmp_path)
    assert run(pipeline(server, tmp_path), workers=1).shards_made == 2
    assert run(pipeline(server, tmp_path, concurrency=2, **PRICES), workers=1).shards_made == 0
