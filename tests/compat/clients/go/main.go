// The cases of tests/compat/README.md with franz-go.
//
// Usage: cases BOOTSTRAP PREFIX [CASE...]; one line `client case pass|fail|n/a detail` each.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	client = "franz-go"
	wait   = 30 * time.Second
	// Without key and headers: exactly Kafka's default max.message.bytes.
	largestValue = 1048588 - 61 - 11
)

var bootstrap string

type failure struct{ text string }

func check(holds bool, format string, arguments ...any) {
	if !holds {
		panic(failure{fmt.Sprintf(format, arguments...)})
	}
}

func must(err error) {
	if err != nil {
		panic(failure{err.Error()})
	}
}

func until(question func() bool, otherwise func() string) {
	for deadline := time.Now().Add(wait); !question(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			panic(failure{otherwise()})
		}
	}
}

func refused(with error, got error) {
	check(got != nil, "not refused with %v", with)
	check(errors.Is(got, with), "refused with %v instead of %v", got, with)
}

func limit() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), wait)
}

func connect(options ...kgo.Opt) *kgo.Client {
	made, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap)}, options...)...)
	must(err)
	return made
}

func admin() *kadm.Client { return kadm.NewClient(connect()) }

func create(topic string, partitions int32, settings ...string) {
	must(tryCreate(topic, partitions, settings...))
}

func tryCreate(topic string, partitions int32, settings ...string) error {
	a := admin()
	defer a.Close()
	values := map[string]*string{}
	for i := 0; i < len(settings); i += 2 {
		values[settings[i]] = &settings[i+1]
	}
	ctx, cancel := limit()
	defer cancel()
	answer, err := a.CreateTopic(ctx, partitions, 1, values, topic)
	if err != nil {
		return err
	}
	return answer.Err
}

// pattern gives bytes that differ from record to record; every codec makes them smaller, none makes them vanish.
func pattern(seed, length int) []byte {
	state, out := uint32(seed)*2654435761+1, make([]byte, length)
	for i := range out {
		out[i] = byte(i)
		if i%16 == 0 {
			state = state*1664525 + 1013904223
			out[i] = byte(state >> 24)
		}
	}
	return out
}

func someRecords(topic string, partitions, count, longest int) []*kgo.Record {
	return recordsBetween(topic, partitions, count, 0, longest)
}

func recordsBetween(topic string, partitions, count, shortest, longest int) []*kgo.Record {
	now := time.Now().UnixMilli()
	var out []*kgo.Record
	for i := range count {
		record := &kgo.Record{
			Topic: topic, Partition: int32(i % partitions), Value: pattern(i, shortest+(i*37)%(longest+1-shortest)),
			Timestamp: time.UnixMilli(now + int64(i)), Headers: []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}},
		}
		if i%7 != 0 {
			record.Key = fmt.Appendf(nil, "key-%d", i)
		}
		out = append(out, record)
	}
	return out
}

// send produces in order and checks that acknowledged offsets count up from `first` in each partition.
func send(records []*kgo.Record, first int64, options ...kgo.Opt) {
	must(trySend(records, first, options...))
}

func trySend(records []*kgo.Record, first int64, options ...kgo.Opt) error {
	defaults := []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5 * time.Millisecond), kgo.ProducerBatchMaxBytes(10_000_000), kgo.ProducerBatchCompression(kgo.NoCompression())}
	c := connect(append(defaults, options...)...)
	defer c.Close()
	ctx, cancel := limit()
	defer cancel()
	results := c.ProduceSync(ctx, records...)
	next := map[int32]int64{}
	for _, result := range results {
		if result.Err != nil {
			return result.Err
		}
	}
	for _, record := range records {
		if record.Offset < 0 { // acks=0
			continue
		}
		expected := first + next[record.Partition]
		check(record.Offset == expected, "acknowledged offset %d, expected %d, partition %d", record.Offset, expected, record.Partition)
		next[record.Partition]++
	}
	return nil
}

