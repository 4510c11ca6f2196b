// The cases of tests/compat/README.md with kafkajs.
//
// Usage: node cases.js BOOTSTRAP PREFIX [CASE...]; one line `client case pass|fail|n/a detail` each.
'use strict'

const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = require('kafkajs')
const SnappyJS = require('snappyjs')
const lz4 = require('lz4js')
const xxh32 = require('lz4js/xxh32.js')
const { ZstdCodec } = require('zstd-codec')

const CLIENT = 'kafkajs'
const WAIT_MS = 30000
// Without key and headers: exactly Kafka's default max.message.bytes.
const LARGEST_VALUE = 1048588 - 61 - 11

// kafkajs takes these codecs as plug-ins. Snappy is framed as Java's library does it (xerial), which is what brokers and clients expect.
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1])
const plugIn = (compress, decompress) => () => ({
  compress: async (encoder) => Buffer.from(compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(decompress(buffer)),
})
CompressionCodecs[CompressionTypes.Snappy] = plugIn(
  (data) => {
    const block = Buffer.from(SnappyJS.compress(data))
    const length = Buffer.alloc(4)
    length.writeInt32BE(block.length)
    return Buffer.concat([XERIAL, length, block])
  },
  (data) => {
    if (!data.subarray(0, 8).equals(XERIAL.subarray(0, 8))) return SnappyJS.uncompress(data)
    const parts = []
    for (let at = 16; at < data.length; ) {
      const length = data.readInt32BE(at)
      parts.push(Buffer.from(SnappyJS.uncompress(data.subarray(at + 4, at + 4 + length))))
      at += 4 + length
    }
    return Buffer.concat(parts)
  }
)
// A frame of one block depends on no other; lz4js leaves out the flag that says so, which Kafka insists on.
CompressionCodecs[CompressionTypes.LZ4] = plugIn(
  (data) => {
    const frame = lz4.compress(data)
    frame[4] |= 0x20
    frame[6] = (xxh32.hash(0, frame, 4, 2) >>> 8) & 0xff
    return frame
  },
  (data) => lz4.decompress(data)
)

let kafka
let admin

class Failure extends Error {}

const check = (holds, otherwise) => {
  if (!holds) throw new Failure(otherwise)
}
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const until = async (question, otherwise) => {
  for (const deadline = Date.now() + WAIT_MS; !(await question()); await sleep(30)) {
    check(Date.now() < deadline, typeof otherwise === 'function' ? otherwise() : otherwise)
  }
}
const refused = async (type, action) => {
  try {
    await action()
  } catch (e) {
    let inner = e
    const types = []
    for (; inner; inner = inner.cause || inner.errors?.[0] || inner.groups?.[0]?.error || inner.partitions?.[0]?.error) {
      types.push(inner.type || inner.name)
    }
    check(types.includes(type), `refused with ${types} (${e.message}) instead of ${type}`)
    return
  }
  check(false, `not refused with ${type}`)
}

// Bytes that differ from record to record; every codec makes them smaller, none makes them vanish.
const pattern = (seed, length) => {
  const out = Buffer.alloc(length)
  let state = (Math.imul(seed, 2654435761) + 1) >>> 0
  for (let i = 0; i < length; i++) {
    out[i] = i & 0xff
    if (i % 16 === 0) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      out[i] = state >>> 24
    }
  }
  return out
}

const someRecords = (partitions, count, longest) => {
  const now = Date.now()
  return Array.from({ length: count }, (_, i) => ({
    partition: i % partitions,
    key: i % 7 === 0 ? null : Buffer.from(`key-${i}`),
    value: pattern(i, (i * 37) % (longest + 1)),
    headers: { n: Buffer.from(`${i}`) },
    timestamp: `${now + i}`,
  }))
}

const create = async (topic, numPartitions, settings = {}) => {
  const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }))
  await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1, configEntries }], waitForLeaders: false })
  await served(topic, numPartitions)
}

// kafkajs gives up on a topic that its broker does not know yet, and sends whole requests again when one partition was not served yet.
const served = (topic, partitions) => {
  const all = async () => (await describeTopic(topic)).length === partitions && (await admin.fetchTopicOffsets(topic)).length === partitions
  return until(() => all().catch(() => false), `${partitions} partitions of ${topic} are not served`)
}

