"""An environment of its own for each peer, made from its published package on first use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

from workload import cache_folder

PEERS = Path(__file__).parent / "peers"
TORCHVISION = ["torch==2.15.0", "torchvision==0.29.2"]
"""imagededup imports both for its neural methods; the two must be of one release, and readers get this project's."""
# Data-Juicer imports aiohttp without asking for it, and torch for any operator on images; a small build does.
REQUIREMENTS = {
    "data_juicer": ["torch==2.13.0", "py-data-juicer==1.6.1", "aiohttp", "simplejpeg"],
    "data_juicer_images": [*TORCHVISION, "py-data-juicer==1.6.1", "aiohttp", "imagededup==0.3.3.post2"],
    "imagededup": [*TORCHVISION, "imagededup==0.3.3.post2"],
    "img2dataset": ["img2dataset==1.47.0", "setuptools<81"],
    "datatrove": ["datatrove[io,processing]==0.10.1", "pillow", "simplejpeg"],
    "webdataset": [*TORCHVISION, "webdataset==1.0.2"],
    "litdata": [*TORCHVISION, "litdata==0.2.76"],
    "mosaicml_streaming": [*TORCHVISION, "mosaicml-streaming==0.13.0"],
}


def interpreter(peer: str) -> str:
    """Return the Python to run a peer with: of its own environment, or this one for what is installed here."""
    if peer not in REQUIREMENTS:
        return sys.executable
    folder = cache_folder() / "environments" / peer
    done = folder / "requirements.json"
    python = folder / "bin" / "python"
    if not done.exists() or json.loads(done.read_text()) != REQUIREMENTS[peer]:
        venv.create(folder, clear=True, with_pip=True)
        for requirement in REQUIREMENTS[peer]:
            subprocess.run([python, "-m", "pip", "install", "--quiet", requirement], check=True, stdout=sys.stderr)
        done.write_text(json.dumps(REQUIREMENTS[peer]))
    return str(python)


def run(peer: str, *arguments: str | Path) -> float:
    """Run a peer's script and return the seconds it reports."""
    return seconds_of([interpreter(peer), str(PEERS / f"with_{peer}.py"), *map(str, arguments)])


def seconds_of(command: list[str]) -> float:
    """Run a command whose last line is {"seconds": …} and return them; its output is shown only if it fails."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])
