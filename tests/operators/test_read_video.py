from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest

import reinforced
from reinforced.errors import RequestError
from reinforced.images import decode
from reinforced.operators.read.video import ReadVideo

RATE, SCENES, SCENE_FRAMES = 10, ((200, 30, 30), (30, 200, 30), (30, 30, 200)), 15


def record(path: Path, rotation: int = 0, pause: int = 0) -> Path:
    """Encode three scenes of 1.5 s each, in plain colours, darker to the right, `pause` frames missing after each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.bit_rate = 96, 64, 800_000
        stream.time_base = Fraction(1, RATE)
        if rotation:
            stream.set_display_rotation(rotation)
        shade = np.linspace(1, 0.7, 96)[None, :, None]
        for number in range(SCENE_FRAMES * len(SCENES)):
            pixels = np.ones((64, 96, 1)) * shade * np.array(SCENES[number // SCENE_FRAMES])
            frame = av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number + number // SCENE_FRAMES * pause, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read(path: Path, **parameters: Any) -> list[dict[str, Any]]:
    source = ReadVideo(path=str(path), **parameters)
    tables = [source.read(shard) for shard in source.shards()]
    assert all(table.schema.names == [*source.columns().names, "_error"] for table in tables)
    return pa.concat_tables(tables).to_pylist()  # type: ignore[no-any-return]


def test_frames_come_at_the_rate_with_their_times_and_scenes(tmp_path: Path) -> None:
    record(tmp_path / "films" / "one.mp4")
    rows = read(tmp_path / "films", frames_per_s=2)
    assert [row["key"] for row in rows] == [f"one/{number:06d}" for number in range(0, 45, 5)]
    assert [row["timestamp_s"] for row in rows] == pytest.approx([i / 2 for i in range(9)])
    assert [row["clip"] for row in rows] == [0] * 3 + [1] * 3 + [2] * 3
    assert {(row["parent"], row["path"]) for row in rows} == {("one", "one.mp4")}
    for row in rows:
        np.testing.assert_allclose(decode(row["image"])[32, 0], SCENES[row["clip"]], atol=16)


def test_after_a_pause_frames_do_not_come_faster_than_the_rate(tmp_path: Path) -> None:
    times = [row["timestamp_s"] for row in read(record(tmp_path / "one.mkv", pause=40), frames_per_s=2)]
    assert min(np.diff(times)) > 0.4
    assert len(times) == 9


def test_one_frame_a_scene_is_its_first(tmp_path: Path) -> None:
    rows = read(record(tmp_path / "one.mkv"), frames="scenes")
    assert [row["frame_number"] for row in rows] == [0, 15, 30]
    assert len(read(tmp_path / "one.mkv", frames="scenes", cut_threshold=0.9)) == 1


def test_a_rate_above_that_of_the_video_gives_every_frame_once(tmp_path: Path) -> None:
    rows = read(record(tmp_path / "one.avi"), frames_per_s=1000)
    assert [row["frame_number"] for row in rows] == list(range(45))
    assert len(read(tmp_path / "one.avi", frames_per_s=1000, max_frames=7)) == 7


def test_a_telephone_held_upright_gives_upright_frames(tmp_path: Path) -> None:
    image = decode(read(record(tmp_path / "one.mp4", rotation=90))[0]["image"])
    assert image.shape == (96, 64, 3)
    assert image[-1, 32, 0] > int(image[0, 32, 0]) + 20  # turned against the clock, the left, light side is below


def test_a_broken_video_costs_its_own_row_and_no_frame_of_another(tmp_path: Path) -> None:
    record(tmp_path / "good.mp4")
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "empty.webm").write_bytes(b"")
    whole = record(tmp_path / "cut.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 3])
    rows = read(tmp_path)
    failed = {row["key"]: row["_error"] for row in rows if row["_error"]}
    assert {"noise", "empty"} <= set(failed)
    assert "cannot be decoded" in failed["noise"]
    assert sum(row["parent"] == "good" for row in rows) == 5


def test_a_playlist_that_calls_itself_a_video_opens_no_other_file(tmp_path: Path) -> None:
    secret = record(tmp_path / "secret" / "film.mp4")
    (tmp_path / "list.ts").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:4.5,\n{secret}\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile '{secret}'\n")
    for name in ("list.ts", "concat.mp4"):
        (row,) = read(tmp_path / name)
        assert row["image"] is None
        assert row["_error"]


def test_two_files_of_one_name_keep_keys_of_their_own(tmp_path: Path) -> None:
    record(tmp_path / "a.mp4")
    record(tmp_path / "a.avi")
    assert {row["parent"] for row in read(tmp_path)} == {"a.mp4", "a.avi"}


def test_a_folder_without_a_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no video")
    with pytest.raises(RequestError, match="no file"):
        list(ReadVideo(path=str(tmp_path)).shards())


def test_a_run_keeps_the_frames_and_lists_the_broken_video_in_the_ledger(tmp_path: Path) -> None:
    record(tmp_path / "films" / "good.mp4")
    (tmp_path / "films" / "noise.mp4").write_bytes(b"no video at all")
    pipeline = {
        "name": "f",
        "out": str(tmp_path / "out"),
        "source": {"op": "read.video", "path": str(tmp_path / "films")},
    }
    reinforced.run({**pipeline, "steps": [{"op": "filter.image", "min_side_px": 8}], "max_failure_rate": 0.5})
    dataset = reinforced.open(str(tmp_path / "out"))
    assert dataset.to_arrow(columns=["key"]).column("key").to_pylist()[0] == "good/000000"
    assert "width" in dataset.layers["samples"].names
