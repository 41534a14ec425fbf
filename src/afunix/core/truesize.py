"""What a message costs its sender: the size of the buffers that Linux allocates for it, not of its payload.

SO_SNDBUF limits this sum (DATA-9). The rules are those of `alloc_skb_with_frags` and `__alloc_skb`
(net/core/skbuff.c) on 4 KiB pages, as unix_stream_sendmsg and unix_dgram_sendmsg call them; the constants were read
off a 6.18 kernel with SIOCOUTQ, for every size up to 70,000 bytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

__all__ = ["STREAM_CHUNK", "datagram", "stream"]

PAGE: Final = 4096
SHARED_INFO: Final = 320
"""sizeof(struct skb_shared_info), rounded up to a cache line: it stands behind the data in the same allocation."""
SK_BUFF: Final = 256
"""sizeof(struct sk_buff), rounded up to a cache line."""
LINEAR_PAGE: Final = PAGE - SHARED_INFO
"""SKB_MAX_HEAD(0): payload of a buffer of one page."""
LINEAR_MAX: Final = 4 * PAGE - SHARED_INFO
"""SKB_MAX_ALLOC: payload that a datagram keeps in one piece of memory."""
FRAGMENTS: Final = 32768
"""UNIX_SKB_FRAGS_SZ: bytes of one stream buffer that stand in separate pages."""
MAX_FRAGMENTS: Final = 17
"""MAX_SKB_FRAGS: pages beside the linear part of one buffer."""
STREAM_CHUNK: Final = LINEAR_PAGE + FRAGMENTS
"""The longest buffer that unix_stream_sendmsg makes; a longer send is several buffers."""


def _page_align(size: int) -> int:
    return (size + PAGE - 1) & -PAGE


def _linear(size: int) -> int:
    """Truesize of a buffer whose payload is all linear: the allocation is rounded up to a power of two."""
    needed = ((size + 63) & -64) + SHARED_INFO
    return (1 << (needed - 1).bit_length()) + SK_BUFF


@lru_cache(maxsize=1024)
def stream(size: int) -> int:
    """Truesize in bytes of one stream buffer of `size` bytes (at most STREAM_CHUNK)."""
    if size <= 192:
        return 768
    if size <= LINEAR_PAGE:
        return _linear(size)
    paged = min(size, _page_align(size - LINEAR_PAGE))
    return _linear(size - paged) + _page_align(paged)


def datagram(size: int) -> int:
    """Truesize in bytes of a datagram or record of `size` bytes."""
    if size <= 192:
        return 768
    if size <= LINEAR_MAX:
        return _linear(size)
    paged = _page_align(min(size - LINEAR_MAX, MAX_FRAGMENTS * PAGE))
    return _linear(size - paged) + paged
