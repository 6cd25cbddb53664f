"""One module a command; `sightline.edge_app.cli` loads each when it is called."""