func readAll(topic string, partitions, count int, options ...kgo.Opt) map[int32][]*kgo.Record {
	return readFrom(topic, partitions, count, kgo.NewOffset().AtStart(), options...)
}

func readFrom(topic string, partitions, count int, at kgo.Offset, options ...kgo.Opt) map[int32][]*kgo.Record {
	places := map[int32]kgo.Offset{}
	for p := range partitions {
		places[int32(p)] = at
	}
	c := connect(append(options, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: places}))...)
	defer c.Close()
	found, seen := map[int32][]*kgo.Record{}, 0
	poll := func(ctx context.Context) {
		fetches := c.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			check(errors.Is(e.Err, context.DeadlineExceeded), "fetch of %s-%d: %v", e.Topic, e.Partition, e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			found[r.Partition] = append(found[r.Partition], r)
			seen++
		})
	}
	ctx, cancel := limit()
	for seen < count && ctx.Err() == nil {
		poll(ctx)
	}
	cancel()
	ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
	poll(ctx)
	cancel()
	check(seen == count, "read %d records, expected %d", seen, count)
	return found
}

func compare(sent, got *kgo.Record) {
	where := fmt.Sprintf("%s-%d@%d", got.Topic, got.Partition, got.Offset)
	check(bytes.Equal(sent.Key, got.Key) && (sent.Key == nil) == (got.Key == nil), "key differs at %s", where)
	check(bytes.Equal(sent.Value, got.Value) && (sent.Value == nil) == (got.Value == nil), "value differs at %s", where)
	check(len(sent.Headers) == len(got.Headers), "%d headers, sent %d, at %s", len(got.Headers), len(sent.Headers), where)
	for i, h := range sent.Headers {
		same := h.Key == got.Headers[i].Key && bytes.Equal(h.Value, got.Headers[i].Value) && (h.Value == nil) == (got.Headers[i].Value == nil)
		check(same, "header %d differs at %s", i, where)
	}
	if !sent.Timestamp.IsZero() {
		check(sent.Timestamp.UnixMilli() == got.Timestamp.UnixMilli(), "timestamp %v, sent %v, at %s", got.Timestamp, sent.Timestamp, where)
		check(got.Attrs.TimestampType() == 0, "timestamp type %d at %s", got.Attrs.TimestampType(), where)
	}
}

func same(records []*kgo.Record, found map[int32][]*kgo.Record) {
	next := map[int32]int{}
	for _, record := range records {
		i := next[record.Partition]
		next[record.Partition]++
		check(i < len(found[record.Partition]), "partition %d has too few records", record.Partition)
		got := found[record.Partition][i]
		check(got.Offset == int64(i), "offset %d, expected %d", got.Offset, i)
		compare(record, got)
	}
}

func roundTrip(topic string, partitions int, records []*kgo.Record, options ...kgo.Opt) {
	send(records, 0, options...)
	same(records, readAll(topic, partitions, len(records)))
}

// ---------------------------------------------------------------- producing and consuming

func codec(which kgo.CompressionCodec) func(string) {
	return func(topic string) {
		create(topic, 3)
		// The client stores a batch as it is where the codec makes it no smaller: each record must be worth compressing, should it be alone in its batch.
		roundTrip(topic, 3, recordsBetween(topic, 3, 400, 1000, 2400), kgo.ProducerBatchCompression(which), kgo.ProducerLinger(20*time.Millisecond))
	}
}

// served waits until the leaders answer: without acknowledgements nobody hears that one was not ready for its new partition yet.
func served(topic string) {
	a := admin()
	defer a.Close()
	until(func() bool {
		ctx, cancel := limit()
		defer cancel()
		ends, err := a.ListEndOffsets(ctx, topic)
		return err == nil && ends.Error() == nil
	}, func() string { return "the partitions are not served" })
}

