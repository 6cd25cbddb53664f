"""A shop that is drawn, a camera that walks through it, and the whole path over both: `sightline demo`."""
