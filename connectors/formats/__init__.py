"""Formats: bytes to typed records and back.

    formats.json(Flight)      JSON lines
    formats.csv(Flight)       CSV with a header row
    formats.text()            a line is a record
    formats.msgpack(Flight)   MessagePack, framed by length in files
    formats.arrow(Flight)     columns, for `files.arrow` and `files.parquet`

A bad record never takes its neighbours with it.
"""

from .arrow_table import ArrowFormat, arrow
from .csv_lines import CsvFormat, csv
from .format import Decoded, Format, LineFormat, Undecodable
from .json_lines import JsonFormat, json
from .msgpack_frames import MsgpackFormat, msgpack
from .text_lines import TextFormat, text

__all__ = [
    "ArrowFormat",
    "CsvFormat",
    "Decoded",
    "Format",
    "JsonFormat",
    "LineFormat",
    "MsgpackFormat",
    "TextFormat",
    "Undecodable",
    "arrow",
    "csv",
    "json",
    "msgpack",
    "text",
]
