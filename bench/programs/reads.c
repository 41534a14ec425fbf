/* read(2) of what is no socket: an ordinary file, read from its start again at its end, or a pipe filled beforehand
 * (only the reads are timed). One iteration is one read of SIZE bytes. */
#include "bench.h"
#include <fcntl.h>

static char buffer[1 << 20];

static uint64_t read_file(const char *path, long n, long size)
{
    int fd = (int)check(open(path, O_RDONLY), path);
    long whole = check(lseek(fd, 0, SEEK_END), "lseek") / size, left = 0;
    if (whole < 1)
        fail("the file is too small");
    uint64_t start = now();
    for (long i = 0; i < n; i++) {
        if (left == 0) {
            check(lseek(fd, 0, SEEK_SET), "lseek");
            left = whole;
        }
        left--;
        exactly(read(fd, buffer, (size_t)size), size, "read of the file");
    }
    return now() - start;
}

static uint64_t read_pipe(long n, long size)
{
    int ends[2];
    uint64_t elapsed = 0;
    check(pipe(ends), "pipe");
    fcntl(ends[1], F_SETPIPE_SZ, sizeof buffer); /* may be refused; then the turns are shorter */
    long capacity = check(fcntl(ends[1], F_GETPIPE_SZ), "F_GETPIPE_SZ");
    if (capacity > (long)sizeof buffer)
        capacity = sizeof buffer;
    for (long done = 0; done < n;) {
        long turn = capacity / size < n - done ? capacity / size : n - done;
        exactly(write(ends[1], buffer, (size_t)(turn * size)), turn * size, "write to the pipe");
        uint64_t start = now();
        for (long i = 0; i < turn; i++)
            exactly(read(ends[0], buffer, (size_t)size), size, "read of the pipe");
        elapsed += now() - start;
        done += turn;
    }
    return elapsed;
}

int main(int argc, char **argv)
{
    long n = iterations(argc, argv, 3, "N SIZE [FILE]"), size = atol(argv[2]);
    if (size < 1 || size > (long)sizeof buffer)
        fail("SIZE");
    report(argc > 3 ? read_file(argv[3], n, size) : read_pipe(n, size), n);
}