func acks(options ...kgo.Opt) func(string) {
	return func(topic string) {
		create(topic, 3)
		served(topic)
		roundTrip(topic, 3, someRecords(topic, 3, 300, 500), options...)
		readAll(topic, 3, 300, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
}

func idempotent(topic string) {
	create(topic, 2)
	roundTrip(topic, 2, someRecords(topic, 2, 3000, 200), kgo.ProducerBatchMaxBytes(2000))
}

func keys(topic string) {
	create(topic, 4)
	choice := [][]byte{[]byte("a"), {}, []byte("ä世🧵"), pattern(1, 1), pattern(2, 255), pattern(3, 10_000), {0, 255, 0, 255}}
	var records []*kgo.Record
	for i := range 140 {
		records = append(records, &kgo.Record{Topic: topic, Key: choice[i%len(choice)], Value: fmt.Appendf(nil, "value-%d", i)})
	}
	for i := range 20 {
		records = append(records, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "no key %d", i)})
	}
	roundTrip(topic, 4, records, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	homes := map[string]map[int32]bool{}
	for partition, list := range readAll(topic, 4, len(records)) {
		for _, record := range list {
			if record.Key != nil {
				if homes[string(record.Key)] == nil {
					homes[string(record.Key)] = map[int32]bool{}
				}
				homes[string(record.Key)][partition] = true
			}
		}
	}
	check(len(homes) == len(choice), "distinct keys read: %d", len(homes))
	for _, home := range homes {
		check(len(home) == 1, "one key in partitions %v", home)
	}
}

func headers(topic string) {
	create(topic, 1)
	var many []kgo.RecordHeader
	for i := range 100 {
		many = append(many, kgo.RecordHeader{Key: fmt.Sprintf("h%d", i%10), Value: pattern(i, i)})
	}
	sets := [][]kgo.RecordHeader{
		nil, {{Key: "one", Value: []byte("1")}},
		{{Key: "twice", Value: []byte("a")}, {Key: "twice", Value: []byte("b")}, {Key: "twice", Value: []byte("a")}},
		{{Key: "null"}, {Key: "empty", Value: []byte{}}, {Key: "", Value: []byte("no name")}},
		{{Key: "ünicöde-世", Value: pattern(5, 3000)}}, many,
	}
	var records []*kgo.Record
	for _, set := range sets {
		records = append(records, &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("v"), Headers: set})
	}
	roundTrip(topic, 1, records)
}

func tombstones(topic string) {
	create(topic, 1, "cleanup.policy", "compact")
	var records []*kgo.Record
	for i := range 30 {
		value := [][]byte{nil, {}, fmt.Appendf(nil, "v%d", i)}[i%3]
		records = append(records, &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "k%d", i%5), Value: value})
	}
	roundTrip(topic, 1, records)
	refused(kerr.InvalidRecord, trySend([]*kgo.Record{{Topic: topic, Value: []byte("no key")}}, 30))
	readAll(topic, 1, 30)
}

func timestamps(topic string) {
	create(topic, 1)
	now := time.Now().UnixMilli()
	var records []*kgo.Record
	for _, at := range []int64{now, now - 1000, 0, 1, now - 86_400_000*30, now + 60_000, now, 1_500_000_000_123} {
		records = append(records, &kgo.Record{Topic: topic, Key: []byte("k"), Value: fmt.Append(nil, at), Timestamp: time.UnixMilli(at)})
	}
	roundTrip(topic, 1, records, kgo.ProducerLinger(50*time.Millisecond))
	appended := topic + "-appended"
	create(appended, 1, "message.timestamp.type", "LogAppendTime")
	before := time.Now()
	send([]*kgo.Record{{Topic: appended, Value: []byte("v"), Timestamp: time.UnixMilli(12345)}, {Topic: appended, Value: []byte("w"), Timestamp: time.UnixMilli(12346)}}, 0, kgo.ProducerBatchCompression(kgo.GzipCompression()))
	for _, record := range readAll(appended, 1, 2)[0] {
		check(record.Attrs.TimestampType() == 1, "timestamp type %d", record.Attrs.TimestampType())
		check(record.Timestamp.After(before.Add(-2*time.Second)) && record.Timestamp.Before(time.Now().Add(2*time.Second)), "append time %v", record.Timestamp)
	}
}

