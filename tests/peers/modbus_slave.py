"""pymodbus as slaves on pty buses, with a relay before each that can spoil the line.

First line of standard input, JSON: {"buses": 4, "units": [1, 2], "faults": true, "seed": 7, "latest_ms": 150}
with values a function of (unit, table, address), or instead of "units" the values themselves:
{"buses": 1, "values": [{"unit": 1, "table": 3, "address": 0, "type": "f32", "order": "CDAB", "value": "230.1"}]}
Answers with one line, JSON: the ports. At the end of its input it prints what it did to the line, and ends.
"""

import asyncio
import json
import os
import random
import struct
import sys
import time
import tty

from pymodbus import FramerType
from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.constants import ExcCodes
from pymodbus.datastore import ModbusServerContext
from pymodbus.datastore.context import ModbusBaseDeviceContext
from pymodbus.framer.rtu import FramerRTU
from pymodbus.server import ModbusSerialServer

# A reply is late when it comes after this: the master's timeout.
TIMEOUT = 0.020
REQUEST_LENGTH = 8


def word(unit, table, address):
    """What stands in a register, or in its lowest bit, the coil."""
    x = (unit * 7919 + table * 104729 + address * 2654435761) & 0xFFFFFFFF
    x ^= x >> 15
    x = x * 0x2C1B3C6D & 0xFFFFFFFF
    return (x ^ x >> 12) & 0xFFFF


class Computed(ModbusBaseDeviceContext):
    """A device whose values are a function of their place."""

    def __init__(self, unit):
        self.unit = unit

    def getValues(self, func_code, address, count=1):
        words = [word(self.unit, func_code, address + i) for i in range(count)]
        return [bool(w & 1) for w in words] if func_code in (1, 2) else words


class Given(ModbusBaseDeviceContext):
    """A device with these registers and coils; all others are an illegal address."""

    def __init__(self, values):
        self.values = values

    def getValues(self, func_code, address, count=1):
        values = [self.values.get((func_code, address + i)) for i in range(count)]
        return ExcCodes.ILLEGAL_ADDRESS if None in values else values


FORMATS = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
TYPES = ModbusClientMixin.DATATYPE
PYMODBUS = {"u16": TYPES.UINT16, "i16": TYPES.INT16, "u32": TYPES.UINT32, "i32": TYPES.INT32, "u64": TYPES.UINT64,
            "i64": TYPES.INT64, "f32": TYPES.FLOAT32, "f64": TYPES.FLOAT64}


def registers(kind, order, text):
    """The words of a value, by pymodbus' encoder where it knows the order, and by struct where it does not."""
    if kind == "bool":
        return [int(text)]
    value = float(text) if kind in ("f32", "f64") else int(text)
    if order in ("ABCD", "CDAB"):
        return ModbusClientMixin.convert_to_registers(value, PYMODBUS[kind], word_order="big" if order == "ABCD" else "little")
    if order == "DCBA":
        packed = struct.pack("<" + FORMATS[kind], value)
    else:
        big = struct.pack(">" + FORMATS[kind], value)
        packed = bytes(big[i ^ 1] for i in range(len(big)))
    return list(struct.unpack(f">{len(packed) // 2}H", packed))


def devices(config):
    if "units" in config:
        return {unit: Computed(unit) for unit in config["units"]}
    stores = {}
    for v in config["values"]:
        store = stores.setdefault(v["unit"], {})
        for i, w in enumerate(registers(v["type"], v["order"], v["value"])):
            store[v["table"], v["address"] + i] = bool(w) if v["table"] in (1, 2) else w
    return {unit: Given(store) for unit, store in stores.items()}


def framed(body):
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


def whole(data):
    """Length of the reply that data begins with, or 0 while it is incomplete."""
    if len(data) < 5:
        return 0
    length = 5 if data[1] & 0x80 else 5 + data[2]
    return length if len(data) >= length else 0


