"""The frames of a video, upright, with their times and scenes."""

from __future__ import annotations

from collections.abc import Generator
from typing import IO, Any, NamedTuple

import numpy as np

from reinforced.images import Pixels

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf"
"""FFmpeg's containers that hold a video in one file: playlists, which name other files and URLs, are none of them."""

_SIDE_PX = 32


class Frame(NamedTuple):
    """A frame: its place in the video, its time from the first one, its scene, and whether a scene begins with it."""

    number: int
    time_s: float
    clip: int
    begins: bool
    picture: Any

    def pixels(self) -> Pixels:
        """Return the picture as a person sees it, uint8 (height, width, 3)."""
        return np.ascontiguousarray(np.rot90(self.picture.to_ndarray(format="rgb24"), self.picture.rotation // 90))


def frames(file: IO[bytes], cut_threshold: float) -> Generator[Frame, None, None]:
    """Yield every frame of a file's first video stream; a scene begins where pixels change by more than the threshold.

    The change is the mean absolute difference of red, green and blue from the frame before, 0 to 1, at 32 x 32 px.
    Raises: ValueError for a file that holds no video, and where decoding stops.
    """
    import av

    def refuse(*_: Any) -> None:
        raise PermissionError("a video may not open other files")

    try:
        options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}
        with av.open(file, "r", options=options, io_open=refuse, metadata_errors="replace") as container:
            if not container.streams.video:
                raise ValueError("the file holds no video")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # workers run side by side, one for each core
            start: float | None = None
            clip, before = -1, np.full((_SIDE_PX, _SIDE_PX, 3), np.inf)
            for number, picture in enumerate(container.decode(stream)):
                small = picture.to_ndarray(width=_SIDE_PX, height=_SIDE_PX, format="rgb24").astype(np.float64)
                begins = bool(np.abs(small - before).mean() > 255 * cut_threshold)
                clip, before = clip + begins, small
                time = float(picture.time or 0)
                start = time if start is None else start
                yield Frame(number, time - start, clip, begins, picture)
    except av.FFmpegError as error:
        raise ValueError(f"the video cannot be decoded: {error.strerror or error}") from error
