#!/usr/bin/env python3
"""A broker on a file system that fills up: it says so, serves reads, survives kill -9 and starts again without a byte of room, and takes
records again once there is some. Its argument is a small file system of its own: `full-disk` mounts one."""

import os
import random
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from broker import Broker  # noqa: E402

TOPIC, PARTITIONS, RECORD_BYTES = "filled", 4, 20_000
SETTINGS = {"odradek.journal.bytes": 8 << 20, "odradek.unflushed.bytes.max": 4 << 20, "odradek.tail.cache.bytes": 4 << 20, "odradek.disk.reserve.bytes": 1 << 20}


def check(right, what):
    if not right:
        raise AssertionError(what)
    print("  " + what, flush=True)


class Load:
    """Writes numbered records, each in a batch of its own, and remembers which were acknowledged."""

    def __init__(self, broker):
        self.bootstrap, self.acknowledged, self.number = broker.bootstrap, {}, 0
        self.random = random.Random(1)

    def write(self, count):
        """The errors of `count` more records."""
        errors = []
        producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all", "retries": 0, "delivery.timeout.ms": 8000, "linger.ms": 0,
                             "batch.num.messages": 1, "log_level": 0, "reconnect.backoff.max.ms": 100})  # fmt: skip
        for _ in range(count):
            number, value = self.number, self.number.to_bytes(8, "big") + self.random.randbytes(RECORD_BYTES)
            self.number += 1

            def delivered(error, message, number=number, value=value):
                if error is None:
                    self.acknowledged[number] = (message.partition(), message.offset(), value)
                else:
                    errors.append(error.code())

            producer.produce(TOPIC, value, partition=number % PARTITIONS, on_delivery=delivered)
            producer.poll(0)
        if producer.flush(30) != 0:
            raise AssertionError("records were not answered")
        return errors

    def fill(self):
        """Writes until everything is refused; what the journal's files have room for is taken first."""
        for _ in range(100):
            errors = self.write(100)
            if len(errors) == 100:
                return errors
        raise AssertionError("the file system never filled up")

    def read_back(self):
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "reader", "enable.auto.commit": False, "log_level": 0})
        consumer.assign([TopicPartition(TOPIC, partition, OFFSET_BEGINNING) for partition in range(PARTITIONS)])
        found, deadline = {}, time.monotonic() + 60
        while not self.acknowledged.keys() <= found.keys() and time.monotonic() < deadline:
            for message in consumer.consume(500, 0.2):
                if message.error() is None:
                    found[int.from_bytes(message.value()[:8], "big")] = (message.partition(), message.offset(), message.value())
        consumer.close()
        wrong = [number for number, known in self.acknowledged.items() if found.get(number) != known]
        check(not wrong, "all of %d acknowledged records are read back" % len(self.acknowledged))


def take_all_room(path):
    """A file that takes every byte that is left."""
    with open(path, "ab", buffering=0) as filler:
        for size in (1 << 20, 4096, 1):
            try:
                while filler.write(bytes(size)) == size:
                    pass
            except OSError:
                pass


def main():
    small = Path(sys.argv[1])
    filler = small / "filler"
    with tempfile.TemporaryDirectory(prefix="odradek-full-") as directory:
        run(Broker(directory, settings={**SETTINGS, "log.dirs": small / "data"}).start(), small, filler)
    print("full-disk: passed")


def run(broker, small, filler):
    load = Load(broker)
    try:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(15)
        filler.write_bytes(bytes(16 << 20))
        check(load.write(100) == [], "records are taken")
        errors = load.fill()
        check(set(errors) <= {KafkaError.KAFKA_STORAGE_ERROR, KafkaError._MSG_TIMED_OUT}, "then they are refused")
        load.read_back()
        for ending in ("kill", "stop", "kill"):
            take_all_room(filler)
            check(os.statvfs(small).f_bavail == 0, "not a byte is left")
            getattr(broker, ending)() if ending == "kill" else stop(broker)
            take_all_room(filler)
            broker.start()
            check(True, "it starts after a %s" % ending)
            load.read_back()
            load.fill()
        filler.unlink()
        deadline = time.monotonic() + 20
        while load.write(20) and time.monotonic() < deadline:
            time.sleep(0.5)
        check(load.write(20) == [], "records are taken again once there is room")
        load.read_back()
        broker.kill()
        broker.start()
        load.read_back()
        broker.stop()
    except BaseException:
        print(broker.tail())
        raise
    finally:
        if broker.running():
            broker.kill()


def stop(broker):
    """A stop on a disk without a byte of room may not be clean, but it ends."""
    try:
        broker.stop()
    except RuntimeError as error:
        check("ended with" in str(error), "a stop without room ends")


main()