class Relay:
    """Passes requests on to pymodbus and spoils its replies."""

    def __init__(self, config, number):
        self.faults = config.get("faults", False)
        self.latest = config.get("latest_ms", 150) / 1000
        self.random = random.Random(f"{config.get('seed', 0)}.{number}")
        self.outer, self.port = pty()
        self.inner, self.inner_port = pty()
        self.requests = []
        self.heard = b""
        self.replied = b""
        self.done = {"replies": 0, "late": 0, "dropped": 0, "noise": 0, "cut": 0, "damaged": 0, "unit": 0, "function": 0}

    async def start(self, config):
        self.server = ModbusSerialServer(ModbusServerContext(devices=devices(config), single=False), framer=FramerType.RTU,
                                         port=self.inner_port, baudrate=115200, timeout=1)
        await self.server.serve_forever(background=True)
        loop = asyncio.get_running_loop()
        loop.add_reader(self.outer, self.from_master)
        loop.add_reader(self.inner, self.from_slave)

    def from_master(self):
        self.heard += os.read(self.outer, 4096)
        while len(self.heard) >= REQUEST_LENGTH:
            request, self.heard = self.heard[:REQUEST_LENGTH], self.heard[REQUEST_LENGTH:]
            self.requests.append((time.monotonic(), request[0], request[1]))
            os.write(self.inner, request)

    def from_slave(self):
        self.replied += os.read(self.inner, 4096)
        while length := whole(self.replied):
            reply, self.replied = self.replied[:length], self.replied[length:]
            asked = None
            # A request that pymodbus has not answered must not lend its time to another's reply.
            while self.requests and asked is None:
                at, unit, function = self.requests.pop(0)
                if (unit, function) == (reply[0], reply[1] & 0x7F):
                    asked = at
            if asked is not None:
                self.pass_on(asked, reply)

    def pass_on(self, asked, reply):
        self.done["replies"] += 1
        if not self.faults:
            os.write(self.outer, reply)
            return
        r = self.random
        delay = TIMEOUT * 1.05 + r.random() * (self.latest - TIMEOUT * 1.05) if r.random() < 0.3 else 0
        if r.random() < 0.10:
            self.done["noise"] += 1
            noise = r.randbytes(r.randint(1, 12))
            noise = reply[:3] + noise if r.random() < 0.5 else noise
            self.send(asked, r.random() * 0.05, noise)
        fate = r.random()
        if fate < 0.05:
            self.done["damaged"] += 1
            at = r.randrange(len(reply))
            reply = reply[:at] + bytes([reply[at] ^ 1 << r.randrange(8)]) + reply[at + 1:]
        elif fate < 0.10:
            self.done["cut"] += 1
            keep = r.randrange(1, len(reply))
            reply = reply[:keep] if r.random() < 0.5 else reply[keep:]
        elif fate < 0.14:
            self.done["unit"] += 1
            reply = framed(bytes([77]) + reply[1:-2])
        elif fate < 0.18:
            # One that the master never uses with any unit: whose data these are, nobody could tell.
            self.done["function"] += 1
            reply = framed(reply[:1] + bytes([4]) + reply[2:-2])
        self.send(asked, delay, reply, counted=True)

    def send(self, asked, delay, data, counted=False):
        """Writes at `delay` after the request, in up to two pieces; not at all when this machine was too slow to be within the promise."""
        def write(piece):
            age = time.monotonic() - asked
            if counted and piece is last:
                self.done["late"] += age > TIMEOUT
                self.done["dropped"] += age > self.latest + 0.01
            if age <= self.latest + 0.01:
                os.write(self.outer, piece)

        loop = asyncio.get_running_loop()
        start = loop.time() + max(0, asked + delay - time.monotonic())
        at = self.random.randrange(1, len(data)) if len(data) > 1 and self.random.random() < 0.2 else len(data)
        pieces = [piece for piece in (data[:at], data[at:]) if piece]
        last = pieces[-1]
        for i, piece in enumerate(pieces):
            loop.call_at(start + i * 0.004, write, piece)


def pty():
    """The file of one end, the name of the other. The other is held open, so that its closing is no end."""
    master, slave = os.openpty()
    tty.setraw(slave)
    return master, os.ttyname(slave)


async def main():
    config = json.loads(sys.stdin.readline())
    relays = [Relay(config, number) for number in range(config["buses"])]
    for relay in relays:
        await relay.start(config)
    print(json.dumps([relay.port for relay in relays]), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(json.dumps({key: sum(relay.done[key] for relay in relays) for key in relays[0].done}), flush=True)
    os._exit(0)


asyncio.run(main())
