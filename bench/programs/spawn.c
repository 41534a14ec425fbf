/* Start-up: runs a command and waits for it, N times. One iteration is one run. This program itself always runs
 * natively; the system under measurement is part of the command. */
#include "bench.h"
#include <spawn.h>

extern char **environ;

int main(int argc, char **argv)
{
    long n = iterations(argc, argv, 3, "N COMMAND [ARGUMENT...]");
    uint64_t start = now();
    for (long i = 0; i < n; i++) {
        pid_t child;
        errno = posix_spawnp(&child, argv[2], NULL, NULL, argv + 2, environ);
        if (errno)
            fail(argv[2]);
        reap(child);
    }
    report(now() - start, n);
}
