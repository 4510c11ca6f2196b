#!/usr/bin/env python3
"""Resident memory under a small budget (`odradek.memory.bytes`), while several kinds of clients press on it.

The mixes run one after the other and what they leave behind stays, because memory that one of them took must serve the next:

- `large`: batches of 900 kB, and readers that ask for everything and never read.
- `tiny`: batches of one small record in hundreds of partitions, as fast as they go.
- `cold`: consumers that read everything again from the start beside the producers, and more readers that never read.
- `compressed`: batches in every codec, to topics that keep another one.
- `halves`: hundreds of requests that stop in the middle, large and small.

VmRSS is looked at all the while. It may reach the budget and the allowance: ALLOWANCE_FIXED for the program, its threads and what the allocator
keeps, ALLOWANCE_PARTITION for each partition, ALLOWANCE_CONNECTION for each connection of the mixes (docs/MEMORY.md).
"""

import argparse
import os
import re
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import raw  # noqa: E402
from broker import Broker, choose_port  # noqa: E402

MIB = 1 << 20
ALLOWANCE_FIXED = 128 * MIB
ALLOWANCE_PARTITION = 16 * 1024
ALLOWANCE_CONNECTION = 96 * 1024
LARGE_BYTES = 900_000
MUTE_READERS = 12
TINY_PARTITIONS = 300
CODECS = ["gzip", "snappy", "lz4", "zstd"]


class Watch:
    """Looks at the resident memory of a process, and at what it counts itself, until it is stopped."""

    def __init__(self, pid, metrics):
        self.pid, self.metrics, self.stopped = pid, metrics, False
        self.begin()
        self.threads = [threading.Thread(target=look, daemon=True) for look in (self.look_at_process, self.look_at_metrics)]
        for thread in self.threads:
            thread.start()

    def begin(self):
        self.resident, self.counted = 0, 0

    def now(self):
        status = Path("/proc/%d/status" % self.pid).read_text()
        return 1024 * int(re.search(r"VmRSS:\s*(\d+)", status).group(1))

    def look_at_process(self):
        while not self.stopped:
            self.resident = max(self.resident, self.now())
            time.sleep(0.01)

    def look_at_metrics(self):
        while not self.stopped:
            text = urllib.request.urlopen("http://%s/metrics" % self.metrics, timeout=30).read().decode()
            used = [line for line in text.splitlines() if line.startswith("odradek_memory_used_bytes{")]
            self.counted = max(self.counted, sum(float(line.rsplit(" ", 1)[1]) for line in used))
            time.sleep(0.05)

    def stop(self):
        self.stopped = True
        for thread in self.threads:
            thread.join()


def producer(bootstrap, **settings):
    config = {"bootstrap.servers": bootstrap, "acks": "all", "queue.buffering.max.kbytes": 65536, "log_level": 0}
    return Producer({**config, **settings})


def produce(to, seconds, send):
    """Calls `send` for the given time, at least once, and waits for the answers; returns how many records there were."""
    failed, deadline, count = [], time.monotonic() + seconds, 0
    while count == 0 or time.monotonic() < deadline:
        try:
            send(count, lambda error, _: error and failed.append(error))
            count += 1
        except BufferError:
            to.poll(0.05)
        to.poll(0)
    assert to.flush(60) == 0, "not everything was answered"
    assert not failed, failed[0]
    return count


def create(bootstrap, name, partitions, **config):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(30)


def mute_readers(bootstrap, topic, count, requests):
    """Connections that ask for all there is, again and again, and take nothing."""
    connections = []
    leaders = raw.leaders(bootstrap, topic)
    for at in range(count):
        partition = at % len(leaders)
        host, port = leaders[partition].rsplit(":", 1)
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        connection.settimeout(1)
        limit = 50_000_000 if at % 2 else 1
        for request in range(requests):
            body = struct.pack(">iiiibi", -1, 0, 0, limit, 0, 1) + raw.text(topic) + struct.pack(">iiqi", 1, partition, request, limit)
            frame = struct.pack(">hhi", raw.FETCH, 4, request) + raw.text("mute") + body
            try:
                connection.sendall(struct.pack(">i", len(frame)) + frame)
            except OSError:
                break  # It is not read any more, or was closed: both are the broker's right.
        connections.append(connection)
    return connections


def read_all(bootstrap, topic, group, seconds):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "queued.max.messages.kbytes": 4096, "log_level": 0})
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    bytes_read, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        round_ends = min(deadline, time.monotonic() + 3)
        while time.monotonic() < round_ends:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                bytes_read += len(message.value())
    consumer.close()
    return bytes_read