func offsetsForTime(topic string) {
	create(topic, 1)
	base := int64(1_700_000_000_000)
	var records []*kgo.Record
	for i := range 100 {
		records = append(records, &kgo.Record{Topic: topic, Key: []byte("k"), Value: pattern(i, 300), Timestamp: time.UnixMilli(base + int64(i)*1000)})
	}
	send(records, 0, kgo.ProducerBatchMaxBytes(2000), kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	a := admin()
	defer a.Close()
	ctx, cancel := limit()
	defer cancel()
	for _, question := range [][2]int64{{base, 0}, {base + 1, 1}, {base + 41_000, 41}, {base + 41_001, 42}, {0, 0}, {base + 99_000, 99}, {base + 99_001, 100}} {
		// kadm answers with the end where nothing is later.
		listed, err := a.ListOffsetsAfterMilli(ctx, question[0], topic)
		must(err)
		got, _ := listed.Lookup(topic, 0)
		must(got.Err)
		check(got.Offset == question[1], "offset for base%+d is %d, expected %d", question[0]-base, got.Offset, question[1])
	}
	starts, err := a.ListStartOffsets(ctx, topic)
	must(err)
	ends, err := a.ListEndOffsets(ctx, topic)
	must(err)
	start, _ := starts.Lookup(topic, 0)
	end, _ := ends.Lookup(topic, 0)
	check(start.Offset == 0 && end.Offset == 100, "from %d to %d", start.Offset, end.Offset)
	latest, err := a.ListMaxTimestampOffsets(ctx, topic)
	must(err)
	last, _ := latest.Lookup(topic, 0)
	check(last.Err == nil && last.Offset == 99 && last.Timestamp == base+99_000, "offset of the largest timestamp %+v", last)
}

func record1mb(topic string) {
	create(topic, 1)
	var records []*kgo.Record
	for i := range 4 {
		records = append(records, &kgo.Record{Topic: topic, Value: pattern(i, largestValue-i%2)})
	}
	c := connect(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(10_000_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer c.Close()
	for _, record := range records { // one by one: one batch each
		ctx, cancel := limit()
		must(c.ProduceSync(ctx, record).FirstErr())
		cancel()
	}
	same(records, readAll(topic, 1, 4))
}

func recordTooLarge(topic string) {
	create(topic, 1)
	var kept []*kgo.Record
	for i, length := range []int{largestValue + 1, 2_000_000} {
		refused(kerr.MessageTooLarge, trySend([]*kgo.Record{{Topic: topic, Value: pattern(1, length)}}, 0))
		kept = append(kept, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "after %d", length)})
		send(kept[i:], int64(i))
	}
	same(kept, readAll(topic, 1, 2))
	small := topic + "-small"
	create(small, 1, "max.message.bytes", "20000")
	refused(kerr.MessageTooLarge, trySend([]*kgo.Record{{Topic: small, Value: pattern(1, 30_000)}}, 0))
	send([]*kgo.Record{{Topic: small, Value: pattern(1, 19_000)}}, 0)
	readAll(small, 1, 1)
}

func seek(topic string) {
	create(topic, 1)
	records := someRecords(topic, 1, 500, 200)
	send(records, 0, kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerLinger(50*time.Millisecond))
	for _, offset := range []int64{499, 0, 123, 7, 250} {
		found := readFrom(topic, 1, 500-int(offset), kgo.NewOffset().At(offset))[0]
		check(found[0].Offset == offset, "after seek to %d came %d", offset, found[0].Offset)
		compare(records[offset], found[0])
	}
}

func autoCreate(topic string) {
	var records []*kgo.Record
	for i := range 10 {
		records = append(records, &kgo.Record{Topic: topic, Key: []byte("k"), Value: fmt.Appendf(nil, "v%d", i)})
	}
	roundTrip(topic, 1, records, kgo.AllowAutoTopicCreation())
}

// ---------------------------------------------------------------- groups

// member reads on its own goroutine and commits after every poll.
type member struct {
	client   *kgo.Client
	lock     sync.Mutex
	assigned map[int32]bool
	read     []string
	failed   error
	cancel   context.CancelFunc
	done     chan struct{}
}

func join(topic, group string, balancer kgo.GroupBalancer) *member {
	m := &member{assigned: map[int32]bool{}, done: make(chan struct{})}
	change := func(add bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, places map[string][]int32) {
			m.lock.Lock()
			defer m.lock.Unlock()
			for _, partition := range places[topic] {
				if add {
					m.assigned[partition] = true
				} else {
					delete(m.assigned, partition)
				}
			}
		}
	}
	m.client = connect(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(balancer), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(300*time.Millisecond),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)))
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go func() {
		defer close(m.done)
		for ctx.Err() == nil {
			short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
			fetches := m.client.PollRecords(short, 50)
			stop()
			var batch []string
			fetches.EachRecord(func(r *kgo.Record) { batch = append(batch, fmt.Sprintf("%d@%d", r.Partition, r.Offset)) })
			if len(batch) > 0 {
				if err := m.client.CommitRecords(context.Background(), fetches.Records()...); err != nil {
					m.lock.Lock()
					m.failed = err
					m.lock.Unlock()
				}
				m.lock.Lock()
				m.read = append(m.read, batch...)
				m.lock.Unlock()
			}
			m.client.AllowRebalance()
		}
		m.client.CloseAllowingRebalance()
	}()
	return m
}