// Sends in order and checks the offsets that are acknowledged.
const send = async (topic, records, { first = 0, acks = -1, compression = CompressionTypes.None, chunk = records.length, ...options } = {}) => {
  const producer = kafka.producer({ allowAutoTopicCreation: true, ...options })
  await producer.connect()
  try {
    const next = {}
    for (let at = 0; at < records.length; at += chunk) {
      const messages = records.slice(at, at + chunk)
      const answers = await producer.send({ topic, acks, compression, messages })
      for (const { partition, baseOffset } of acks === 0 ? [] : answers) {
        const expected = next[partition] ?? first
        check(Number(baseOffset) === expected, `acknowledged offset ${baseOffset}, expected ${expected}, partition ${partition}`)
        next[partition] = expected + messages.filter((m) => m.partition === undefined || m.partition === partition).length
      }
    }
  } finally {
    await producer.disconnect()
  }
}

let groups = 0
const fresh = (topic) => `${topic}-reader-${++groups}`

// Everything there is, by partition.
const read = async (topic, count, { seekTo, readUncommitted = true } = {}) => {
  const consumer = kafka.consumer({ groupId: fresh(topic), maxWaitTimeInMs: 100, readUncommitted })
  const found = {}
  let seen = 0
  try {
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        ;(found[partition] ??= []).push(message)
        seen++
      },
    })
    if (seekTo !== undefined) consumer.seek({ topic, partition: 0, offset: `${seekTo}` })
    await until(() => seen >= count, () => `read ${seen} records, expected ${count}`)
    await sleep(50)
    check(seen === count, `read ${seen} records, expected ${count}`)
  } finally {
    await consumer.disconnect()
  }
  return found
}

const equal = (a, b) => (a === null || a === undefined ? b === null || b === undefined : Buffer.isBuffer(b) && Buffer.from(a).equals(b))

const compare = (sent, got) => {
  const where = `offset ${got.offset}`
  check(equal(sent.key, got.key), `key differs at ${where}`)
  check(equal(sent.value, got.value), `value differs at ${where}`)
  const [was, is] = [sent.headers || {}, got.headers || {}]
  check(Object.keys(was).join() === Object.keys(is).join(), `headers ${Object.keys(is)}, sent ${Object.keys(was)}, at ${where}`)
  for (const name of Object.keys(was)) {
    const [a, b] = [[was[name]].flat(), [is[name]].flat()]
    check(a.length === b.length && a.every((value, i) => equal(value, b[i])), `header ${name} differs at ${where}`)
  }
  if (sent.timestamp !== undefined) check(sent.timestamp === got.timestamp, `timestamp ${got.timestamp}, sent ${sent.timestamp}, at ${where}`)
}

const same = (records, found) => {
  const next = {}
  for (const record of records) {
    const i = (next[record.partition] = (next[record.partition] ?? -1) + 1)
    const got = (found[record.partition] || [])[i]
    check(got, `partition ${record.partition} has too few records`)
    check(got.offset === `${i}`, `offset ${got.offset}, expected ${i}`)
    compare(record, got)
  }
}

const roundTrip = async (topic, records, options) => {
  await send(topic, records, options)
  same(records, await read(topic, records.length))
}

// ---------------------------------------------------------------- producing and consuming

const codec = (compression) => async (topic) => {
  await create(topic, 3)
  await roundTrip(topic, someRecords(3, 400, 2000), { compression, chunk: 100 })
}

const acks = (level) => async (topic) => {
  await create(topic, 3)
  await roundTrip(topic, someRecords(3, 300, 500), { acks: level, chunk: 50 })
  await read(topic, 300, { readUncommitted: false })
}

const idempotent = async (topic) => {
  await create(topic, 2)
  await roundTrip(topic, someRecords(2, 2000, 100), { idempotent: true, chunk: 20 })
}

