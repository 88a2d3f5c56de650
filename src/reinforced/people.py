"""Detectors of faces and people: each gives the best score of a face and of a person in a picture."""

from __future__ import annotations

import hashlib
import importlib
import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from reinforced.errors import RequestError
from reinforced.images import Pixels
from reinforced.weight_files import hash_file, read_state

Scores = tuple[float | None, float | None]
"""Of a face and of a person, 0 to 1; None where a detector does not look for it."""

_CASCADES = ("haarcascade_frontalface_alt2.xml", "haarcascade_profileface.xml")
_MARGIN = 0.6
"""Distance from the boundary at which a window of histograms counts as a person."""
_NEIGHBOURS = 3
"""Overlapping windows that a face needs, OpenCV's own default."""
_SIDE_PX = 640
_PERSON_IN_COCO = 1


class Detector(Protocol):
    """Looks for people in one picture at a time."""

    def __call__(self, pixels: Pixels) -> Scores:
        """Return the best scores in a picture, uint8 (height, width, 3)."""


class OpenCvDetector:
    """Frontal and profile faces by Haar cascades, people by histograms of oriented gradients; no weights to fetch.

    A face in n overlapping windows scores n / (n + 3), a person at a margin of m above 0.6 scores 1 / (1 + e^-m); less
    than three windows or a smaller margin is 0. Pictures are shrunk to 640 px.
    """

    def __init__(self) -> None:
        cv2 = _imported("cv2", "people")
        cv2.setNumThreads(1)
        self._cv2 = cv2
        self._cascades = [cv2.CascadeClassifier(cv2.data.haarcascades + name) for name in _CASCADES]
        self._people = cv2.HOGDescriptor()
        self._people.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())

    def __call__(self, pixels: Pixels) -> Scores:
        """Return the best scores of a face and of a person."""
        grey = self._cv2.cvtColor(np.ascontiguousarray(pixels), self._cv2.COLOR_RGB2GRAY)
        scale = _SIDE_PX / max(grey.shape)
        if scale < 1:
            grey = self._cv2.resize(grey, None, fx=scale, fy=scale, interpolation=self._cv2.INTER_AREA)
        windows = max(self._windows(view) for view in (grey, grey[:, ::-1].copy()))
        return windows / (windows + _NEIGHBOURS), self._person(grey)

    def _windows(self, grey: Pixels) -> int:
        """Return how many windows overlap on the surest face; the profile cascade knows one side only."""
        found = [c.detectMultiScale2(grey, scaleFactor=1.1, minNeighbors=_NEIGHBOURS)[1] for c in self._cascades]
        return max((int(count) for counts in found for count in counts), default=0)

    def _person(self, grey: Pixels) -> float:
        if grey.shape[0] < 128 or grey.shape[1] < 64:
            return 0.0
        _, margins = self._people.detectMultiScale(grey, hitThreshold=_MARGIN, winStride=(8, 8), scale=1.05)
        return 1 / (1 + math.exp(_MARGIN - float(np.max(margins)))) if len(margins) else 0.0


class TorchvisionDetector:
    """A detector of torchvision trained on COCO, such as `fasterrcnn_resnet50_fpn_v2`, with weights from a file."""

    def __init__(self, model: str, weights: str) -> None:
        detection = _imported("torchvision", "teachers").models.get_model(model, weights=None, weights_backbone=None)
        detection.load_state_dict(read_state(weights))
        self._model = detection.eval()

    def __call__(self, pixels: Pixels) -> Scores:
        """Return the best score of a person; faces are not looked for."""
        import torch

        with torch.inference_mode():
            found = self._model([torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255])[0]
        return None, max(found["scores"][found["labels"] == _PERSON_IN_COCO].tolist(), default=0.0)


class TransformersDetector:
    """A detector of transformers in a folder, such as RT-DETR: the classes named `person` and `face`."""

    def __init__(self, folder: str) -> None:
        transformers = _imported("transformers", "teachers")
        local = {"local_files_only": True, "trust_remote_code": False}
        self._processor = transformers.AutoImageProcessor.from_pretrained(folder, **local)
        loader = transformers.AutoModelForObjectDetection
        self._model = loader.from_pretrained(folder, use_safetensors=True, **local).eval()
        names = {str(name).lower(): int(number) for number, name in self._model.config.id2label.items()}
        self._classes = [names.get(wanted) for wanted in ("face", "person")]
        if self._classes == [None, None]:
            raise RequestError(f"the detector in '{folder}' knows neither a class 'person' nor 'face'")

    def __call__(self, pixels: Pixels) -> Scores:
        """Return the best scores of the classes that the detector knows."""
        import torch

        with torch.inference_mode():
            answer = self._model(**self._processor(images=pixels, return_tensors="pt"))
        found = self._processor.post_process_object_detection(answer, threshold=0.0)[0]
        face, person = (
            None if number is None else max(found["scores"][found["labels"] == number].tolist(), default=0.0)
            for number in self._classes
        )
        return face, person


def weights_hash(detector: str, weights: str | None) -> str:
    """Return the SHA-256 of all files that decide on a detector's scores. Raises: RequestError for missing ones."""
    if detector == "opencv":
        cv2 = _imported("cv2", "people")
        files = [str(Path(cv2.data.haarcascades, name)) for name in _CASCADES]
    elif weights and Path(weights).is_dir():
        files = [str(path) for path in sorted(Path(weights).glob("*")) if path.suffix in (".json", ".safetensors")]
    else:
        files = [weights or ""]
    if detector != "opencv" and not all(Path(file).is_file() for file in files):
        raise RequestError(
            f"detect.people: the weights '{weights or ''}' of detector {detector} are not there: fetch them once, give "
            "their path in `weights`, and install what runs them with: pip install 'reinforced[teachers]'"
        )
    return hashlib.sha256("".join(hash_file(file) for file in files).encode()).hexdigest()


def _imported(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RequestError(f"detect.people needs {name}: pip install 'reinforced[{extra}]'") from error