def halves(bootstrap, count):
    host, port = bootstrap.split(":")
    connections = []
    for at in range(count):
        connection = socket.create_connection((host, int(port)), 5)
        connection.settimeout(0.2)
        body = 700_000 if at % 8 == 0 else 60_000
        try:
            connection.sendall(struct.pack(">i", 1_000_000) + struct.pack(">hhi", 18, 0, 1) + raw.text("half") + bytes(body))
        except OSError:
            pass  # It is read later, or not at all.
        connections.append(connection)
    return connections


class Mixes:
    def __init__(self, bootstrap, seconds):
        self.bootstrap, self.seconds = bootstrap, seconds
        self.kept, self.partitions = [], 0

    def topic(self, name, partitions, **config):
        create(self.bootstrap, name, partitions, **config)
        self.partitions += partitions

    def large(self):
        self.topic("large", 4, **{"segment.bytes": 64 * MIB})
        to, value = producer(self.bootstrap), os.urandom(LARGE_BYTES)
        count = produce(to, self.seconds / 2, lambda at, told: to.produce("large", value, partition=at % 4, on_delivery=told))
        self.kept += mute_readers(self.bootstrap, "large", MUTE_READERS, 40)
        count += produce(to, self.seconds / 2, lambda at, told: to.produce("large", value, partition=at % 4, on_delivery=told))
        return "%d batches of %d bytes" % (count, LARGE_BYTES)

    def tiny(self):
        self.topic("tiny", TINY_PARTITIONS)
        to = producer(self.bootstrap, **{"linger.ms": 0, "batch.num.messages": 1})
        count = produce(to, self.seconds, lambda at, told: to.produce("tiny", b"t", partition=at % TINY_PARTITIONS, on_delivery=told))
        return "%d batches in %d partitions" % (count, TINY_PARTITIONS)

    def cold(self):
        self.kept += mute_readers(self.bootstrap, "large", MUTE_READERS, 40)
        totals, threads = [], []
        for reader in range(3):
            read = lambda reader=reader: totals.append(read_all(self.bootstrap, "large", "cold-%d" % reader, self.seconds))  # noqa: E731
            threads.append(threading.Thread(target=read))
            threads[-1].start()
        to, value = producer(self.bootstrap), os.urandom(1000)
        produce(to, self.seconds, lambda at, told: to.produce("tiny", value, partition=at % 8, on_delivery=told))
        for thread in threads:
            thread.join()
        assert len(totals) == 3 and min(totals) > LARGE_BYTES, totals
        return "%d MiB read again" % (sum(totals) / MIB)

    def compressed(self):
        value, count = b"compresses well " * 40_000, 0
        for at, codec in enumerate(CODECS):
            self.topic("as-%s" % codec, 2, **{"compression.type": CODECS[at - 1]})
            to = producer(self.bootstrap, **{"compression.type": codec, "message.max.bytes": 1_000_000})
            send = lambda at, told, to=to, codec=codec: to.produce("as-%s" % codec, value, partition=at % 2, on_delivery=told)  # noqa: E731
            count += produce(to, self.seconds / len(CODECS), send)
        return "%d batches compressed anew" % count

    def halves(self):
        self.kept += halves(self.bootstrap, 200)
        time.sleep(self.seconds / 2)
        return "200 requests stopped in the middle"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=128 * MIB, help="odradek.memory.bytes")
    parser.add_argument("--seconds", type=float, default=6, help="of each mix")
    parser.add_argument("--advertise", choices=["cores", "node"], default="cores")
    parser.add_argument("--keep", action="store_true", help="keep the directory")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="odradek-memory-"))
    metrics = "127.0.0.1:%d" % choose_port(0)
    settings = {"odradek.memory.bytes": options.budget, "odradek.metrics.listener": metrics, "log.retention.bytes": 256 * MIB}
    good = True
    try:
        with Broker(folder, advertise=options.advertise, settings=settings) as broker:
            watch, mixes = Watch(broker.process.pid, metrics), Mixes(broker.bootstrap, options.seconds)
            print("budget %d MiB; %d MiB resident at the start" % (options.budget / MIB, watch.now() / MIB))
            for mix in [mixes.large, mixes.tiny, mixes.cold, mixes.compressed, mixes.halves]:
                watch.begin()
                done = mix()
                allowance = ALLOWANCE_FIXED + mixes.partitions * ALLOWANCE_PARTITION + len(mixes.kept) * ALLOWANCE_CONNECTION
                bound = options.budget + allowance
                kept = watch.resident <= bound and watch.counted <= options.budget
                good &= kept
                row = (mix.__name__, watch.resident / MIB, bound / MIB, watch.counted / MIB, options.budget / MIB, "ok" if kept else "TOO MUCH", done)
                print("%-11s resident %4d of %4d MiB, counted %4d of %4d MiB: %s (%s)" % row, flush=True)
            watch.stop()
            for connection in mixes.kept:
                connection.close()
    finally:
        if options.keep:
            print("kept %s" % folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print("memory stayed within the budget and its allowance" if good else "memory went beyond the budget and its allowance")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