const keys = async (topic) => {
  await create(topic, 4)
  const choice = ['a', 'ä世🧵'].map((k) => Buffer.from(k)).concat([pattern(1, 1), pattern(2, 255), pattern(3, 10000), Buffer.from([0, 255, 0, 255])])
  const records = Array.from({ length: 120 }, (_, i) => ({ key: choice[i % choice.length], value: Buffer.from(`value-${i}`) }))
  for (let i = 0; i < 20; i++) records.push({ key: null, value: Buffer.from(`no key ${i}`) })
  const producer = kafka.producer()
  await producer.connect()
  await producer.send({ topic, messages: records })
  await producer.disconnect()
  const found = await read(topic, records.length)
  const homes = {}
  const values = []
  for (const [partition, list] of Object.entries(found)) {
    for (const message of list) {
      if (message.key) (homes[message.key.toString('hex')] ??= new Set()).add(partition)
      values.push(message.value.toString())
      const sent = records.find((r) => r.value.equals(message.value))
      check(sent && equal(sent.key, message.key), `key of ${message.value} differs`)
    }
  }
  check(values.sort().join() === records.map((r) => r.value.toString()).sort().join(), 'values differ from what was sent')
  check(Object.keys(homes).length === choice.length, `distinct keys read: ${Object.keys(homes).length}`)
  for (const home of Object.values(homes)) check(home.size === 1, 'one key in two partitions')
}

const headers = async (topic) => {
  await create(topic, 1)
  const many = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`h${i}`, pattern(i, i)]))
  const sets = [{}, { one: Buffer.from('1') }, { twice: ['a', 'b', 'a'].map((v) => Buffer.from(v)) }, { empty: Buffer.alloc(0) }, { 'ünicöde-世': pattern(5, 3000) }, many]
  await roundTrip(topic, sets.map((set, i) => ({ partition: 0, key: Buffer.from('k'), value: Buffer.from(`v${i}`), headers: set })))
}

const tombstones = async (topic) => {
  await create(topic, 1, { 'cleanup.policy': 'compact' })
  const records = Array.from({ length: 30 }, (_, i) => ({
    partition: 0,
    key: Buffer.from(`k${i % 5}`),
    value: [null, Buffer.alloc(0), Buffer.from(`v${i}`)][i % 3],
  }))
  await roundTrip(topic, records)
  let accepted = true
  await send(topic, [{ partition: 0, key: null, value: Buffer.from('no key') }], { first: 30, retry: { retries: 0 } }).catch(() => (accepted = false))
  check(!accepted, 'a record without a key was accepted by a compacted topic')
  await read(topic, 30)
}

const timestamps = async (topic) => {
  await create(topic, 1)
  const now = Date.now()
  const times = [now, now - 1000, 1, now - 86400000 * 30, now + 60000, now, 1500000000123]
  await roundTrip(topic, times.map((t) => ({ partition: 0, key: Buffer.from('k'), value: Buffer.from(`${t}`), timestamp: `${t}` })))
  const appended = `${topic}-appended`
  await create(appended, 1, { 'message.timestamp.type': 'LogAppendTime' })
  const values = ['v', 'w'].map((v) => ({ partition: 0, key: Buffer.from('k'), value: Buffer.from(v), timestamp: '12345' }))
  await send(appended, values, { compression: CompressionTypes.GZIP })
  for (const message of (await read(appended, 2))[0]) {
    // kafkajs does not apply a batch's append time to its records; it shows the records' own times.
    const at = Number(message.timestamp)
    check(at === 12345 || Math.abs(at - Date.now()) < 20000, `append time ${at}`)
  }
}

const offsetsForTime = async (topic) => {
  await create(topic, 1)
  const base = 1700000000000
  const records = Array.from({ length: 100 }, (_, i) => ({ partition: 0, key: Buffer.from('k'), value: pattern(i, 300), timestamp: `${base + i * 1000}` }))
  await send(topic, records, { chunk: 7, compression: CompressionTypes.GZIP })
  for (const [at, expected] of [[base, 0], [base + 1, 1], [base + 41000, 41], [base + 41001, 42], [1, 0], [base + 99000, 99], [base + 99001, 100]]) {
    // Where nothing is later kafkajs answers with the end.
    const [{ offset }] = await admin.fetchTopicOffsetsByTimestamp(topic, at)
    check(offset === `${expected}`, `offset for base${at - base} is ${offset}, expected ${expected}`)
  }
  const [{ low, high }] = await admin.fetchTopicOffsets(topic)
  check(low === '0' && high === '100', `from ${low} to ${high}`)
}

