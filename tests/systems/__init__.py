"""The systems that AF_UNIX exists for, one file each: what their users do, natively and under `afunix run`."""
