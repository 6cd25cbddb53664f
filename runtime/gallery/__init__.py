"""The gallery: SQLite as the truth, an hnswlib graph as a cache.

folder.py     the files and the writers' lock      schema.py, rows.py, store.py   the truth on disk
table.py      the entries in memory                nearest.py                     exact search
graph.py      hnswlib, container.py its file       speed.py                       which of the two is faster
index.py      what answers queries                 caretaker.py                   the background thread
gallery.py    the public face                      check.py                       reading every byte
reembed.py    another model's embeddings           transfer.py                    salvage and merge
"""

from .check import check_folder
from .gallery import Gallery
from .reembed import Reembedded, reembed
from .transfer import Merged, Salvage, merge, salvage
from .values import CheckReport, Entry, GalleryStats, Matches, NewEntry

__all__ = [
    "CheckReport",
    "Entry",
    "Gallery",
    "GalleryStats",
    "Matches",
    "Merged",
    "NewEntry",
    "Reembedded",
    "Salvage",
    "check_folder",
    "merge",
    "reembed",
    "salvage",
]
