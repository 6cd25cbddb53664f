"""A gallery's size and how it is searched, gathered from its parts."""

from .folder import disk_bytes
from .index import SearchIndex
from .schema import SCHEMA_VERSION
from .store import Store
from .values import GalleryStats


def describe(store: Store, index: SearchIndex, model_id: str, labels: int, trouble: str | None) -> GalleryStats:
    """Gather what `Gallery.stats` tells; labels: how many distinct ones, trouble: what was worked around last."""
    graph, speed, thresholds = index.graph, index.speed, index.thresholds
    return GalleryStats(
        path=str(store.folder),
        model_id=model_id,
        dim=index.table.dim if index.table is not None else None,
        schema_version=SCHEMA_VERSION,
        entries=index.live,
        labels=labels,
        crops=store.crops(),
        disk_bytes=disk_bytes(store.folder),
        search="graph" if index.graph_answers else "exact",
        reason=index.describe(),
        graph_entries=len(graph) - graph.deleted if graph is not None else 0,
        graph_deleted=graph.deleted_share if graph is not None else 0.0,
        exact_us=speed.exact_us if speed is not None else None,
        graph_us=speed.graph_us if speed is not None else None,
        measured_recall=speed.recall if speed is not None else None,
        live_recall=index.live_recall,
        threshold=thresholds.similarity if thresholds is not None else None,
        thresholds_of_labels=len(thresholds.of_label) if thresholds is not None else 0,
        negatives=thresholds.negatives if thresholds is not None else 0,
        false_accept_rate=thresholds.false_accept_rate if thresholds is not None else None,
        trouble=trouble,
    )
