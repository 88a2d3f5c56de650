"""Lets every test import the modules beside this file (`broken_images`, `standard_table`)."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def digits_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP model of handwritten digits, trained once a session."""
    from digits_clip import train

    folder = tmp_path_factory.mktemp("models") / "digits_clip"
    train(folder)
    return folder
