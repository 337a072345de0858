"""The broker's behaviour as paho-mqtt sees it. Usage: broker_cases.py PORT. Prints one line a case; fails by an exception."""

import queue
import socket
import sys
import time

import paho.mqtt.client as mqtt

PORT = int(sys.argv[1])
WITHIN = 10


class Client:
    """A client whose events are waited for, each with a deadline."""

    def __init__(self, client_id, clean=True, keepalive=60, will=None, connect=True):
        self.messages = queue.Queue()
        self.ended = queue.Queue()
        self.acks = queue.Queue()
        self.c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=clean, reconnect_on_failure=False)
        self.c.on_message = lambda c, u, m: self.messages.put(m)
        self.c.on_connect = lambda c, u, flags, reason, p: self.acks.put(("connack", flags.session_present, reason.value))
        self.c.on_subscribe = lambda c, u, mid, codes, p: self.acks.put(("suback", [code.value for code in codes]))
        self.c.on_unsubscribe = lambda c, u, mid, codes, p: self.acks.put(("unsuback",))
        self.c.on_disconnect = lambda c, u, flags, reason, p: self.ended.put(reason)
        if will:
            self.c.will_set(*will)
        self.keepalive = keepalive
        if connect:
            self.connect()

    def connect(self):
        self.c.connect("127.0.0.1", PORT, keepalive=self.keepalive)
        self.c.loop_start()
        kind, self.present, code = self.acks.get(timeout=WITHIN)
        assert (kind, code) == ("connack", 0), (kind, code)
        return self

    def subscribe(self, *filters):
        self.c.subscribe(list(filters))
        return self.acks.get(timeout=WITHIN)[1]

    def unsubscribe(self, topic):
        self.c.unsubscribe(topic)
        assert self.acks.get(timeout=WITHIN) == ("unsuback",)

    def publish(self, topic, body, qos=1, retain=False):
        self.c.publish(topic, body, qos, retain).wait_for_publish(WITHIN)

    def get(self):
        m = self.messages.get(timeout=WITHIN)
        return (m.topic, m.payload.decode(), m.qos, m.retain)

    def nothing(self, marker):
        """No message before one that is published now."""
        self.publish(marker, "marker")
        got = self.get()
        assert got[0] == marker, got

    def drop(self):
        """The connection breaks without DISCONNECT."""
        sock = self.c.socket()
        self.c.loop_stop()
        sock.shutdown(socket.SHUT_RDWR)
        sock.close()

    def close(self):
        self.c.disconnect()
        self.c.loop_stop()


def case_wildcards():
    sub, pub = Client("w-sub"), Client("w-pub")
    assert sub.subscribe(("a/+/c", 1), ("b/#", 0), ("+/x", 1), ("marker", 1)) == [1, 0, 1, 1]
    for topic in ["a/b/c", "a/b", "b", "b/1/2", "$y/x", "y/x", "a//c"]:
        pub.publish(topic, topic)
    pub.publish("marker", "")
    got = []
    while not got or got[-1][0] != "marker":
        got.append(sub.get())
    assert [g[0] for g in got] == ["a/b/c", "b", "b/1/2", "y/x", "a//c", "marker"], got
    assert [g[2] for g in got] == [1, 0, 0, 1, 1, 1], got
    sub.close(), pub.close()


def case_overlapping_subscriptions_deliver_once_at_the_highest_qos():
    sub, pub = Client("o-sub"), Client("o-pub")
    sub.subscribe(("o/#", 0), ("o/+", 1), ("o/a", 0))
    pub.publish("o/a", "1")
    pub.publish("o/b", "2")
    assert sub.get() == ("o/a", "1", 1, False)
    assert sub.get() == ("o/b", "2", 1, False)
    sub.close(), pub.close()


def case_qos_2_is_granted_and_kept():
    sub, pub = Client("q2"), Client("q2-pub")
    assert sub.subscribe(("q2/#", 2)) == [2]
    pub.publish("q2/a", "1", qos=2)
    assert sub.get() == ("q2/a", "1", 2, False)
    sub.nothing("q2/m")
    sub.close(), pub.close()


def case_unsubscribe_ends_delivery():
    sub = Client("u")
    sub.subscribe(("u/a", 1), ("u/m", 1))
    sub.unsubscribe("u/a")
    sub.publish("u/a", "1")
    sub.nothing("u/m")
    sub.close()


