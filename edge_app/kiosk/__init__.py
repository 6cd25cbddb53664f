"""The kiosk: a page that shows what a run sees, teaches it and keeps its gallery.

address.py   where it listens                 access.py    who may ask for what
feed.py      the newest moment of the loop    words.py     that moment in the page's words
pictures.py  it as JPEG                       shelf.py     the gallery as the page browses it
app.py       the web application              server.py    the thread that serves it
kiosk.py     what the loop talks to           assets/      the page itself

The loop leaves its newest moment here and goes on; everything else happens on the server's own thread.
"""

from .address import Address, parse_address
from .kiosk import Kiosk, open_kiosk

__all__ = ["Address", "Kiosk", "open_kiosk", "parse_address"]
