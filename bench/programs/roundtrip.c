/* One byte there and back between two processes over a socket pair; both block. One iteration is one round trip,
 * that is two messages. */
#include "bench.h"
#include <poll.h>

enum mode { READWRITE, SENDRECV, POLL, DGRAM };
static const char *const names[] = {"readwrite", "sendrecv", "poll", "dgram"};
static enum mode mode;

static inline void put(int fd, unsigned char byte)
{
    exactly(mode == SENDRECV ? send(fd, &byte, 1, 0) : write(fd, &byte, 1), 1, "write");
}

static inline unsigned char get(int fd)
{
    unsigned char byte;
    if (mode == POLL) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        exactly(poll(&ready, 1, -1), 1, "poll");
    }
    exactly(mode == SENDRECV ? recv(fd, &byte, 1, 0) : read(fd, &byte, 1), 1, "read");
    return byte;
}

static inline void there_and_back(int fd, long i)
{
    put(fd, (unsigned char)i);
    if (get(fd) != (unsigned char)i) {
        errno = 0;
        fail("echo");
    }
}

int main(int argc, char **argv)
{
    long n = iterations(argc, argv, 3, "N readwrite|sendrecv|poll|dgram"), warm = n / 20 + 1;
    while (mode <= DGRAM && strcmp(argv[2], names[mode]))
        mode++;
    if (mode > DGRAM)
        fail(argv[2]);
    int pair[2];
    check(socketpair(AF_UNIX, mode == DGRAM ? SOCK_DGRAM : SOCK_STREAM, 0, pair), "socketpair");
    pid_t child = (pid_t)check(fork(), "fork");
    if (child == 0) {
        close(pair[0]);
        for (long i = 0; i < warm + n; i++)
            put(pair[1], get(pair[1]));
        _exit(0);
    }
    close(pair[1]);
    for (long i = 0; i < warm; i++)
        there_and_back(pair[0], i);
    uint64_t start = now();
    for (long i = 0; i < n; i++) {
        there_and_back(pair[0], i);
        checkpoint(i + 1);
    }
    report(now() - start, n);
    reap(child);
}
