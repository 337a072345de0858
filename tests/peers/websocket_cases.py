"""The broker over WebSocket as paho-mqtt sees it. Usage: websocket_cases.py PORT [CA]. Prints one line a case; fails by an exception."""

import queue
import sys

import paho.mqtt.client as mqtt

PORT = int(sys.argv[1])
CA = sys.argv[2] if len(sys.argv) > 2 else None
WITHIN = 10


def client(path="/mqtt", origin=None, version=mqtt.MQTTv5, keepalive=60):
    """Connected, or None if the WebSocket or the broker refuses. paho says an Origin of its own, which is taken out."""
    events = queue.Queue()
    c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, transport="websockets", protocol=version, reconnect_on_failure=False)

    def headers(given):
        given.pop("Origin")
        return {**given, **({"Origin": origin} if origin else {})}

    c.ws_set_options(path=path, headers=headers)
    if CA:
        c.tls_set(ca_certs=CA)
    c.messages = queue.Queue()
    c.on_connect = lambda c, u, flags, reason, p: events.put(reason.value)
    c.on_subscribe = lambda c, u, mid, codes, p: events.put([code.value for code in codes])
    c.on_message = lambda c, u, m: c.messages.put((m.topic, m.payload))
    try:
        c.connect("localhost", PORT, keepalive=keepalive)
    except (mqtt.WebsocketConnectionError, ConnectionError):
        return None
    c.loop_start()
    assert events.get(timeout=WITHIN) == 0
    c.events = events
    return c


def end(*clients):
    for c in clients:
        c.disconnect()
        c.loop_stop()


def messages_of_all_sizes():
    a, b = client(), client(version=mqtt.MQTTv311)
    b.subscribe("size/#", qos=1)
    assert b.events.get(timeout=WITHIN) == [1]
    sizes = [0, 1, 100, 125, 126, 127, 1000, 65535, 65536, 70000, 500000]
    for size in sizes:
        a.publish(f"size/{size}", b"x" * size, qos=1).wait_for_publish(WITHIN)
    for size in sizes:
        topic, payload = b.messages.get(timeout=WITHIN)
        assert (topic, payload) == (f"size/{size}", b"x" * size), (topic, len(payload))
    end(a, b)


def many_small_messages_in_order():
    a = client()
    a.subscribe("n", qos=1)
    assert a.events.get(timeout=WITHIN) == [1]
    for n in range(2000):
        a.publish("n", str(n), qos=1)
    for n in range(2000):
        assert a.messages.get(timeout=WITHIN) == ("n", str(n).encode()), n
    end(a)


def a_listed_page_may_connect():
    end(client(origin="https://panel.example"))


def a_page_that_is_not_listed_may_not():
    assert client(origin="https://elsewhere.example") is None


def there_is_one_path():
    assert client(path="/") is None
    end(client(path="/mqtt"))


for case in [
    messages_of_all_sizes,
    many_small_messages_in_order,
    a_listed_page_may_connect,
    a_page_that_is_not_listed_may_not,
    there_is_one_path,
]:
    case()
    print(case.__name__, flush=True)
