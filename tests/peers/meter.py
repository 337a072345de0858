"""A Modbus RTU meter (pymodbus) on a serial port.

    meter.py PORT BAUD

Unit 1: input registers 0-1 hold 230.5 as f32 (ABCD), holding register 10 holds -55 as i16, coil 3 is on, discrete input 4 is off.
It says "ready" once it serves.
"""

import asyncio
import sys

from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer

ALL = 100


def block(values):
    # The block's addresses are one above those of the wire.
    cells = [0] * (ALL + 1)
    for address, value in values.items():
        cells[address + 1] = value
    return ModbusSequentialDataBlock(0, cells)


async def main():
    port, baud = sys.argv[1:]
    unit = ModbusDeviceContext(
        ir=block({0: 0x4366, 1: 0x8000}), hr=block({10: 0x10000 - 55}), co=block({3: True}), di=block({4: False})
    )
    context = ModbusServerContext(devices={1: unit}, single=False)
    server = ModbusSerialServer(context, framer=FramerType.RTU, port=port, baudrate=int(baud))
    await server.serve_forever(background=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