def case_live_subscribers_get_no_retain_flag_and_new_ones_do():
    a, pub = Client("r-a"), Client("r-pub")
    a.subscribe(("r/#", 1))
    pub.publish("r/x", "1", 1, True)
    assert a.get() == ("r/x", "1", 1, False)
    b = Client("r-b")
    b.subscribe(("r/+", 0))
    assert b.get() == ("r/x", "1", 0, True)
    # Subscribing again sends it again [MQTT-3.8.4-3].
    b.subscribe(("r/+", 1))
    assert b.get() == ("r/x", "1", 1, True)
    pub.publish("r/x", "", 1, True)
    for client in (a, b):
        assert client.get() == ("r/x", "", 1, False)
    for client in (a, b, pub):
        client.close()


def case_persistent_session_keeps_subscription_and_queue():
    sub = Client("p-sub", clean=False)
    assert not sub.present
    sub.subscribe(("p/#", 1))
    sub.close()
    pub = Client("p-pub")
    for i in range(50):
        pub.publish("p/x", str(i), i % 2)
    again = Client("p-sub", clean=False)
    assert again.present
    assert [again.get() for _ in range(25)] == [("p/x", str(i), 1, False) for i in range(1, 50, 2)]
    again.close()
    fresh = Client("p-sub", clean=True)
    assert not fresh.present
    fresh.subscribe(("p/m", 1))
    fresh.publish("p/x", "1")
    fresh.nothing("p/m")
    fresh.close()
    assert not Client("p-sub", clean=False).present
    pub.close()


def case_will_on_a_broken_connection_and_none_on_disconnect():
    sub = Client("w2")
    sub.subscribe(("will/#", 1))
    Client("dying", will=("will/a", "gone", 1, True)).drop()
    assert sub.get() == ("will/a", "gone", 1, False)
    Client("leaving", will=("will/b", "gone", 1, False)).close()
    sub.nothing("will/m")
    late = Client("late")
    late.subscribe(("will/a", 1))
    assert late.get() == ("will/a", "gone", 1, True)
    late.publish("will/a", "", 1, True)
    sub.close(), late.close()


def case_take_over_ends_the_first_and_publishes_its_will():
    sub = Client("t-watch")
    sub.subscribe(("t/#", 1))
    first = Client("same", will=("t/will", "taken", 1, False))
    second = Client("same")
    first.ended.get(timeout=WITHIN)
    assert sub.get() == ("t/will", "taken", 1, False)
    second.subscribe(("t/m", 1))
    second.nothing("t/m")
    for client in (first, second, sub):
        client.close()


def case_keep_alive_ends_a_silent_client_with_its_will():
    sub = Client("k-watch")
    sub.subscribe(("k/#", 1))
    started = time.monotonic()
    silent = Client("silent", keepalive=1, will=("k/will", "silent", 1, False))
    silent.c.loop_stop()  # pings no more
    assert sub.get() == ("k/will", "silent", 1, False)
    assert 1.4 <= time.monotonic() - started <= 4, time.monotonic() - started
    sub.close()


def case_keep_alive_is_kept_by_pings():
    sub = Client("k-pings", keepalive=1)
    sub.subscribe(("kp/m", 1))
    time.sleep(3)  # what is shown is that this time passes without an end
    sub.nothing("kp/m")
    assert sub.ended.empty()
    sub.close()


def case_many_messages_arrive_in_order():
    sub, pub = Client("m-sub"), Client("m-pub")
    sub.subscribe(("m/#", 1))
    infos = [pub.c.publish("m/%d" % (i % 7), str(i), 1) for i in range(3000)]
    infos[-1].wait_for_publish(WITHIN)
    assert [int(sub.get()[1]) for _ in range(3000)] == list(range(3000))
    sub.close(), pub.close()


def case_large_bodies_pass_whole():
    sub, pub = Client("l-sub"), Client("l-pub")
    sub.subscribe(("l", 1))
    for size in (0, 1, 1023, 1024, 1025, 70_000, 1_000_000):
        body = "%d" % (size % 10) * size
        pub.publish("l", body)
        assert sub.get()[1] == body, size
    sub.close(), pub.close()


def case_an_empty_client_id_is_given_one():
    a, b = Client(""), Client("")
    a.subscribe(("e/m", 1))
    b.subscribe(("e/m", 1))
    a.nothing("e/m")
    assert b.get()[0] == "e/m" and a.ended.empty() and b.ended.empty()
    a.close(), b.close()


for name, case in sorted(globals().items()):
    if name.startswith("case_"):
        case()
        print(name[5:].replace("_", " "), flush=True)
