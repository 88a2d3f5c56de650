"""Ray Data's HTTP processor asks a chat endpoint about images: `python with_ray_http.py URL FOLDER`."""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any


def payload(row: dict[str, Any]) -> dict[str, Any]:
    """Return the request of an image."""
    url = f"data:image/png;base64,{base64.b64encode(row['image']).decode()}"
    content = [{"type": "text", "text": "Describe this image."}, {"type": "image_url", "image_url": {"url": url}}]
    return {"payload": {"model": "small-eye", "messages": [{"role": "user", "content": content}]}}


def main(url: str, folder: str) -> None:
    """Print the seconds from reading to captions, with Ray up and one worker a core."""
    import ray
    from ray.data.llm import HttpRequestProcessorConfig, build_processor

    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    config = HttpRequestProcessorConfig(url=f"{url}/chat/completions", concurrency=os.cpu_count() or 1, batch_size=32)
    processor = build_processor(config, preprocess=payload, postprocess=lambda row: {"said": row["http_response"]})
    images = [{"image": file.read_bytes()} for file in sorted(Path(folder).glob("*.png"))]
    start = time.perf_counter()
    said = processor(ray.data.from_items(images)).take_all()
    seconds = time.perf_counter() - start
    assert len(said) == len(images)
    assert all("A picture." in json.dumps(row["said"]) for row in said)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
