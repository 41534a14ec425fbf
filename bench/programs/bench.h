/* What every benchmark program shares: the clock, errors, the start of both processes, the one number printed.
 *
 * A program takes its number of iterations first, times only its own loop with CLOCK_MONOTONIC, and prints the
 * nanoseconds of one iteration as the last line of its output. With BENCH_CHECKPOINTS=K in the environment it also
 * prints "@ DONE" after each K-th part, so that a watcher knows how far it is.
 */
#ifndef BENCH_H
#define BENCH_H

#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static inline void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "unexpected result");
    _exit(1);
}

static inline long check(long result, const char *what)
{
    if (result < 0)
        fail(what);
    return result;
}

/* For calls that must do exactly so much: a short count is a wrong result, not an errno. */
static inline void exactly(long result, long expected, const char *what)
{
    if (result == expected)
        return;
    if (result >= 0)
        errno = 0;
    fail(what);
}

static inline uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static long checkpoint_step, checkpoint_next = -1;

/* The number of iterations, argv[1]; `usage` is what the program takes. */
static inline long iterations(int argc, char **argv, int least, const char *usage)
{
    long n = argc > 1 ? atol(argv[1]) : 0;
    if (n < 1 || argc < least) {
        fprintf(stderr, "usage: %s %s\n", argv[0], usage);
        exit(2);
    }
    const char *parts = getenv("BENCH_CHECKPOINTS");
    if (parts && atol(parts) > 0 && n >= atol(parts))
        checkpoint_step = checkpoint_next = n / atol(parts);
    return n;
}

/* Call with the number of iterations done; costs one comparison where no checkpoints were asked for. */
static inline void checkpoint(long done)
{
    if (__builtin_expect(done == checkpoint_next, 0)) {
        checkpoint_next += checkpoint_step;
        printf("@ %ld\n", done);
        fflush(stdout);
    }
}

static inline void report(uint64_t elapsed, long n)
{
    printf("%.3f\n", (double)elapsed / (double)n);
    fflush(stdout);
}

/* The other process must have ended well too, or the number means nothing. */
static inline void reap(pid_t child)
{
    int status;
    check(waitpid(child, &status, 0), "waitpid");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "the other process ended with wait status %#x\n", (unsigned)status);
        exit(1);
    }
}

#endif