const record1mb = async (topic) => {
  await create(topic, 1)
  const records = [0, 1, 0, 1].map((less, i) => ({ partition: 0, key: null, value: pattern(i, LARGEST_VALUE - less) }))
  await roundTrip(topic, records, { chunk: 1 })
}

const recordTooLarge = async (topic) => {
  await create(topic, 1)
  const kept = []
  for (const length of [LARGEST_VALUE + 1, 2000000]) {
    await refused('MESSAGE_TOO_LARGE', () => send(topic, [{ partition: 0, key: null, value: pattern(1, length) }], { retry: { retries: 0 } }))
    kept.push({ partition: 0, key: null, value: Buffer.from(`after ${length}`) })
    await send(topic, kept.slice(-1), { first: kept.length - 1 })
  }
  same(kept, await read(topic, 2))
  const small = `${topic}-small`
  await create(small, 1, { 'max.message.bytes': '20000' })
  await refused('MESSAGE_TOO_LARGE', () => send(small, [{ partition: 0, key: null, value: pattern(1, 30000) }], { retry: { retries: 0 } }))
  await send(small, [{ partition: 0, key: null, value: pattern(1, 19000) }])
  await read(small, 1)
}

const seek = async (topic) => {
  await create(topic, 1)
  const records = someRecords(1, 500, 200)
  await send(topic, records, { compression: CompressionTypes.GZIP })
  const consumer = kafka.consumer({ groupId: fresh(topic), maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  let got = []
  await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => void got.push(message) })
  await until(() => got.length === 500, () => `read ${got.length}`)
  for (const offset of [499, 0, 123, 7, 250]) {
    got = []
    consumer.seek({ topic, partition: 0, offset: `${offset}` })
    await until(() => got.length === 500 - offset, () => `after seek to ${offset} came ${got.length}`)
    check(got[0].offset === `${offset}`, `after seek to ${offset} came ${got[0].offset}`)
    compare(records[offset], got[0])
  }
  await consumer.disconnect()
}

const autoCreate = async (topic) => {
  await roundTrip(topic, Array.from({ length: 10 }, (_, i) => ({ partition: 0, key: Buffer.from('k'), value: Buffer.from(`v${i}`) })))
}

// ---------------------------------------------------------------- groups

// A member of a group that commits after every batch.
const join = async (topic, groupId) => {
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100, sessionTimeout: 10000, heartbeatInterval: 300 })
  const member = { assigned: [], read: [], failed: null, leave: () => consumer.disconnect() }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => (member.assigned = payload.memberAssignment[topic] || []))
  consumer.on(consumer.events.REBALANCING, () => (member.assigned = []))
  consumer.on(consumer.events.CRASH, ({ payload }) => (member.failed = payload.error))
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch, heartbeat }) => {
      for (const message of batch.messages) member.read.push(`${batch.partition}@${message.offset}`)
      await consumer.commitOffsets([{ topic, partition: batch.partition, offset: `${Number(batch.lastOffset()) + 1}` }])
      await heartbeat()
    },
  })
  return member
}

const balanced = (members, partitions) =>
  until(
    () => {
      for (const m of members) check(!m.failed, `member failed: ${m.failed}`)
      const union = new Set(members.flatMap((m) => m.assigned))
      return members.every((m) => m.assigned.length === partitions / members.length) && union.size === partitions
    },
    () => `assignment of ${partitions} partitions stays at ${JSON.stringify(members.map((m) => m.assigned))}`
  )

const collected = async (members, count) => {
  const all = () => members.flatMap((m) => m.read)
  await until(() => all().length >= count, () => `members read ${all().length} of ${count}`)
  check(all().length === count && new Set(all()).size === count, `members read ${all().length} records, ${new Set(all()).size} distinct, expected ${count}`)
}

const committed = async (groupId, topic) => {
  const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] })
  return partitions.sort((a, b) => a.partition - b.partition)
}

const group = (size) => async (topic) => {
  const partitions = 6
  await create(topic, partitions)
  const members = [await join(topic, topic)]
  await balanced(members, partitions)
  while (members.length < size) members.push(await join(topic, topic))
  await balanced(members, partitions)
  await send(topic, someRecords(partitions, 600, 100))
  await collected(members, 600)
  await sleep(200)
  await members[0].leave()
  await balanced(members.slice(1), partitions)
  await send(topic, someRecords(partitions, 600, 100), { first: 100 })
  await collected(members, 1200)
  await sleep(200)
  for (const member of members.slice(1)) await member.leave()
  const offsets = (await committed(topic, topic)).map((p) => p.offset)
  check(offsets.join() === Array(partitions).fill('200').join(), `committed offsets ${offsets}`)
}

