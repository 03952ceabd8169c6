"""A wire between two network devices that delays packets and loses some; needs root and /dev/net/tun.

    wire.py DEVICE DEVICE DELAY_MS LOSS_PERCENT

makes both devices, prints "ready", and passes packets until its standard input ends. For kernels
without netem. Each direction loses by chances of its own from a fixed seed, which begin anew with
SIGUSR1: the n-th packet after it has the same fate every time, until SIGUSR2 brings other weather.
"""
import fcntl
import math
import os
import random
import select
import signal
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
# Packets are passed on at most so often, together with all that are due: not a wakeup for each.
TICK_SECONDS = 0.001


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
        except OSError:
            # The device went with its namespace.
            raise SystemExit(0) from None
        if chance.random() >= loss:
            queue.append((time.monotonic() + delay, packet))


def give(device, queue):
    """Writes what is due; a packet that the device does not take is lost, as on any wire."""
    now = time.monotonic()
    while queue and queue[0][0] <= now:
        try:
            os.write(device, queue.popleft()[1])
        except OSError:
            pass


def hurry():
    """Goes before others on a busy machine: a packet that waits for a processor is late."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        pass


def main():
    first, second = (open_device(name) for name in sys.argv[1:3])
    delay, loss = float(sys.argv[3]) / 1000, float(sys.argv[4]) / 100
    # Half a tick less: a packet waits for the next one.
    delay -= TICK_SECONDS / 2
    # What came in at one device waits to go out of the other.
    waiting = {first: deque(), second: deque()}
    other = {first: second, second: first}
    chances = {first: random.Random(), second: random.Random()}

    weather = 0

    def begin_anew(*_):
        for seed, chance in enumerate(chances.values(), weather * len(chances)):
            chance.seed(seed)

    def change(*_):
        nonlocal weather
        weather += 1

    begin_anew()
    signal.signal(signal.SIGUSR1, begin_anew)
    signal.signal(signal.SIGUSR2, change)
    hurry()
    ends = select.poll()
    for each in (first, second, 0):
        ends.register(each, select.POLLIN | select.POLLHUP)
    print("ready", flush=True)
    while True:
        due = [queue[0][0] for queue in waiting.values() if queue]
        patience = 1000 if not due else max(0, math.ceil((min(due) - time.monotonic()) * 1000))
        for end, _ in ends.poll(patience):
            if end == 0:
                if not os.read(0, 1):
                    return
            else:
                take(end, waiting[end], delay, loss, chances[end])
        for device, queue in waiting.items():
            give(other[device], queue)


main()
