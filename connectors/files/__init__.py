"""Files as sources and sinks.

    files.lines(path, formats.json(Flight))     JSON lines, or any format of lines or payloads
    files.csv(path, Flight)                     CSV with a header row
    files.text(path)                            a line is a record
    files.parquet(path, Flight)                 Parquet (extra `arrow`)
    files.arrow(path, Flight)                   Arrow IPC (extra `arrow`)

A path is a file, a folder or a glob when reading, a folder when writing.
"""

from .files import Files, LineOptions, SinkOptions, TableOptions, arrow, csv, lines, parquet, text

__all__ = ["Files", "LineOptions", "SinkOptions", "TableOptions", "arrow", "csv", "lines", "parquet", "text"]
