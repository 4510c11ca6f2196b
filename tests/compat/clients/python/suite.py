"""The cases of tests/compat/README.md for clients that Python can drive.

A client is an `Adapter`; the cases below are the same for all of them. What a client has no function for raises `NotOffered`
(a result `n/a`, which the driver only accepts where it expects it). Errors of the broker arrive as `Refused` with Kafka's code.
"""

import sys
import threading
import time
import traceback
from collections import defaultdict, namedtuple

WAIT = 30.0
LARGEST_VALUE = 1048588 - 61 - 11  # without key and headers: exactly Kafka's default max.message.bytes

OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC, MESSAGE_TOO_LARGE, INVALID_TOPIC = 1, 3, 10, 17
TOPIC_EXISTS, INVALID_PARTITIONS, INVALID_CONFIG, GROUP_NOT_EMPTY, INVALID_RECORD = 36, 37, 40, 68, 87

Record = namedtuple("Record", "partition key value headers timestamp offset append_time", defaults=(0, None, b"", (), None, None, False))


class NotOffered(Exception):
    pass


class Refused(Exception):
    def __init__(self, code, text=""):
        super().__init__(code, text)
        self.code = code


class Adapter:
    """One client. Every function takes and returns plain values."""

    name = "?"
    binary = True  # may send any bytes, its own headers and timestamps per record
    null_headers = True  # may send a header without a value
    commits_chosen_offsets = True
    cooperative = False

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    def __getattr__(self, function):
        raise NotOffered(function)


def check(holds, otherwise):
    if not holds:
        raise AssertionError(otherwise)


def until(question, otherwise):
    deadline = time.monotonic() + WAIT
    while True:
        answer = question()
        if answer:
            return answer
        check(time.monotonic() < deadline, otherwise() if callable(otherwise) else otherwise)
        time.sleep(0.05)


def refused(code, action):
    try:
        action()
    except Refused as e:
        check(e.code == code, "refused with code %s (%s) instead of %d" % (e.code, e.args[1], code))
        return
    check(False, "not refused with code %d" % code)


