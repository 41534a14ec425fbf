"""The kernel itself, sans I/O: sockets, names, messages, ancillary data, wait queues."""
