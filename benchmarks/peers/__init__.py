"""What a Python programmer would take otherwise, one file per contender: the client libraries themselves, whose files have
`read` and `write`, and engines that read from Kafka and write to it, whose files have `stateless` and `window`. They have
the same records, the same topics and the same results. Others read a file and write files: they have `window` and
`function`, and the engine, the loop and two engines for batches stand beside them. Each is used as its own documentation says,
with the settings that make it fastest here."""
