"""A few raw requests of the Kafka protocol, for what no client library shows: the codec in which a batch is stored."""

import socket
import struct

CODECS = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
METADATA, FETCH = 3, 1


def text(value):
    data = value.encode()
    return struct.pack(">h", len(data)) + data


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, layout):
        values = struct.unpack_from(">" + layout, self.data, self.at)
        self.at += struct.calcsize(">" + layout)
        return values[0] if len(values) == 1 else values

    def bytes(self, length):
        self.at += max(length, 0)
        return self.data[self.at - max(length, 0) : self.at]

    def text(self):
        return self.bytes(self.take("h")).decode()


def call(address, api, version, body):
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.settimeout(20)
        frame = struct.pack(">hhi", api, version, 1) + text("raw") + body
        connection.sendall(struct.pack(">i", len(frame)) + frame)
        data = b""
        while len(data) < 4 or len(data) < 4 + struct.unpack_from(">i", data)[0]:
            more = connection.recv(1 << 20)
            if not more:
                raise ConnectionError("the broker closed the connection")
            data += more
    return Reader(data[8:])


def leaders(bootstrap, topic):
    """{partition: address of its leader}"""
    answer = call(bootstrap, METADATA, 1, struct.pack(">i", 1) + text(topic))
    nodes = {}
    for _ in range(answer.take("i")):
        node = answer.take("i")
        host, port = answer.text(), answer.take("i")
        answer.text()
        nodes[node] = "%s:%d" % (host, port)
    answer.take("i")
    found = {}
    for _ in range(answer.take("i")):
        error = answer.take("h")
        assert error == 0, "metadata error %d" % error
        answer.text()
        answer.take("b")
        for _ in range(answer.take("i")):
            _, partition, leader = answer.take("hii")
            for _ in range(2):
                answer.bytes(4 * answer.take("i"))
            found[partition] = nodes[leader]
    return found


def stored_codecs(bootstrap, topic):
    """The names of the codecs of all batches of a small topic."""
    codecs = set()
    for partition, leader in leaders(bootstrap, topic).items():
        limit = 50_000_000
        body = struct.pack(">iiiibi", -1, 100, 1, limit, 0, 1) + text(topic) + struct.pack(">iiqi", 1, partition, 0, limit)
        answer = call(leader, FETCH, 4, body)
        answer.take("ii")
        answer.text()
        answer.take("i")
        _, error, _, _ = answer.take("ihqq")
        assert error == 0, "fetch error %d" % error
        answer.bytes(16 * answer.take("i"))
        records = answer.bytes(answer.take("i"))
        at = 0
        while at + 61 <= len(records):
            length, attributes = struct.unpack_from(">i", records, at + 8)[0], struct.unpack_from(">h", records, at + 21)[0]
            codecs.add(CODECS.get(attributes & 7, "codec %d" % (attributes & 7)))
            at += 12 + length
    return codecs
