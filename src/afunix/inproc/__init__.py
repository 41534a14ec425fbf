"""AF_UNIX for the threads and tasks of this Python process."""
