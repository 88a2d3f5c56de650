from __future__ import annotations

import asyncio
import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from PIL import Image
from web_server import picture
from yarl import URL

from reinforced.web.addresses import is_public
from reinforced.web.fetch import Answer
from reinforced.web.hosts import HostRestingError, Hosts, retry_after_s
from reinforced.web.opt_out import Robots, reserved
from reinforced.web.resize import Resize
from reinforced.web.spool import Spool

PRIVATE = [
    "10.1.2.3",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "240.1.1.1",
    "::1",
    "::",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "::ffff:7f00:1",
    "64:ff9b::a9fe:a9fe",
    "::7f00:1",
    "2002:7f00:1::",
    "198.18.0.1",
    "192.0.2.1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_no_private_address_is_taken_for_a_public_one(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"])
def test_public_addresses_can_be_reached(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_every_ipv6_form(address: object) -> None:
    assert is_public(f"::ffff:{address}") == is_public(f"64:ff9b::{address}") == is_public(str(address))


@pytest.mark.parametrize(
    ("value", "kept_out"),
    [
        ("noai", True),
        ("NoAI , nofollow", True),
        ("nofollow, noimageai", True),
        ("reinforced: noai", True),
        ("otherbot: noai", False),
        ("noindex", False),
        ("unavailable_after: 25 Jun 2030 15:00:00 PST, noai", True),
        ("max-snippet: 5", False),
    ],
)
def test_x_robots_tag_is_honoured_in_all_its_forms(value: str, kept_out: bool) -> None:
    headers = CIMultiDictProxy(CIMultiDict([("x-robots-tag", "nofollow"), ("X-Robots-Tag", value)]))
    said = reserved(headers, "reinforced/1.0 (+me@example.com)", ("noai", "noimageai"), tdm=True)
    assert (said is not None) == kept_out


def test_robots_txt_is_read_by_the_longest_match_and_for_this_robot() -> None:
    robots = Robots("reinforced/1.0 (+me@example.com)")
    place = robots.place(URL("https://example.com/a/b.jpg?c"))
    assert str(place) == "https://example.com/robots.txt" and place not in robots
    rules = "User-agent: *\nDisallow: /\n\nUser-agent: reinforced\nDisallow: /private/\nAllow: /private/open/*.jpg$\n"
    robots.learn(place, rules)
    allowed = {
        path: robots.allow(URL(f"https://example.com{path}"))
        for path in ("/x.jpg", "/private/x", "/private/open/1.jpg")
    }
    assert allowed == {"/x.jpg": True, "/private/x": False, "/private/open/1.jpg": True}


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    assert retry_after_s("7") == 7 and retry_after_s(" 120 ") == 120
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert (retry_after_s("Wed, 21 Oct 2065 07:28:00 GMT") or 0) > 1e9
    assert retry_after_s(None) is retry_after_s("soon") is retry_after_s("²") is None


@pytest.mark.parametrize("shared", [True, False])
def test_turns_at_a_host_come_no_faster_than_allowed(tmp_path: Path, shared: bool) -> None:
    async def turns() -> list[float]:
        hosts = [Hosts(50, 4, tmp_path if shared else None) for _ in range(2 if shared else 1)]
        moments = []

        async def take(i: int) -> None:
            async with hosts[i % len(hosts)].turn("example.com", time.time() + 9):
                moments.append(time.time())

        await asyncio.gather(*(take(i) for i in range(20)))
        return moments

    moments = sorted(asyncio.run(turns()))
    assert moments[-1] - moments[0] >= 19 / 50 - 0.01


def test_a_host_that_asked_for_a_pause_is_not_waited_for_beyond_the_deadline(tmp_path: Path) -> None:
    async def visit() -> None:
        hosts = Hosts(None, 1, tmp_path)
        hosts.pause("example.com", 100)
        async with Hosts(None, 1, tmp_path).turn("example.org", time.time() + 1):
            pass
        async with Hosts(None, 1, tmp_path).turn("example.com", time.time() + 1):
            pass

    with pytest.raises(HostRestingError, match="a pause of 100 s"):
        asyncio.run(visit())


@given(
    entries=st.lists(st.tuples(st.integers(0, 99), st.binary(max_size=50), st.booleans()), max_size=8),
    cut=st.integers(0, 60),
)
def test_a_spool_cut_anywhere_gives_back_its_whole_entries_and_goes_on(
    entries: list[tuple[int, bytes, bool]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("spool") / "00000"
    spool = Spool(path)
    ends = []
    for row, content, good in entries:
        answer = Answer(content, status=200, etag="é") if good else Answer(error="HTTP 404: Not Found")
        spool.add(row, answer)
        ends.append((path.stat().st_size, row, answer))
    spool.close()
    size = max(0, path.stat().st_size - cut)
    os.truncate(path, size)
    again = Spool(path)
    assert again.answers == {row: answer for end, row, answer in ends if end <= size}
    again.add(100, Answer(b"next"))
    again.close()
    last = Spool(path)
    last.close()
    assert last.answers[100] == Answer(b"next")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["keep_ratio", "keep_ratio_largest", "center_crop", "border"])
@pytest.mark.parametrize("size", [(64, 48), (301, 57), (40, 500), (224, 224), (13, 9)])
def test_resized_files_are_those_of_img2dataset_bit_for_bit(
    mode: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
    resizer = pytest.importorskip("img2dataset.resizer")
    for only_if_bigger in (False, True):
        theirs = resizer.Resizer(100, mode, only_if_bigger)
        ours = Resize(mode=mode, size_px=100, only_if_bigger=only_if_bigger)  # type: ignore[arg-type]
        data = picture(3, size=size, quality=95)
        assert ours.apply(data) == theirs(io.BytesIO(data))[0], (mode, size, only_if_bigger)


def test_a_picture_turned_by_exif_is_resized_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    resized = Image.open(io.BytesIO(Resize(size_px=48, format="png", quality=1).apply(picture(1, exif=exif.tobytes()))))
    upright = Image.open(io.BytesIO(picture(1))).rotate(-90, expand=True)
    assert resized.size == (48, 64)
    assert np.abs(np.asarray(resized).astype(int) - np.asarray(upright)).mean() < 2
