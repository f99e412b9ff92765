import java.io.FileInputStream;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.text.Normalizer;
import java.time.Instant;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;

/**
 * The reference of the bench `stages`: what `route-cities` and `confirm` do to a good order, in
 * Kafka Streams. It looks only at the fields that it needs, where orderctl checks the whole order.
 *
 * Arguments: file of properties, step (route or confirm), topic read, prefix or topic written, and
 * the number of records after which it ends. Prints the records a second from the first record to
 * the last, so without the start of the virtual machine and without the last commit.
 */
public final class Stage {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final CountDownLatch done = new CountDownLatch(1);
    private final AtomicLong taken = new AtomicLong();
    private final long records;
    private volatile long first;
    private volatile long last;

    private Stage(long records) {
        this.records = records;
    }

    public static void main(String[] args) throws Exception {
        var properties = new Properties();
        try (var file = new FileInputStream(args[0])) {
            properties.load(file);
        }
        new Stage(Long.parseLong(args[4])).run(properties, args[1], args[2], args[3]);
    }

    private void run(Properties properties, String step, String from, String to) throws Exception {
        var builder = new StreamsBuilder();
        var bytes = Serdes.ByteArray();
        var orders = builder.stream(from, Consumed.with(bytes, bytes));
        if (step.equals("route")) {
            orders.processValues(() -> new Route(this))
                .to((key, value, context) -> Route.topic(to, context.headers()), Produced.with(bytes, bytes));
        } else {
            orders.processValues(() -> new Confirm(this)).to(to, Produced.with(bytes, bytes));
        }
        var streams = new KafkaStreams(builder.build(), properties);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
        });
        streams.start();
        done.await();
        streams.close();
        System.out.println(records / ((last - first) / 1e9));
    }

    private void count() {
        long number = taken.incrementAndGet();
        if (number == 1) {
            first = System.nanoTime();
        }
        if (number == records) {
            last = System.nanoTime();
            done.countDown();
        }
    }

    /** Puts the city, as it is written, into a header. */
    private static final class Route extends ContextualFixedKeyProcessor<byte[], byte[], byte[]> {
        private static final Map<String, String> SLUGS = new HashMap<>();
        private final Stage stage;

        Route(Stage stage) {
            this.stage = stage;
        }

        @Override
        public void process(FixedKeyRecord<byte[], byte[]> order) {
            try {
                String city = JSON.readTree(order.value()).path("customer").path("address").path("city").textValue();
                order.headers().add("city", city.getBytes(StandardCharsets.UTF_8));
            } catch (java.io.IOException error) {
                throw new java.io.UncheckedIOException(error);
            }
            context().forward(order);
            stage.count();
        }

        static String topic(String prefix, org.apache.kafka.common.header.Headers headers) {
            var city = new String(headers.lastHeader("city").value(), StandardCharsets.UTF_8);
            synchronized (SLUGS) {
                return prefix + SLUGS.computeIfAbsent(city, Route::slug);
            }
        }

        private static String slug(String city) {
            String composed = Normalizer.normalize(city.strip(), Normalizer.Form.NFC).toLowerCase(Locale.ROOT);
            String folded = Normalizer.normalize(composed, Normalizer.Form.NFC);
            String plain = Normalizer.normalize(folded, Normalizer.Form.NFKD).replaceAll("\\p{M}", "");
            String slug = plain.replaceAll("[^a-z0-9]+", "-").replaceAll("^-|-$", "");
            if (slug.equals(folded) && !slug.isEmpty()) {
                return slug;
            }
            try {
                var digest = MessageDigest.getInstance("SHA-256").digest(folded.getBytes(StandardCharsets.UTF_8));
                return (slug.isEmpty() ? "city" : slug) + "--" + HexFormat.of().formatHex(digest, 0, 12);
            } catch (java.security.NoSuchAlgorithmException error) {
                throw new IllegalStateException(error);
            }
        }
    }

    /** Adds price, total, payment and time. */
    private static final class Confirm extends ContextualFixedKeyProcessor<byte[], byte[], byte[]> {
        private final Stage stage;

        Confirm(Stage stage) {
            this.stage = stage;
        }

        @Override
        public void process(FixedKeyRecord<byte[], byte[]> record) {
            try {
                var order = (ObjectNode) JSON.readTree(record.value());
                var price = new BigDecimal(order.path("unit_price").asText());
                var quantity = BigDecimal.valueOf(order.path("quantity").longValue());
                var total = price.multiply(quantity).setScale(2, RoundingMode.HALF_EVEN);
                order.put("total_cost", total.toPlainString());
                order.put("currency", order.path("currency").asText("USD"));
                order.set("payment", payment(order.path("order_id").asText()));
                order.put("confirmed_at", Instant.now().toString());
                context().forward(record.withValue(JSON.writeValueAsBytes(order)));
            } catch (java.io.IOException | java.security.NoSuchAlgorithmException error) {
                throw new IllegalStateException(error);
            }
            stage.count();
        }

        private static JsonNode payment(String id) throws java.security.NoSuchAlgorithmException {
            var digest = MessageDigest.getInstance("SHA-256").digest(id.getBytes(StandardCharsets.UTF_8));
            var payment = JSON.createObjectNode();
            payment.put("status", "approved");
            payment.put("reference", "pay_" + HexFormat.of().formatHex(digest, 0, 16));
            return payment;
        }
    }
}
