"""SCRAM-SHA-256 by AUTH packets, with scramp as the client. Usage: scram_auth.py PORT. Prints one line a case; fails by an exception.

The site knows anna (password "pencil: ä", with keys) and bert (password "two", without keys).
"""

import base64
import socket
import struct
import sys

from scramp import ScramClient

PORT = int(sys.argv[1])
METHOD = "SCRAM-SHA-256"
CONNACK, DISCONNECT, AUTH, PINGRESP = 2, 14, 15, 13


def text(s):
    b = s if isinstance(s, bytes) else s.encode()
    return struct.pack("!H", len(b)) + b


def packet(first, *parts):
    body = b"".join(parts)
    length, out = len(body), bytearray([first])
    while True:
        length, digit = divmod(length, 128)
        out.append(digit | (128 if length else 0))
        if not length:
            return bytes(out) + body


def properties(method, data):
    block = b"" if method is None else b"\x15" + text(method)
    if data is not None:
        block += b"\x16" + text(data)
    assert len(block) < 16384
    size = bytes([len(block)]) if len(block) < 128 else bytes([len(block) % 128 | 128, len(block) // 128])
    return size + block


class Client:
    def __init__(self):
        self.s = socket.create_connection(("127.0.0.1", PORT), timeout=20)

    def connect(self, data, method=METHOD, user=None, client_id=""):
        flags = 2 | (0x80 if user else 0)
        rest = text(user) if user else b""
        self.s.sendall(packet(0x10, text("MQTT"), bytes([5, flags, 0, 60]), properties(method, data), text(client_id), rest))

    def auth(self, reason, data, method=METHOD):
        self.s.sendall(packet(0xF0, bytes([reason]), properties(method, data)))

    def exactly(self, n):
        got = b""
        while len(got) < n:
            part = self.s.recv(n - len(got))
            if not part:
                raise EOFError
            got += part
        return got

    def read(self):
        """Kind, reason, authentication data."""
        first = self.exactly(1)[0]
        length, shift = 0, 0
        while True:
            digit = self.exactly(1)[0]
            length |= (digit & 127) << shift
            shift += 7
            if not digit & 128:
                break
        body = self.exactly(length)
        kind = first >> 4
        if kind == PINGRESP:
            return kind, None, None
        at = 1 if kind == CONNACK else 0
        return kind, body[at], self.data(body[at + 1:])

    def data(self, rest):
        """The authentication data of what follows a reason code."""
        if not rest:
            return None
        length, at = rest[0], 1
        if length & 128:
            length, at = length & 127 | rest[1] << 7, 2
        block, i = rest[at:at + length], 0
        found = None
        while i < len(block):
            kind = block[i]
            i += 1
            if kind in (0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F):
                n = struct.unpack("!H", block[i:i + 2])[0]
                if kind == 0x16:
                    found = block[i + 2:i + 2 + n]
                i += 2 + n
            else:
                i += {0x11: 4, 0x21: 2, 0x22: 2, 0x27: 4, 0x13: 2}.get(kind, 1)
        return found

    def closed(self):
        try:
            while self.s.recv(4096):
                pass
            return True
        except ConnectionResetError:
            return True

    def ping(self):
        self.s.sendall(b"\xc0\x00")
        assert self.read()[0] == PINGRESP


def exchange(client, begin, end, name="anna", password="pencil: ä", change=lambda message: message):
    """One exchange: `begin` sends the first message, `end` is the packet that ends it well. Returns the last answer."""
    scram = ScramClient([METHOD], name, password)
    begin(scram.get_client_first().encode())
    kind, reason, data = client.read()
    if (kind, reason) != (AUTH, 0x18):
        return kind, reason
    scram.set_server_first(data.decode())
    client.auth(0x18, change(scram.get_client_final()).encode())
    kind, reason, data = client.read()
    if (kind, reason) == (end, 0):
        # Raises if the server does not know the keys.
        scram.set_server_final(data.decode())
    return kind, reason


def log_in(name="anna", password="pencil: ä", change=lambda message: message, user=None):
    client = Client()
    return client, exchange(client, lambda first: client.connect(first, user=user), CONNACK, name, password, change)


def flipped(message):
    """Another proof."""
    head, proof = message.rsplit("p=", 1)
    raw = bytearray(base64.b64decode(proof))
    raw[0] ^= 1
    return head + "p=" + base64.b64encode(raw).decode()


def main():
    client, got = log_in()
    assert got == (CONNACK, 0), got
    client.ping()
    print("a client proves who it is, and so does the server")

    _, got = log_in(user="anna")
    assert got == (CONNACK, 0), got
    client, got = log_in(user="bert")
    assert got == (CONNACK, 0x87) and client.closed(), got
    print("CONNECT may name the same user and no other")

    for name, password, change, why in [
        ("anna", "pencil", None, "a wrong password"),
        ("anna", "pencil: ä", flipped, "a wrong proof"),
        ("anna", "pencil: ä", lambda m: m.replace(",r=", ",r=x", 1), "a tampered nonce"),
        ("anna", "pencil: ä", lambda m: m.replace(",p=", "x,p=", 1), "a longer nonce"),
        ("anna", "pencil: ä", lambda m: m.replace("c=biws", "c=eSws", 1), "another channel binding"),
        ("anna", "pencil: ä", lambda m: m.rsplit(",p=", 1)[0], "no proof"),
        ("anna", "pencil: ä", lambda m: "", "nothing"),
        ("carl", "pencil: ä", None, "an unknown user"),
        ("bert", "two", None, "a user without keys"),
    ]:
        client, got = log_in(name, password, change or (lambda m: m))
        assert got == (CONNACK, 0x87) and client.closed(), (why, got)
        print(f"{why} is refused")

    salts = set()
    for name in ("carl", "carl", "dora"):
        client = Client()
        client.connect(ScramClient([METHOD], name, "x").get_client_first().encode())
        kind, reason, data = client.read()
        assert (kind, reason) == (AUTH, 0x18), name
        fields = dict(field.split("=", 1) for field in data.decode().split(","))
        assert fields["i"] == "4096" and len(base64.b64decode(fields["s"])) == 16, fields
        salts.add(fields["s"])
    assert len(salts) == 2
    print("an unknown user is asked like a known one, and always with the same salt")

    for method in ("SCRAM-SHA-1", "PLAIN", "scram-sha-256", ""):
        client = Client()
        client.connect(b"n,,n=anna,r=abc", method=method)
        assert client.read()[:2] == (CONNACK, 0x8C) and client.closed(), method
    print("another method is refused")

    client = Client()
    client.connect(b"n,,n=anna,r=abc")
    client.read()
    client.auth(0x18, b"c=biws,r=abc,p=AAAA", method="PLAIN")
    assert client.read()[:2] == (CONNACK, 0x82) and client.closed()
    print("the method stays the same for as long as the connection")

    for first in (b"p=tls-unique,,n=anna,r=abc", b"n,a=bert,n=anna,r=abc", b"", b"\xff", b"n,,n=anna", b"n,,m=x,n=anna,r=abc"):
        client = Client()
        client.connect(first)
        assert client.read()[:2] == (CONNACK, 0x87) and client.closed(), first
    print("what is not offered, or no message, is refused")

    client = Client()
    client.connect(None)
    kind, reason, data = client.read()
    assert (kind, reason, data) == (AUTH, 0x18, b""), (kind, reason, data)
    got = exchange(client, lambda first: client.auth(0x18, first), CONNACK)
    assert got == (CONNACK, 0), got
    print("a client that says nothing with CONNECT is asked to begin")

    client, got = log_in()
    assert got == (CONNACK, 0)
    for _ in range(3):
        got = exchange(client, lambda first: client.auth(0x19, first), AUTH)
        assert got == (AUTH, 0), got
        client.ping()
    print("a client proves it again")

    for why, arguments in (("as another user", ("bert2", "two")), ("with a wrong password", ("anna", "x"))):
        client, got = log_in()
        assert got == (CONNACK, 0)
        got = exchange(client, lambda first: client.auth(0x19, first), AUTH, *arguments)
        assert got == (DISCONNECT, 0x87) and client.closed(), (why, got)
        print(f"{why} it is disconnected")


main()