func (m *member) leave() {
	m.cancel()
	select {
	case <-m.done:
	case <-time.After(wait):
		panic(failure{"a member does not stop"})
	}
	check(m.failed == nil, "member failed: %v", m.failed)
}

func (m *member) partitions() []int {
	m.lock.Lock()
	defer m.lock.Unlock()
	var list []int
	for partition := range m.assigned {
		list = append(list, int(partition))
	}
	sort.Ints(list)
	return list
}

func balanced(members []*member, partitions int) {
	var seen string
	until(func() bool {
		union, even := map[int]bool{}, true
		seen = ""
		for _, m := range members {
			mine := m.partitions()
			seen += fmt.Sprint(mine)
			even = even && len(mine) == partitions/len(members)
			for _, partition := range mine {
				union[partition] = true
			}
		}
		return even && len(union) == partitions
	}, func() string { return fmt.Sprintf("assignment of %d partitions stays at %s", partitions, seen) })
}

func collected(members []*member, count int) {
	var all []string
	gather := func() int {
		all = nil
		for _, m := range members {
			m.lock.Lock()
			all = append(all, m.read...)
			m.lock.Unlock()
		}
		return len(all)
	}
	until(func() bool { return gather() >= count }, func() string { return fmt.Sprintf("members read %d of %d", len(all), count) })
	total := gather()
	slices.Sort(all)
	distinct := len(slices.Compact(all))
	check(total == count && distinct == count, "members read %d records, %d distinct, expected %d", total, distinct, count)
}

func committed(a *kadm.Client, group, topic string, partition int32) int64 {
	ctx, cancel := limit()
	defer cancel()
	offsets, err := a.FetchOffsets(ctx, group)
	must(err)
	at, found := offsets.Lookup(topic, partition)
	if !found {
		return -1
	}
	return at.At
}

