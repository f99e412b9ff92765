-- The id of the topic that the position is of, as Kafka's tools print it: a
-- topic that was deleted and created again has another one. Null for brokers
-- that give topics no ids.

alter table {schema}.ledger_position add column topic_id text;
