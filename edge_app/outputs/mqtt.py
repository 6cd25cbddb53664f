"""Events by MQTT 3.1.1, through Eclipse paho (`pip install 'sightline[outputs]'`).

TOPIC/events   each event, at least once (QoS 1)
TOPIC/status   "online" or "offline", retained; the broker says "offline" when this device vanishes
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sightline.runtime.errors import InputError

from .address import Address, parse_address
from .event import Event
from .outbox import DeliveryFailed

if TYPE_CHECKING:
    from paho.mqtt.client import Client

EXTRA_HINT = "it needs the package {}: pip install 'sightline[outputs]'"
TIMEOUT_S = 5.0
_KEEPALIVE_S = 30
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_EXAMPLE = "mqtt://user:password@host:1883/topic"


class Mqtt:
    """Publishes events to a broker; a `Delivery`.

    Args:
        url: mqtt:// or mqtts://, the path is the topic.

    Raises:
        InputError: It is no such address, or paho is not installed.
    """

    def __init__(self, url: str) -> None:
        self._address = parse_address(url, "--mqtt", tuple(_PORTS), _EXAMPLE)
        self._topic = _topic(self._address)
        self.name = f"mqtt {self._address.name}"
        try:
            import paho.mqtt.client  # noqa: F401
        except ModuleNotFoundError as error:
            raise InputError(f"--mqtt: {EXTRA_HINT.format('paho-mqtt')}") from error
        self._client: Client | None = None

    def deliver(self, items: Sequence[Event]) -> None:
        """Publish events and wait until the broker has them.

        Raises:
            DeliveryFailed: The broker cannot be reached, refuses, or does not confirm in time.
        """
        client = self._client = self._client or self._connect()
        try:
            sent = [client.publish(f"{self._topic}/events", event.encode(), qos=1) for event in items]
            until_s = time.monotonic() + TIMEOUT_S
            for message in sent:
                message.wait_for_publish(max(0.0, until_s - time.monotonic()))
            if not all(message.is_published() for message in sent):
                raise DeliveryFailed(f"the broker confirms nothing for {TIMEOUT_S:.0f} s")
        except (OSError, RuntimeError, ValueError) as error:
            self._drop()
            raise DeliveryFailed("the connection was lost") from error
        except DeliveryFailed:
            self._drop()
            raise

    def close(self) -> None:
        """Say goodbye and disconnect."""
        if self._client is not None:
            goodbye = self._client.publish(f"{self._topic}/status", b"offline", qos=1, retain=True)
            # Where the broker is away its last will says the same.
            with suppress(RuntimeError, ValueError):
                goodbye.wait_for_publish(0.5)
            self._drop()

    def _drop(self) -> None:
        # paho would send by itself what it still holds: the outbox does that.
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _connect(self) -> "Client":
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        address = self._address
        # paho connects again by itself: without an event to deliver nobody else would, and the status would stay
        # what the last will made it.
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        client.connect_timeout = TIMEOUT_S
        status = f"{self._topic}/status"
        client.will_set(status, b"offline", qos=1, retain=True)
        if address.user is not None:
            client.username_pw_set(address.user, address.password)
        if address.scheme == "mqtts":
            client.tls_set()
        answer = _Answer(client, lambda: client.publish(status, b"online", qos=1, retain=True))
        try:
            client.connect(address.host, address.port or _PORTS[address.scheme], _KEEPALIVE_S)
        except (OSError, ValueError) as error:
            raise DeliveryFailed(f"cannot be reached ({_why(error)})") from error
        client.loop_start()
        if (refusal := answer.refusal()) is not None:
            client.disconnect()
            client.loop_stop()
            raise DeliveryFailed(refusal)
        return client


class _Answer:
    """The broker's answer to a connection; where it welcomes us, each time, `welcomed` is called."""

    def __init__(self, client: "Client", welcomed: Callable[[], object]) -> None:
        self._come = threading.Event()
        self._code: Any = None
        self._welcomed = welcomed
        client.on_connect = self._connected

    def _connected(self, client: "Client", userdata: Any, flags: Any, code: Any, properties: Any) -> None:
        self._code = code
        if not code.is_failure:
            self._welcomed()
        self._come.set()

    def refusal(self) -> str | None:
        """Why it refuses, waiting for its answer; None where it welcomes us."""
        if not self._come.wait(TIMEOUT_S):
            return f"no answer for {TIMEOUT_S:.0f} s"
        if self._code is not None and self._code.is_failure:
            return f"the broker refuses ({str(self._code).lower()}): check user and password in --mqtt"
        return None


def _topic(address: Address) -> str:
    topic = address.path.strip("/")
    if not topic or any(letter in topic for letter in "#+?\x00"):
        raise InputError(f"--mqtt needs a topic without '#', '+' and '?' after the host, as {_EXAMPLE}")
    return topic


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer for {TIMEOUT_S:.0f} s"
    return error.strerror.lower() if isinstance(error, OSError) and error.strerror else "no such host"
