"""The device: command line, camera loop, teaching by showing. Never imports torch."""
