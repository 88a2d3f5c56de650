"""Where each feature of a vector stands in a picture: like features side by side, found once on training data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reinforced.errors import RequestError
from reinforced.images import Pixels
from reinforced.storage import Storage

Floats = npt.NDArray[np.float64]
MAX_SAMPLES = 20_000


@dataclass(frozen=True)
class Layout:
    """Places of features, float64 (features, 2) as x and y in [0, 1], and the range of each in the training data."""

    places: Floats
    low: Floats
    high: Floats

    def pictures(self, vectors: npt.NDArray[np.floating], size_px: int) -> Pixels:
        """Draw vectors (n, features) as uint8 (n, size_px, size_px): 0 at a feature's least value, 255 at its largest.

        Features that fall on one pixel are averaged; pixels without a feature are 0.
        """
        if vectors.shape[1:] != self.low.shape:
            raise ValueError(f"a vector of {vectors.shape[1]} features; the layout has {len(self.low)}")
        x, y = np.minimum((self.places * size_px).astype(np.int64), size_px - 1).T
        values = np.clip((vectors - self.low) / np.maximum(self.high - self.low, 1e-12), 0, 1)
        sums = np.zeros((len(vectors), size_px * size_px))
        np.add.at(sums.T, y * size_px + x, values.T)
        counts = np.maximum(1, np.bincount(y * size_px + x, minlength=size_px * size_px))
        drawn: Pixels = np.floor(255 * sums / counts + 0.5).astype(np.uint8)
        return drawn.reshape(-1, size_px, size_px)

    def save(self, path: str) -> None:
        """Write the layout as Parquet, a row a feature, to a local path or fsspec URL."""
        values = (*self.places.T, self.low, self.high)
        storage, name = _file(path)
        storage.write_table(name, pa.table(dict(zip(("x", "y", "low", "high"), values, strict=True))))


def read_layout(path: str) -> Layout:
    """Read a layout. Raises: RequestError where there is none."""
    storage, name = _file(path)
    try:
        table = storage.read_table(name)
        x, y, low, high = (table.column(column).to_numpy() for column in ("x", "y", "low", "high"))
    except (FileNotFoundError, KeyError, pa.ArrowInvalid) as error:
        raise RequestError(f"'{path}' is no layout; make one with reinforced.pixel_layout.fit_layout") from error
    return Layout(np.stack([x, y], axis=1), low, high)


def fit_layout(vectors: npt.NDArray[np.floating], seed: int = 0) -> Layout:
    """Place features by t-SNE over them, not over the samples, so that those that vary alike stand side by side.

    vectors: (samples, features), of the training split alone, or test data decides the pictures; of more than 20,000,
    evenly spaced ones are taken. Features are standardized first (after Sharma et al. 2019, *DeepInsight*).
    The result may differ between versions of scikit-learn and kinds of processor: fit once, and share the file.
    """
    from sklearn.manifold import TSNE

    samples, features = vectors.shape
    if features < 3 or samples < 2:
        raise RequestError(f"a layout needs 2 samples of 3 features or more, not {samples} of {features}")
    own = vectors[:: -(-samples // MAX_SAMPLES)].astype(np.float64)
    low, high = own.min(axis=0), own.max(axis=0)
    standard = ((own - own.mean(axis=0)) / np.maximum(own.std(axis=0), 1e-12)).T
    perplexity = min(30.0, (features - 1) / 3)
    found = TSNE(perplexity=perplexity, init="random", random_state=seed, n_jobs=1).fit_transform(standard)
    places = found.astype(np.float64) - found.min(axis=0)
    return Layout(places / np.maximum(places.max(axis=0), 1e-12), low, high)


def _file(path: str) -> tuple[Storage, str]:
    folder, _, name = path.rpartition("/")
    return Storage(folder or "."), name