def pattern(seed, length):
    """Bytes that differ from record to record; every codec makes them smaller, none makes them vanish."""
    state, out = (seed * 2654435761 + 1) & 0xFFFFFFFF, bytearray((bytes(range(256)) * (length // 256 + 1))[:length])
    for i in range(0, min(length, 3000), 16):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = state >> 24
    return bytes(out)


def some_records(client, partitions, count, longest, timestamps=True, shortest=0):
    now, out = int(time.time() * 1000), []
    for i in range(count):
        length = shortest + (i * 37) % (longest + 1 - shortest)
        value = pattern(i, length) if client.binary else (b"value %d " % i) * (1 + length // 10)
        key = None if i % 7 == 0 else b"key-%d" % i
        headers = (("n", b"%d" % i),) if client.binary else ()
        out.append(Record(i % partitions, key, value, headers, now + i if client.binary and timestamps else None))
    return out


def compare(sent, got):
    where = "partition %d offset %d" % (got.partition, got.offset)
    check(sent.key == got.key, "key %r, sent %r, %s" % (got.key, sent.key, where))
    check(sent.value == got.value, "value of %s bytes differs from the %s sent, %s" % (len(got.value or b""), len(sent.value or b""), where))
    check(tuple(sent.headers) == tuple(got.headers), "headers %r, sent %r, %s" % (got.headers, sent.headers, where))
    if sent.timestamp is not None:
        check(sent.timestamp == got.timestamp and not got.append_time, "timestamp %s, sent %s, %s" % (got.timestamp, sent.timestamp, where))


def send(client, topic, records, first=0, **options):
    """Sends and checks that acknowledged offsets count up from `first` in each partition; gives the records with their places."""
    places = client.send(topic, records, **options)
    following, placed = defaultdict(lambda: first), []
    for record, (partition, offset) in zip(records, places, strict=True):
        if offset is not None and offset >= 0:
            check(offset == following[partition], "acknowledged offset %d, expected %d, partition %d" % (offset, following[partition], partition))
        placed.append(record._replace(partition=partition, offset=following[partition]))
        following[partition] += 1
    return placed


def read(client, topic, partitions, count, first=0, **options):
    found = client.read(topic, partitions, count, **options)
    total = sum(len(records) for records in found.values())
    check(total == count, "read %d records, expected %d" % (total, count))
    for partition, records in found.items():
        for i, record in enumerate(records):
            check(record.offset == first + i, "offset %d, expected %d, partition %d" % (record.offset, first + i, partition))
    return found


def same(placed, found):
    for record in placed:
        check(record.offset < len(found[record.partition]), "partition %d has too few records" % record.partition)
        compare(record, found[record.partition][record.offset])


def round_trip(client, topic, partitions, records, **options):
    placed = send(client, topic, records, **options)
    found = read(client, topic, partitions, len(records))
    same(placed, found)
    return found


# ---------------------------------------------------------------- producing and consuming


def codec(which):
    def run(client, topic):
        client.create(topic, 3)
        # Clients store a batch as it is where the codec makes it no smaller: each record must be worth compressing, should it be alone in its batch.
        round_trip(client, topic, 3, some_records(client, 3, 400, 2400, shortest=1000), codec=which, linger_ms=20)

    return run


def served(client, topic, partition):
    """Without acknowledgements nobody hears that a leader was not ready for its new partition yet."""
    try:
        return client.watermarks(topic, partition) == (0, 0)
    except NotOffered:
        raise
    except Exception:
        return False


def acks(level):
    def run(client, topic):
        client.create(topic, 3)
        if level == "0":
            until(lambda: all(served(client, topic, p) for p in range(3)), "the partitions are not served")
        round_trip(client, topic, 3, some_records(client, 3, 300, 500), acks=level)
        read(client, topic, 3, 300, committed_only=True)

    return run


def idempotent(client, topic):
    client.create(topic, 2)
    round_trip(client, topic, 2, some_records(client, 2, 3000, 100), idempotent=True, batch_bytes=1000)


def keys(client, topic):
    client.create(topic, 4)
    choice = [b"a", "ä世🧵".encode(), b"k" * 255, b"long" * 2500]
    if client.binary:
        choice += [b"", pattern(1, 1), bytes([0, 255, 0, 255])]
    records = [Record(None, choice[i % len(choice)], b"value-%d" % i) for i in range(20 * len(choice))]
    records += [Record(None, None, b"no key %d" % i) for i in range(20)]
    if client.binary:
        found = round_trip(client, topic, 4, records)
    else:
        client.send(topic, records)
        found = read(client, topic, 4, len(records))
        got = sorted((r.key or b"", r.value) for list_ in found.values() for r in list_)
        check(got == sorted((r.key or b"", r.value) for r in records), "keys and values differ from what was sent")
    homes = defaultdict(set)
    for record in (r for list_ in found.values() for r in list_ if r.key is not None):
        homes[record.key].add(record.partition)
    check(len(homes) == len(choice), "distinct keys read: %d of %d" % (len(homes), len(choice)))
    check(all(len(home) == 1 for home in homes.values()), "a key is in more than one partition")


def headers(client, topic):
    client.create(topic, 1)
    sets = [(), (("one", b"1"),), (("twice", b"a"), ("twice", b"b"), ("twice", b"a"))]
    if client.binary:
        sets += [(("null", None if client.null_headers else b"0"), ("empty", b""), ("", b"no name")), (("ünicöde-世", pattern(5, 3000)),)]
    sets += [tuple(("h%d" % (i % 10), pattern(i, i) if client.binary else b"v%d" % i) for i in range(100))]
    round_trip(client, topic, 1, [Record(0, b"k", b"v%d" % i, some) for i, some in enumerate(sets)])


def tombstones(client, topic):
    client.create(topic, 1, {"cleanup.policy": "compact"})
    values = [lambda i: None, lambda i: b"" if client.binary else b"w", lambda i: b"v%d" % i]
    round_trip(client, topic, 1, [Record(0, b"k%d" % (i % 5), values[i % 3](i)) for i in range(30)], acks="all")
    refused(INVALID_RECORD, lambda: client.send(topic, [Record(0, None, b"no key")]))
    read(client, topic, 1, 30)


def timestamps(client, topic):
    if not client.binary:
        raise NotOffered("timestamps of its own")
    client.create(topic, 1)
    now = int(time.time() * 1000)
    times = [now, now - 1000, 1, now - 86_400_000 * 30, now + 60_000, now, 1_500_000_000_123]
    round_trip(client, topic, 1, [Record(0, b"k", b"at %d" % t, (), t) for t in times], linger_ms=50)
    appended = topic + "-appended"
    client.create(appended, 1, {"message.timestamp.type": "LogAppendTime"})
    before = time.time() * 1000
    client.send(appended, [Record(0, b"k", b"v", (), 12345), Record(0, b"k", b"w", (), 12346)], codec="gzip")
    for record in read(client, appended, 1, 2)[0]:
        check(record.append_time, "timestamp type is not LogAppendTime")
        check(before - 2000 <= record.timestamp <= time.time() * 1000 + 2000, "append time %s" % record.timestamp)


def offsets_for_time(client, topic):
    client.create(topic, 1)
    if not client.binary:
        # The client sets the time itself: look up what was read back.
        for i in range(3):
            client.send(topic, [Record(0, None, b"v%d" % i)])
            time.sleep(0.02)
        for record in read(client, topic, 1, 3)[0]:
            check(client.offset_for_time(topic, 0, record.timestamp) == record.offset, "lookup of %s" % record.timestamp)
        return
    base = 1_700_000_000_000
    send(client, topic, [Record(0, b"k", pattern(i, 300), (), base + i * 1000) for i in range(100)], codec="lz4", batch_bytes=2000)
    for at, expected in [(base, 0), (base + 1, 1), (base + 41_000, 41), (base + 41_001, 42), (0, 0), (base + 99_000, 99), (base + 99_001, None)]:
        offset = client.offset_for_time(topic, 0, at)
        check(offset == expected, "offset for base%+d is %s, expected %s" % (at - base, offset, expected))
    check(client.watermarks(topic, 0) == (0, 100), "watermarks %s" % (client.watermarks(topic, 0),))


def record_1mb(client, topic):
    client.create(topic, 1)
    fill = (lambda i, n: pattern(i, n)) if client.binary else (lambda i, n: (b"%d" % i) * n)
    round_trip(client, topic, 1, [Record(0, None, fill(i, LARGEST_VALUE - i % 2)) for i in range(4)])


def record_too_large(client, topic):
    client.create(topic, 1)
    for length in (LARGEST_VALUE + 1, 2_000_000):
        refused(MESSAGE_TOO_LARGE, lambda: client.send(topic, [Record(0, None, b"x" * length)]))
        client.send(topic, [Record(0, None, b"after %d" % length)])
    values = [record.value for record in read(client, topic, 1, 2)[0]]
    check(values == [b"after %d" % length for length in (LARGEST_VALUE + 1, 2_000_000)], "kept %r" % values)
    small = topic + "-small"
    client.create(small, 1, {"max.message.bytes": "20000"})
    refused(MESSAGE_TOO_LARGE, lambda: client.send(small, [Record(0, None, b"x" * 30_000)]))
    client.send(small, [Record(0, None, b"x" * 19_000)])
    read(client, small, 1, 1)


def seek(client, topic):
    client.create(topic, 1)
    placed = send(client, topic, some_records(client, 1, 500, 200), codec="gzip", linger_ms=50)
    for offset in (499, 0, 123, 7, 250):
        first = client.read_from(topic, 0, offset)
        check(first.offset == offset, "after seek to %d came %d" % (offset, first.offset))
        compare(placed[offset], first)


def auto_create(client, topic):
    round_trip(client, topic, 1, [Record(0, b"k", b"v%d" % i) for i in range(10)])


# ---------------------------------------------------------------- groups


class Member(threading.Thread):
    """A member of a group on its own thread; commits what it has read after every poll."""

    def __init__(self, client, topic, group, cooperative=False):
        super().__init__(daemon=True)
        self.consumer = client.subscribe(topic, group, cooperative)
        self.assigned, self.read, self.leaving, self.failure = set(), [], False, None
        self.start()

    def run(self):
        try:
            while not self.leaving:
                batch = self.consumer.poll()
                self.assigned = set(self.consumer.assignment())
                if batch:
                    self.consumer.commit()
                    self.read += batch
            self.consumer.close()
        except Exception as e:
            self.failure = repr(e) + traceback.format_exc()

    def leave(self):
        self.leaving = True
        self.join(WAIT)
        check(not self.is_alive(), "a member does not stop")
        check(self.failure is None, "member failed: %s" % self.failure)


def balanced(members, partitions):
    def even():
        failed = [m.failure for m in members if m.failure]
        check(not failed, "member failed: %s" % failed)
        sets = [set(m.assigned) for m in members]
        share = partitions // len(members)
        return all(len(s) == share for s in sets) and len(set().union(*sets)) == partitions

    until(even, lambda: "assignment of %d partitions stays at %s" % (partitions, [sorted(m.assigned) for m in members]))


def collected(members, count):
    until(lambda: sum(len(m.read) for m in members) >= count, lambda: "members read %d of %d" % (sum(len(m.read) for m in members), count))
    everything = [place for m in members for place in m.read]
    check(len(everything) == count == len(set(everything)), "members read %d records, %d distinct, expected %d" % (len(everything), len(set(everything)), count))


def group(size):
    def run(client, topic):
        partitions, cooperative = 6, size == 3 and client.cooperative
        client.create(topic, partitions)
        members = [Member(client, topic, topic, cooperative)]
        balanced(members, partitions)
        while len(members) < size:
            members.append(Member(client, topic, topic, cooperative))
        balanced(members, partitions)
        send(client, topic, some_records(client, partitions, 600, 100))
        collected(members, 600)
        members[0].leave()
        balanced(members[1:], partitions)
        send(client, topic, some_records(client, partitions, 600, 100), first=100)
        collected(members, 1200)
        for member in members[1:]:
            member.leave()
        for partition in range(partitions):
            committed = client.committed(topic, topic, partition)
            check(committed == 200, "committed offset of partition %d is %s" % (partition, committed))

    return run


def commit_resume(client, topic):
    client.create(topic, 2)
    placed = send(client, topic, some_records(client, 2, 200, 100))
    member = Member(client, topic, topic)
    collected([member], 200)
    member.leave()
    check(client.committed(topic, topic, 0) == 100, "position was not committed")
    if not client.commits_chosen_offsets:
        send(client, topic, some_records(client, 2, 60, 100), first=100)
        member = Member(client, topic, topic)
        collected([member], 60)
        member.leave()
        check(sorted(member.read) == [(p, o) for p in (0, 1) for o in range(100, 130)], "resumed with %s" % sorted(member.read)[:3])
        return
    client.commit(topic, {(topic, 0): 40, (topic, 1): 60})
    check(client.committed(topic, topic, 0) == 40, "committed is not 40")
    check(client.committed(topic + "-other", topic, 0) is None, "a group that never committed has an offset")
    member = Member(client, topic, topic)
    collected([member], 100)
    member.leave()
    for partition, first in ((0, 40), (1, 60)):
        offsets = [offset for at, offset in member.read if at == partition]
        check(offsets == list(range(first, 100)), "partition %d resumed with %s" % (partition, offsets[:3]))
    same(placed, read(client, topic, 2, 200))


# ---------------------------------------------------------------- admin


def admin_cluster(client, topic):
    nodes, controller, cluster_id = client.cluster()
    check(nodes and all(port > 0 and host for _, host, port in nodes), "nodes %r" % (nodes,))
    check(controller in [node for node, _, _ in nodes], "controller %s is not one of %s" % (controller, nodes))
    check(cluster_id is NotImplemented or bool(cluster_id), "cluster id %r" % (cluster_id,))


def admin_topics(client, topic):
    client.create(topic, 4, {"retention.ms": "1234567"})
    partitions = client.describe_topic(topic)
    check(sorted(partitions) == [0, 1, 2, 3], "partitions %s" % sorted(partitions))
    for leader, replicas, in_sync in partitions.values():
        check(replicas == [leader] and in_sync == [leader], "leader %s, replicas %s, in sync %s" % (leader, replicas, in_sync))
    check(topic in client.list_topics(), "created topic is not listed")
    refused(TOPIC_EXISTS, lambda: client.create(topic, 1))
    refused(INVALID_TOPIC, lambda: client.create("a b", 1))
    client.delete_topic(topic)
    until(lambda: topic not in client.list_topics(), "deleted topic is still listed")
    refused(UNKNOWN_TOPIC, lambda: client.delete_topic(topic))
    client.create(topic, 1)
    round_trip(client, topic, 1, some_records(client, 1, 10, 10))


def admin_configs(client, topic):
    client.create(topic, 1)
    check(client.topic_config(topic, "retention.ms") == ("604800000", True), "default %s" % (client.topic_config(topic, "retention.ms"),))
    client.alter_config(topic, "retention.ms", "3600000")
    until(lambda: client.topic_config(topic, "retention.ms") == ("3600000", False), "altered setting does not show")
    refused(INVALID_CONFIG, lambda: client.alter_config(topic, "retention.ms", "-7"))
    check(client.topic_config(topic, "retention.ms") == ("3600000", False), "a refused setting changed it")
    client.alter_config(topic, "retention.ms", None)
    until(lambda: client.topic_config(topic, "retention.ms") == ("604800000", True), "setting does not return to its default")


def admin_partitions(client, topic):
    client.create(topic, 2)
    send(client, topic, some_records(client, 2, 20, 20))
    client.create_partitions(topic, 5)
    until(lambda: len(client.describe_topic(topic)) == 5, "still not 5 partitions")
    refused(INVALID_PARTITIONS, lambda: client.create_partitions(topic, 3))
    late = [Record(2 + i % 3, b"k", b"late %d" % i) for i in range(30)]
    placed = send(client, topic, late)
    same(placed, read(client, topic, 5, 50))


def admin_delete_records(client, topic):
    client.create(topic, 1)
    placed = send(client, topic, some_records(client, 1, 100, 50), batch_bytes=500)
    check(client.delete_records(topic, 0, 40) == 40, "low watermark is not 40")
    check(client.watermarks(topic, 0) == (40, 100), "watermarks %s" % (client.watermarks(topic, 0),))
    for record in read(client, topic, 1, 60, first=40)[0]:
        compare(placed[record.offset], record)
    refused(OFFSET_OUT_OF_RANGE, lambda: client.delete_records(topic, 0, 101))
    check(client.delete_records(topic, 0, -1) == 100, "low watermark after deleting all is not 100")


def admin_groups(client, topic):
    client.create(topic, 2)
    send(client, topic, some_records(client, 2, 20, 20))
    member = Member(client, topic, topic)
    balanced([member], 2)
    collected([member], 20)
    check(topic in client.list_groups(), "group is not listed")
    state, assignments = client.describe_group(topic)
    check(state == "stable" and assignments == [[(topic, 0), (topic, 1)]], "group is %s %s" % (state, assignments))
    refused(GROUP_NOT_EMPTY, lambda: client.delete_group(topic))
    member.leave()
    until(lambda: client.describe_group(topic)[0] == "empty", "group does not become empty")
    check(client.group_offsets(topic) == {(topic, 0): 10, (topic, 1): 10}, "offsets %s" % client.group_offsets(topic))
    client.delete_group(topic)
    check(topic not in client.list_groups(), "deleted group is listed")


CASES = {
    **{"codec-" + c: codec(c) for c in ("none", "gzip", "snappy", "lz4", "zstd")},
    **{"acks-" + a: acks(a) for a in ("0", "1", "all")},
    "idempotent": idempotent,
    "keys": keys,
    "headers": headers,
    "tombstones": tombstones,
    "timestamps": timestamps,
    "offsets-for-time": offsets_for_time,
    "record-1mb": record_1mb,
    "record-too-large": record_too_large,
    "seek": seek,
    "auto-create": auto_create,
    "group-two": group(2),
    "group-three": group(3),
    "commit-resume": commit_resume,
    "admin-cluster": admin_cluster,
    "admin-topics": admin_topics,
    "admin-configs": admin_configs,
    "admin-partitions": admin_partitions,
    "admin-delete-records": admin_delete_records,
    "admin-groups": admin_groups,
}


def main(adapter):
    if len(sys.argv) < 3:
        sys.exit("usage: %s BOOTSTRAP PREFIX [CASE...]" % sys.argv[0])
    bootstrap, prefix, only = sys.argv[1], sys.argv[2], sys.argv[3:]
    for name, case in CASES.items():
        if only and name not in only:
            continue
        started, verdict, detail = time.monotonic(), "pass", ""
        try:
            case(adapter(bootstrap), "%s-%s" % (prefix, name))
        except NotOffered as e:
            verdict, detail = "n/a", str(e)
        except Exception as e:
            last = traceback.extract_tb(e.__traceback__)[-1]
            verdict, detail = "fail", "%s: %s at %s:%d" % (type(e).__name__, e, last.name, last.lineno)
        milliseconds = (time.monotonic() - started) * 1000
        print("%s %s %s %d ms %s" % (adapter.name, name, verdict, milliseconds, " ".join(detail.split())[:600]), flush=True)