func group(size int, balancer func() kgo.GroupBalancer) func(string) {
	return func(topic string) {
		partitions := 6
		create(topic, int32(partitions))
		members := []*member{join(topic, topic, balancer())}
		balanced(members, partitions)
		for len(members) < size {
			members = append(members, join(topic, topic, balancer()))
		}
		balanced(members, partitions)
		send(someRecords(topic, partitions, 600, 100), 0)
		collected(members, 600)
		members[0].leave()
		balanced(members[1:], partitions)
		send(someRecords(topic, partitions, 600, 100), 100)
		collected(members, 1200)
		for _, m := range members[1:] {
			m.leave()
		}
		a := admin()
		defer a.Close()
		for partition := range partitions {
			at := committed(a, topic, topic, int32(partition))
			check(at == 200, "committed offset of partition %d is %d", partition, at)
		}
	}
}

func commitResume(topic string) {
	create(topic, 2)
	records := someRecords(topic, 2, 200, 100)
	send(records, 0)
	m := join(topic, topic, kgo.RangeBalancer())
	collected([]*member{m}, 200)
	m.leave()
	a := admin()
	defer a.Close()
	check(committed(a, topic, topic, 0) == 100, "position was not committed")
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: 40, LeaderEpoch: -1, Metadata: "forty"})
	offsets.Add(kadm.Offset{Topic: topic, Partition: 1, At: 60, LeaderEpoch: -1})
	ctx, cancel := limit()
	defer cancel()
	must(a.CommitAllOffsets(ctx, topic, offsets))
	fetched, err := a.FetchOffsets(ctx, topic)
	must(err)
	at, _ := fetched.Lookup(topic, 0)
	check(at.At == 40 && at.Metadata == "forty", "committed %+v", at)
	check(committed(a, topic+"-other", topic, 0) == -1, "a group that never committed has an offset")
	m = join(topic, topic, kgo.RangeBalancer())
	collected([]*member{m}, 100)
	m.leave()
	check(slices.Contains(m.read, "0@40") && slices.Contains(m.read, "1@60") && !slices.Contains(m.read, "0@39"), "resumed with %v", m.read[:3])
	same(records, readAll(topic, 2, 200))
}

// ---------------------------------------------------------------- admin

func adminCluster(topic string) {
	a := admin()
	defer a.Close()
	ctx, cancel := limit()
	defer cancel()
	metadata, err := a.BrokerMetadata(ctx)
	must(err)
	check(len(metadata.Brokers) > 0 && metadata.Cluster != "", "brokers %v, cluster %q", metadata.Brokers, metadata.Cluster)
	check(slices.Contains(metadata.Brokers.NodeIDs(), metadata.Controller), "controller %d is not one of %v", metadata.Controller, metadata.Brokers.NodeIDs())
}

func adminTopics(topic string) {
	a := admin()
	defer a.Close()
	ctx, cancel := limit()
	defer cancel()
	create(topic, 4, "retention.ms", "1234567")
	listed, err := a.ListTopics(ctx)
	must(err)
	check(listed.Has(topic) && len(listed[topic].Partitions) == 4, "created topic is listed as %v", listed[topic])
	for _, partition := range listed[topic].Partitions {
		leader := []int32{partition.Leader}
		check(slices.Equal(partition.Replicas, leader) && slices.Equal(partition.ISR, leader), "partition %+v", partition)
	}
	refused(kerr.TopicAlreadyExists, tryCreate(topic, 1))
	refused(kerr.InvalidTopicException, tryCreate("a b", 1))
	answer, err := a.DeleteTopic(ctx, topic)
	must(err)
	must(answer.Err)
	until(func() bool { listed, err := a.ListTopics(ctx); must(err); return !listed.Has(topic) }, func() string { return "deleted topic is still listed" })
	answer, err = a.DeleteTopic(ctx, topic)
	if err == nil {
		err = answer.Err
	}
	refused(kerr.UnknownTopicOrPartition, err)
	create(topic, 1)
	roundTrip(topic, 1, someRecords(topic, 1, 10, 10))
}

