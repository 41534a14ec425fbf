/* 64 KiB writes one way over a stream socket pair between two processes. One iteration is one write of 64 KiB; the
 * clock stops when the reader has the last byte. */
#include "bench.h"

enum { SIZE = 65536 };
static char buffer[SIZE];

int main(int argc, char **argv)
{
    long n = iterations(argc, argv, 2, "N");
    int pair[2];
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
    memset(buffer, 'x', SIZE); /* both processes' pages exist before the clock starts */
    pid_t child = (pid_t)check(fork(), "fork");
    if (child == 0) {
        close(pair[0]);
        memset(buffer, 'y', SIZE);
        exactly(write(pair[1], "", 1), 1, "ready");
        exactly(read(pair[1], buffer, 1), 1, "go");
        for (long i = 0; i < n; i++)
            for (long done = 0; done < SIZE;)
                done += check(write(pair[1], buffer + done, (size_t)(SIZE - done)), "write");
        _exit(0);
    }
    close(pair[1]);
    exactly(read(pair[0], buffer, 1), 1, "ready");
    uint64_t start = now();
    exactly(write(pair[0], "", 1), 1, "go");
    for (long i = 0, had = 0; i < n; i++) {
        while (had < SIZE) {
            long got = check(read(pair[0], buffer, SIZE), "read");
            if (got == 0) {
                errno = 0;
                fail("early end of file");
            }
            had += got;
        }
        had -= SIZE;
        checkpoint(i + 1);
    }
    report(now() - start, n);
    reap(child);
}
