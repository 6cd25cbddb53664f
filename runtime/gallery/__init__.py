"""The gallery: SQLite as the truth, an hnswlib graph as a cache.

folder.py     the files and the writers' lock      schema.py, rows.py, store.py   the truth on disk
table.py      the entries in memory                nearest.py                     exact search
graph.py      hnswlib, container.py its file       speed.py                       which of the two is faster
index.py      what answers queries                 follow.py                      what brings it up to the commits
caretaker.py  the background thread                check.py                       reading every byte
gallery.py    the public face                    catalogue.py, qdrant.py          the same of an engine's collection
views.py      selections, duplicates, clusters    exchange.py                    as CSV and pictures, and back
calibration.py  when a match counts as known, calibration_rows.py where that lies on the disk
reembed.py    another model's embeddings           transfer.py                    salvage and merge
"""

from .calibration import Thresholds
from .catalogue import Catalogue, open_catalogue
from .check import check_folder
from .exchange import Imported, export_gallery, import_gallery
from .folder import gallery_folder
from .gallery import Gallery
from .reembed import Reembedded, reembed
from .transfer import Merged, Salvage, merge, salvage
from .values import CatalogueStats, CheckReport, Entry, GalleryStats, Matches, NewEntry
from .views import Group, Metric, Snapshot, density_clusters, mean_clusters, near_duplicates

__all__ = [
    "Catalogue",
    "CatalogueStats",
    "CheckReport",
    "Entry",
    "Gallery",
    "GalleryStats",
    "Group",
    "Imported",
    "Matches",
    "Merged",
    "Metric",
    "NewEntry",
    "Reembedded",
    "Salvage",
    "Snapshot",
    "Thresholds",
    "check_folder",
    "density_clusters",
    "export_gallery",
    "gallery_folder",
    "import_gallery",
    "mean_clusters",
    "merge",
    "near_duplicates",
    "open_catalogue",
    "reembed",
    "salvage",
]
