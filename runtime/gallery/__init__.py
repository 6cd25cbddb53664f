"""The gallery: SQLite as the truth, an hnswlib graph as a cache."""
