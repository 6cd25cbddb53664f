"""Running as a systemd service: its unit, its configuration, and the words between the two."""
