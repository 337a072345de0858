"""QoS 1 publishers (paho-mqtt) that keep a ledger of what they sent and what was acknowledged.

    publisher.py PORT LEDGER PUBLISHERS RATE WINDOW TOPIC

Each of PUBLISHERS sends "publisher n" to TOPIC ("{p}" is its number), n from 1, at most RATE a second and at most WINDOW of them
unacknowledged. When its connection ends it connects again and sends what was unacknowledged again, in order, before anything new.
The ledger has one line an event, "KIND publisher n nanoseconds-of-CLOCK_MONOTONIC": s sent for the first time, r sent again, a acknowledged.
The word "stop" on stdin ends the sending; the process ends when everything is acknowledged. It says "connected" once all are.
"""

import os
import sys
import threading
import time

import paho.mqtt.client as mqtt


class Publisher:
    def __init__(self, number, port, ledger, rate, window, topic):
        self.number, self.port, self.ledger = number, port, ledger
        self.every, self.window, self.topic = 1.0 / rate, window, topic.replace("{p}", str(number))
        self.sent = 0
        self.unacknowledged = {}  # mid -> n, in the order of sending
        self.up = threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"publisher-{number}-{os.getpid()}", clean_session=True)
        # The window is kept here, so that what the library holds for itself is never more than that.
        self.client.max_inflight_messages_set(0)
        self.client.on_connect = self.on_connect
        self.client.on_publish = self.on_publish

    def note(self, kind, n):
        os.write(self.ledger, b"%s %d %d %d\n" % (kind, self.number, n, time.monotonic_ns()))

    def on_connect(self, _client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            return
        # The library sends these again now, in this order, before it sends anything new.
        for n in self.unacknowledged.values():
            self.note(b"r", n)
        self.up.set()

    def on_publish(self, _client, _userdata, mid, _reason, _properties):
        self.note(b"a", self.unacknowledged.pop(mid))

    def run(self, stopping):
        connected = False
        due = time.monotonic()
        while not (stopping.is_set() and not self.unacknowledged):
            if not connected:
                connected = self.connect()
                continue
            now = time.monotonic()
            if not self.client.is_connected():
                wait = 0.05
            elif stopping.is_set() or len(self.unacknowledged) >= self.window:
                wait = 0.05
            elif now < due:
                wait = due - now
            else:
                self.publish()
                # Late turns are caught up with, but not those of an outage.
                due = max(due + self.every, now - 0.2)
                wait = 0
            connected = self.client.loop(wait) == mqtt.MQTT_ERR_SUCCESS

    def connect(self):
        try:
            self.client.connect("127.0.0.1", self.port, keepalive=10)
            return True
        except OSError:
            time.sleep(0.05)
            return False

    def publish(self):
        self.sent += 1
        self.note(b"s", self.sent)
        info = self.client.publish(self.topic, b"%d %d" % (self.number, self.sent), qos=1)
        self.unacknowledged[info.mid] = self.sent


def main():
    port, path, publishers, rate, window, topic = sys.argv[1:]
    ledger = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    stopping = threading.Event()
    all_of_them = [Publisher(p, int(port), ledger, float(rate), int(window), topic) for p in range(1, int(publishers) + 1)]
    threads = [threading.Thread(target=p.run, args=(stopping,)) for p in all_of_them]
    for thread in threads:
        thread.start()
    for publisher in all_of_them:
        publisher.up.wait()
    print("connected", flush=True)
    for line in sys.stdin:
        if line.strip() == "stop":
            break
    stopping.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
