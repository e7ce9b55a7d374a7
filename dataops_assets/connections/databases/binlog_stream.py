"""Asks MariaDB for the events of its log, as a replica does, up to the end that the log has now."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pymysql
from pymysql.constants import COMMAND

_FIRST_PLACE, _END_AT_THE_END, _NO_REPLICA = 4, 1, 0


class LogConnection(pymysql.Connection):  # type: ignore[misc]
    """A connection that can read the log. The driver has no public method that sends the command."""

    def events(self, position: str) -> Iterator[bytes]:
        """Yield the events after a position, which is the last GTID of each domain.

        Raises OperationalError with code 1236 if the log does not have the position any more.
        """
        with self.cursor() as cursor:
            cursor.execute(
                "SET @mariadb_slave_capability = 4, @master_binlog_checksum = @@global.binlog_checksum, "
                "@slave_connect_state = %s, @slave_gtid_strict_mode = 0, @slave_gtid_ignore_duplicates = 0",
                (position,),
            )
        asked = struct.pack("<IHI", _FIRST_PLACE, _END_AT_THE_END, _NO_REPLICA)
        self._execute_command(COMMAND.COM_BINLOG_DUMP, asked)
        while not (packet := self._read_packet()).is_eof_packet():
            yield packet.get_all_data()[1:]
