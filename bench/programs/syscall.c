/* A system call that has nothing to do with files or sockets: getppid. One iteration is one call. */
#include "bench.h"
#include <sys/syscall.h>

int main(int argc, char **argv)
{
    long n = iterations(argc, argv, 2, "N");
    uint64_t start = now();
    for (long i = 0; i < n; i++)
        check(syscall(SYS_getppid), "getppid");
    report(now() - start, n);
}
