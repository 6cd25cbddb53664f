"""The gallery: SQLite as the truth, an hnswlib graph as a cache.

folder.py     the files and the writers' lock      schema.py, rows.py, store.py   the truth on disk
table.py      the entries in memory                nearest.py                     exact search
graph.py      hnswlib, container.py its file       speed.py                       which of the two is faster
index.py      what answers queries                 caretaker.py                   the background thread
gallery.py    the public face                      check.py                       reading every byte
"""

from .check import check_folder
from .gallery import Gallery
from .values import CheckReport, Entry, GalleryStats, Matches, NewEntry

__all__ = ["CheckReport", "Entry", "Gallery", "GalleryStats", "Matches", "NewEntry", "check_folder"]
