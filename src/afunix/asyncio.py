"""What asyncio lacks for AF_UNIX: streams, records and datagrams with descriptors and credentials.

The same on real sockets and on ours: sockets are made by the `socket` module in force, so they are the host's, and
under `afunix.patch` ours; any other socket can be given. The event loop is asyncio's own.

* `open_unix_connection` and `start_unix_server` are asyncio's, whose streams also have `send_fds` and `recv_fds`.
* `open_channel` and `start_channel_server` are for SOCK_SEQPACKET and SOCK_DGRAM: whole messages.
* `create_transport` puts a protocol on any AF_UNIX socket.
"""

from __future__ import annotations

from afunix.inproc.channels import Channel, open_channel, start_channel_server
from afunix.inproc.messages import Credentials, Message
from afunix.inproc.servers import Server
from afunix.inproc.streams import StreamReader, StreamWriter, open_unix_connection, start_unix_server
from afunix.inproc.transport import MessageProtocol, UnixTransport, create_transport

__all__ = [
    "Channel",
    "Credentials",
    "Message",
    "MessageProtocol",
    "Server",
    "StreamReader",
    "StreamWriter",
    "UnixTransport",
    "create_transport",
    "open_channel",
    "open_unix_connection",
    "start_channel_server",
    "start_unix_server",
]