const commitResume = async (topic) => {
  await create(topic, 2)
  const records = someRecords(2, 200, 100)
  await send(topic, records)
  let member = await join(topic, topic)
  await collected([member], 200)
  await sleep(200)
  await member.leave()
  check((await committed(topic, topic))[0].offset === '100', 'position was not committed')
  await admin.setOffsets({ groupId: topic, topic, partitions: [{ partition: 0, offset: '40', metadata: 'forty' }, { partition: 1, offset: '60' }] })
  const [zero, one] = await committed(topic, topic)
  check(zero.offset === '40' && one.offset === '60', `committed ${JSON.stringify([zero, one])}`)
  check((await committed(`${topic}-other`, topic))[0].offset === '-1', 'a group that never committed has an offset')
  member = await join(topic, topic)
  await collected([member], 100)
  await member.leave()
  check(member.read.includes('0@40') && member.read.includes('1@60') && !member.read.includes('0@39'), `resumed with ${member.read.slice(0, 3)}`)
  same(records, await read(topic, 200))
}

// ---------------------------------------------------------------- admin

const adminCluster = async () => {
  const { brokers, controller, clusterId } = await admin.describeCluster()
  check(brokers.length > 0 && clusterId, `brokers ${JSON.stringify(brokers)}, cluster ${clusterId}`)
  check(brokers.some((b) => b.nodeId === controller), `controller ${controller} is not one of ${JSON.stringify(brokers)}`)
}

const describeTopic = async (topic) => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions

const adminTopics = async (topic) => {
  await create(topic, 4, { 'retention.ms': '1234567' })
  const partitions = await describeTopic(topic)
  check(partitions.length === 4, `partitions ${partitions.length}`)
  for (const { leader, replicas, isr } of partitions) check(replicas.join() === `${leader}` && isr.join() === `${leader}`, `leader ${leader}, replicas ${replicas}`)
  check((await admin.listTopics()).includes(topic), 'created topic is not listed')
  const again = await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] })
  check(again === false, 'an existing topic was created')
  await refused('INVALID_TOPIC_EXCEPTION', () => create('a b', 1))
  await admin.deleteTopics({ topics: [topic] })
  await until(async () => !(await admin.listTopics()).includes(topic), 'deleted topic is still listed')
  await refused('UNKNOWN_TOPIC_OR_PARTITION', () => admin.deleteTopics({ topics: [topic] }))
  await create(topic, 1)
  await roundTrip(topic, someRecords(1, 10, 10))
}

const adminConfigs = async (topic) => {
  await create(topic, 1)
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
  const expect = async (value, isDefault) => {
    let entry
    await until(
      async () => {
        const answer = await admin.describeConfigs({ includeSynonyms: false, resources: [{ ...resource, configNames: ['retention.ms'] }] })
        entry = answer.resources[0].configEntries[0]
        return entry.configValue === value && entry.isDefault === isDefault
      },
      () => `retention.ms is ${JSON.stringify(entry)}`
    )
  }
  const alter = (configEntries) => admin.alterConfigs({ validateOnly: false, resources: [{ ...resource, configEntries }] })
  await expect('604800000', true)
  await alter([{ name: 'retention.ms', value: '3600000' }])
  await expect('3600000', false)
  await refused('INVALID_CONFIG', () => alter([{ name: 'retention.ms', value: '-7' }]))
  await expect('3600000', false)
  await alter([])
  await expect('604800000', true)
}

const adminPartitions = async (topic) => {
  await create(topic, 2)
  await send(topic, someRecords(2, 20, 20))
  await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
  await served(topic, 5)
  await refused('INVALID_PARTITIONS', () => admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] }))
  const late = Array.from({ length: 30 }, (_, i) => ({ partition: 2 + (i % 3), key: Buffer.from('k'), value: Buffer.from(`late ${i}`) }))
  await send(topic, late)
  same(late, await read(topic, 50))
}