func adminConfigs(topic string) {
	a := admin()
	defer a.Close()
	ctx, cancel := limit()
	defer cancel()
	create(topic, 1)
	expect := func(value, source string) {
		var seen string
		until(func() bool {
			described, err := a.DescribeTopicConfigs(ctx, topic)
			must(err)
			one, err := described.On(topic, nil)
			must(err)
			for _, config := range one.Configs {
				if config.Key == "retention.ms" {
					seen = config.MaybeValue() + " " + config.Source.String()
				}
			}
			return seen == value+" "+source
		}, func() string { return "retention.ms is " + seen })
	}
	alter := func(op kadm.IncrementalOp, value string) error {
		setting := kadm.AlterConfig{Op: op, Name: "retention.ms", Value: &value}
		if op == kadm.DeleteConfig {
			setting.Value = nil
		}
		answers, err := a.AlterTopicConfigs(ctx, []kadm.AlterConfig{setting}, topic)
		must(err)
		one, err := answers.On(topic, nil)
		if err != nil {
			return err
		}
		return one.Err
	}
	expect("604800000", "DEFAULT_CONFIG")
	must(alter(kadm.SetConfig, "3600000"))
	expect("3600000", "DYNAMIC_TOPIC_CONFIG")
	refused(kerr.InvalidConfig, alter(kadm.SetConfig, "-7"))
	expect("3600000", "DYNAMIC_TOPIC_CONFIG")
	must(alter(kadm.DeleteConfig, ""))
	expect("604800000", "DEFAULT_CONFIG")
}

func adminPartitions(topic string) {
	a := admin()
	defer a.Close()
	ctx, cancel := limit()
	defer cancel()
	create(topic, 2)
	send(someRecords(topic, 2, 20, 20), 0)
	grow := func(total int) error {
		answers, err := a.UpdatePartitions(ctx, total, topic)
		must(err)
		one, err := answers.On(topic, nil)
		if err != nil {
			return err
		}
		return one.Err
	}
	must(grow(5))
	until(func() bool {
		listed, err := a.ListTopics(ctx, topic)
		must(err)
		return len(listed[topic].Partitions) == 5
	}, func() string { return "still not 5 partitions" })
	refused(kerr.InvalidPartitions, grow(3))
	var late []*kgo.Record
	for i := range 30 {
		late = append(late, &kgo.Record{Topic: topic, Partition: int32(2 + i%3), Key: []byte("k"), Value: fmt.Appendf(nil, "late %d", i)})
	}
	send(late, 0)
	same(late, readAll(topic, 5, 50))
}

func adminDeleteRecords(topic string) {
	a := admin()
	defer a.Close()
	ctx, cancel := limit()
	defer cancel()
	create(topic, 1)
	records := someRecords(topic, 1, 100, 50)
	send(records, 0, kgo.ProducerBatchMaxBytes(1000))
	erase := func(before int64) (int64, error) {
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: before})
		answers, err := a.DeleteRecords(ctx, offsets)
		must(err)
		one, _ := answers.Lookup(topic, 0)
		return one.LowWatermark, one.Err
	}
	low, err := erase(40)
	must(err)
	check(low == 40, "low watermark %d", low)
	for i, record := range readAll(topic, 1, 60)[0] {
		check(record.Offset == int64(40+i), "offset %d", record.Offset)
		compare(records[40+i], record)
	}
	_, err = erase(101)
	refused(kerr.OffsetOutOfRange, err)
	low, err = erase(-1)
	must(err)
	check(low == 100, "low watermark after deleting all %d", low)
}

