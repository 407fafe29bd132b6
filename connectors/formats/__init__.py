"""Formats: bytes to typed records and back.

    formats.json(Flight)      JSON lines
    formats.csv(Flight)       CSV with a header row
    formats.text()            a line is a record
    formats.msgpack(Flight)   MessagePack, framed by length in files
    formats.raw()             bytes as they are
    formats.debezium(Flight)  changes of a database's rows, as JSON
    formats.arrow(Flight)     columns, for `files.arrow` and `files.parquet`

Of a broker's payloads, with or without a schema registry:

    formats.avro(Flight, registry="http://localhost:8081")
    formats.protobuf(FlightMessage, registry=...)
    formats.json_schema(Flight, registry=...)

A bad record never takes its neighbours with it.
"""

from .arrow_table import ArrowFormat, arrow
from .avro import avro
from .csv_lines import CsvFormat, csv
from .debezium import DebeziumFormat, debezium
from .format import Blocking, Decoded, Format, LineFormat, Part, RegisteredFormat, Undecodable, prepare
from .json_lines import JsonFormat, json
from .json_schema import json_schema
from .msgpack_frames import MsgpackFormat, msgpack
from .protobuf import protobuf
from .raw_bytes import RawFormat, raw
from .registered import Registered, Unregistered
from .schema_registry import SchemaRegistry, SchemaRegistryError
from .text_lines import TextFormat, text

__all__ = [
    "ArrowFormat",
    "Blocking",
    "CsvFormat",
    "DebeziumFormat",
    "Decoded",
    "Format",
    "JsonFormat",
    "LineFormat",
    "MsgpackFormat",
    "Part",
    "RawFormat",
    "Registered",
    "RegisteredFormat",
    "SchemaRegistry",
    "SchemaRegistryError",
    "TextFormat",
    "Undecodable",
    "Unregistered",
    "arrow",
    "avro",
    "csv",
    "debezium",
    "json",
    "json_schema",
    "msgpack",
    "prepare",
    "protobuf",
    "raw",
    "text",
]
