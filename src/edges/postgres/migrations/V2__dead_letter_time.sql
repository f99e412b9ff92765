-- A topic that was deleted and made anew has other records at the same offsets;
-- their times tell them apart.

alter table {schema}.dead_letter
    drop constraint dead_letter_group_name_topic_partition_offset_key,
    add unique (group_name, topic, partition, "offset", record_time);