const adminDeleteRecords = async (topic) => {
  await create(topic, 1)
  const records = someRecords(1, 100, 50)
  await send(topic, records, { chunk: 7 })
  await admin.fetchTopicOffsets(topic) // kafkajs looks for the leader before it knows the topic
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '40' }] })
  const [{ low, high }] = await admin.fetchTopicOffsets(topic)
  check(low === '40' && high === '100', `from ${low} to ${high}`)
  const found = (await read(topic, 60))[0]
  found.forEach((message, i) => {
    check(message.offset === `${40 + i}`, `offset ${message.offset}`)
    compare(records[40 + i], message)
  })
  await refused('OFFSET_OUT_OF_RANGE', () => admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '101' }] }))
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '-1' }] })
  check((await admin.fetchTopicOffsets(topic))[0].low === '100', 'not all records were deleted')
}

const adminGroups = async (topic) => {
  await create(topic, 2)
  await send(topic, someRecords(2, 20, 20))
  const member = await join(topic, topic)
  await balanced([member], 2)
  await collected([member], 20)
  const listed = async () => (await admin.listGroups()).groups.some((g) => g.groupId === topic)
  const describe = async () => (await admin.describeGroups([topic])).groups[0]
  check(await listed(), 'group is not listed')
  const described = await describe()
  check(described.state === 'Stable' && described.members.length === 1, `group is ${described.state} with ${described.members.length} members`)
  await refused('NON_EMPTY_GROUP', () => admin.deleteGroups([topic]))
  await sleep(200)
  await member.leave()
  await until(async () => (await describe()).state === 'Empty', 'group does not become empty')
  check((await committed(topic, topic)).map((p) => p.offset).join() === '10,10', 'committed offsets')
  await admin.deleteGroups([topic])
  check(!(await listed()), 'deleted group is listed')
}

const CASES = {
  'codec-none': codec(CompressionTypes.None),
  'codec-gzip': codec(CompressionTypes.GZIP),
  'codec-snappy': codec(CompressionTypes.Snappy),
  'codec-lz4': codec(CompressionTypes.LZ4),
  'codec-zstd': codec(CompressionTypes.ZSTD),
  'acks-0': acks(0),
  'acks-1': acks(1),
  'acks-all': acks(-1),
  idempotent,
  keys,
  headers,
  tombstones,
  timestamps,
  'offsets-for-time': offsetsForTime,
  'record-1mb': record1mb,
  'record-too-large': recordTooLarge,
  seek,
  'auto-create': autoCreate,
  'group-two': group(2),
  'group-three': group(3),
  'commit-resume': commitResume,
  'admin-cluster': adminCluster,
  'admin-topics': adminTopics,
  'admin-configs': adminConfigs,
  'admin-partitions': adminPartitions,
  'admin-delete-records': adminDeleteRecords,
  'admin-groups': adminGroups,
}

const main = async () => {
  const [bootstrap, prefix, ...only] = process.argv.slice(2)
  if (!prefix) {
    console.error('usage: node cases.js BOOTSTRAP PREFIX [CASE...]')
    process.exit(2)
  }
  const zstd = await new Promise((resolve) => ZstdCodec.run((library) => resolve(new library.Simple())))
  CompressionCodecs[CompressionTypes.ZSTD] = plugIn((data) => zstd.compress(data), (data) => zstd.decompress(data))
  kafka = new Kafka({ clientId: 'compat', brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { initialRetryTime: 50, retries: 8 } })
  admin = kafka.admin()
  await admin.connect()
  for (const [name, body] of Object.entries(CASES)) {
    if (only.length && !only.includes(name)) continue
    const started = Date.now()
    let verdict = 'pass'
    let detail = ''
    let timer
    const tooLong = new Promise((_, reject) => (timer = setTimeout(() => reject(new Failure('not done after 90 s')), 90000)))
    try {
      await Promise.race([body(`${prefix}-${name}`), tooLong])
    } catch (e) {
      verdict = 'fail'
      detail = e instanceof Failure ? e.message : `${e.stack}`.slice(0, 400)
    }
    clearTimeout(timer)
    console.log(`${CLIENT} ${name} ${verdict} ${Date.now() - started} ms ${detail.replace(/\s+/g, ' ')}`)
  }
  process.exit(0)
}

main().catch((e) => {
  console.error(e)
  process.exit(1)
})