func adminGroups(topic string) {
	a := admin()
	defer a.Close()
	ctx, cancel := limit()
	defer cancel()
	create(topic, 2)
	send(someRecords(topic, 2, 20, 20), 0)
	m := join(topic, topic, kgo.RangeBalancer())
	balanced([]*member{m}, 2)
	collected([]*member{m}, 20)
	listed, err := a.ListGroups(ctx)
	must(err)
	check(slices.Contains(listed.Groups(), topic), "group is not listed")
	describe := func() kadm.DescribedGroup {
		described, err := a.DescribeGroups(ctx, topic)
		must(err)
		must(described[topic].Err)
		return described[topic]
	}
	one := describe()
	assigned := one.AssignedPartitions()
	check(one.State == "Stable" && len(one.Members) == 1 && len(assigned[topic]) == 2, "group is %s with %d members, %v", one.State, len(one.Members), assigned)
	remove := func() error {
		answers, err := a.DeleteGroups(ctx, topic)
		must(err)
		return answers[topic].Err
	}
	refused(kerr.NonEmptyGroup, remove())
	m.leave()
	until(func() bool { return describe().State == "Empty" }, func() string { return "group does not become empty" })
	for partition := range 2 {
		check(committed(a, topic, topic, int32(partition)) == 10, "committed offset of partition %d", partition)
	}
	places := kadm.TopicsSet{}
	places.Add(topic, 1)
	erased, err := a.DeleteOffsets(ctx, topic, places)
	must(err)
	must(erased.Error())
	check(committed(a, topic, topic, 1) == -1, "deleted offset is still there")
	must(remove())
	listed, err = a.ListGroups(ctx)
	must(err)
	check(!slices.Contains(listed.Groups(), topic), "deleted group is listed")
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: cases BOOTSTRAP PREFIX [CASE...]")
		os.Exit(2)
	}
	bootstrap = os.Args[1]
	plain := kgo.DisableIdempotentWrite()
	cases := []struct {
		name string
		body func(string)
	}{
		{"codec-none", codec(kgo.NoCompression())}, {"codec-gzip", codec(kgo.GzipCompression())}, {"codec-snappy", codec(kgo.SnappyCompression())},
		{"codec-lz4", codec(kgo.Lz4Compression())}, {"codec-zstd", codec(kgo.ZstdCompression())},
		{"acks-0", acks(plain, kgo.RequiredAcks(kgo.NoAck()))}, {"acks-1", acks(plain, kgo.RequiredAcks(kgo.LeaderAck()))}, {"acks-all", acks(plain, kgo.RequiredAcks(kgo.AllISRAcks()))},
		{"idempotent", idempotent}, {"keys", keys}, {"headers", headers}, {"tombstones", tombstones}, {"timestamps", timestamps},
		{"offsets-for-time", offsetsForTime}, {"record-1mb", record1mb}, {"record-too-large", recordTooLarge}, {"seek", seek}, {"auto-create", autoCreate},
		{"group-two", group(2, kgo.RangeBalancer)}, {"group-three", group(3, kgo.CooperativeStickyBalancer)}, {"commit-resume", commitResume},
		{"admin-cluster", adminCluster}, {"admin-topics", adminTopics}, {"admin-configs", adminConfigs}, {"admin-partitions", adminPartitions},
		{"admin-delete-records", adminDeleteRecords}, {"admin-groups", adminGroups},
	}
	for _, one := range cases {
		if len(os.Args) > 3 && !slices.Contains(os.Args[3:], one.name) {
			continue
		}
		started := time.Now()
		outcome := make(chan string, 1)
		go func() {
			defer func() {
				switch e := recover().(type) {
				case nil:
					outcome <- ""
				case failure:
					outcome <- e.text
				default:
					outcome <- fmt.Sprint("panic: ", e)
				}
			}()
			one.body(os.Args[2] + "-" + one.name)
		}()
		verdict, detail := "pass", ""
		select {
		case detail = <-outcome:
		case <-time.After(90 * time.Second):
			detail = "not done after 90 s"
		}
		if detail != "" {
			verdict = "fail"
		}
		fmt.Println(client, one.name, verdict, time.Since(started).Milliseconds(), "ms", strings.Join(strings.Fields(detail), " "))
	}
}
