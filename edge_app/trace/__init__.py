"""A bounded record of what a run saw and decided, and the same decisions once more from it.

shot.py     what is kept of a frame            store.py    the ring: one SQLite file and the bundles it needs
tracer.py   the run's side, on its own thread  replay.py   the answers again, and the first difference

Kept is what reached the model, to the byte, and the gallery entries that came near it: that and the bundle decide.
"""
