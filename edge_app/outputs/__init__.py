"""Where decisions go: JSON lines, an event log, metrics, MQTT, webhooks and commands.

The loop never waits for any of them. `Announcer` turns what happens into `Event`s, and each output takes them
from a bounded `Outbox` of its own on a thread of its own, with retries; what does not fit is dropped, oldest
first, and counted.
"""
