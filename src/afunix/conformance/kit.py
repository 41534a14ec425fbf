"""All that cases are written with, for `from afunix.conformance.kit import *`."""

# ruff: noqa: F403, PLC0414
from __future__ import annotations

from afunix.abi.constants import *
from afunix.abi.message import build_control as build_control
from afunix.abi.message import cmsg_len as cmsg_len
from afunix.abi.message import cmsg_space as cmsg_space
from afunix.abi.structs import LINGER as LINGER
from afunix.abi.structs import TIMESPEC as TIMESPEC
from afunix.abi.structs import TIMEVAL as TIMEVAL
from afunix.abi.structs import pack_ucred as pack_ucred
from afunix.abi.structs import unpack_ucred as unpack_ucred
from afunix.conformance.case import ALL as ALL
from afunix.conformance.case import CONNECTED as CONNECTED
from afunix.conformance.case import DGRAM as DGRAM
from afunix.conformance.case import RECORDS as RECORDS
from afunix.conformance.case import SEQPACKET as SEQPACKET
from afunix.conformance.case import STREAM as STREAM
from afunix.conformance.case import case as case
from afunix.conformance.data_calls import creds as creds
from afunix.conformance.data_calls import rights as rights
from afunix.conformance.machine import BAD as BAD
from afunix.conformance.process import Process as Process
from afunix.conformance.results import *
