import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

/** What kafka-clients 2.1.0 calls by other names than 4.3.1. */
final class Shim {
    static final String COOPERATIVE_ASSIGNOR = null;

    static OffsetAndMetadata committed(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition) {
        return consumer.committed(partition);
    }

    static TopicDescription describe(AdminClient admin, String topic) throws Exception {
        return admin.describeTopics(Collections.singleton(topic)).all().get().get(topic);
    }

    /** AlterConfigs replaces all of a topic's own settings, so a null value is an empty list. */
    static void alterConfig(AdminClient admin, ConfigResource resource, String name, String value) throws Exception {
        List<ConfigEntry> entries = new ArrayList<>();
        if (value != null) entries.add(new ConfigEntry(name, value));
        admin.alterConfigs(Collections.singletonMap(resource, new Config(entries))).all().get();
    }

    static void alterGroupOffset(AdminClient admin, String group, TopicPartition partition, long offset) {
        // AdminClient got this in 2.5.
    }
}
