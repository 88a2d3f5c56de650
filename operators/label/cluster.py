"""Pseudo-labels by clustering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field

from reinforced import embeddings
from reinforced.embedding_step import EmbeddingStep, Labels


class LabelCluster(EmbeddingStep):
    """Adds the number of each row's k-means cluster over its embedding, as a label made without anyone's help.

    Spherical k-means, the same clusters for the same rows and seed. DeepCluster (Caron et al. 2018) and DataComp's
    image-based filter start from such clusters.
    """

    layer: ClassVar = "clusters"
    writes: ClassVar = ("cluster", "cluster_cosine")
    needs_labels: ClassVar = False

    clusters: Annotated[int, Field(ge=1, description="Number of clusters.")]
    seed: Annotated[int, Field(ge=0, description="Seed of k-means.")] = 0

    def check(self, available: pa.Schema) -> None:
        """Refuse a column that is no list of floats, and an installation without faiss."""
        super().check(available)
        embeddings.need_faiss()

    def found(self, vectors: embeddings.Vectors, labels: Labels) -> Mapping[str, Any]:
        """Cluster the embeddings."""
        cluster, cosine = embeddings.k_means(vectors, self.clusters, self.seed)
        assert len(cluster) == len(labels)
        return {"cluster": cluster, "cluster_cosine": cosine}
