"""A wire between two network devices that delays packets and loses some; needs root and /dev/net/tun.

    wire.py DEVICE DEVICE DELAY_MS LOSS_PERCENT

makes both devices, prints "ready", and passes packets until its standard input ends. For kernels
without netem. What is lost is chosen by a fixed seed, so that every run loses alike.
"""
import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
PACKET_BYTES_MAX = 65536
# Packets that are read of one side before the other has its turn.
TURN_PACKETS = 64


def open_device(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def take(device, queue, delay, loss, chance):
    """Reads what is there; what is not lost is due when the delay is over."""
    for _ in range(TURN_PACKETS):
        try:
            packet = os.read(device, PACKET_BYTES_MAX)
        except BlockingIOError:
            return
        if chance() >= loss:
            queue.append((time.monotonic() + delay, packet))


def give(device, queue):
    """Writes what is due; a packet that the device does not take is lost, as on any wire."""
    now = time.monotonic()
    while queue and queue[0][0] <= now:
        try:
            os.write(device, queue.popleft()[1])
        except OSError:
            pass


def main():
    first, second = (open_device(name) for name in sys.argv[1:3])
    delay, loss = float(sys.argv[3]) / 1000, float(sys.argv[4]) / 100
    chance = random.Random(1).random
    # What came in at one device waits to go out of the other.
    waiting = {first: deque(), second: deque()}
    other = {first: second, second: first}
    ends = select.poll()
    for each in (first, second, 0):
        ends.register(each, select.POLLIN | select.POLLHUP)
    print("ready", flush=True)
    while True:
        due = [queue[0][0] for queue in waiting.values() if queue]
        # Rounded down: a packet is looked at too early rather than sent too late.
        patience = 1000 if not due else max(0, int((min(due) - time.monotonic()) * 1000))
        for end, _ in ends.poll(patience):
            if end == 0:
                if not os.read(0, 1):
                    return
            else:
                take(end, waiting[end], delay, loss, chance)
        for device, queue in waiting.items():
            give(other[device], queue)


main()
