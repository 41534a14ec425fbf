/* Connections over a path between two processes. One iteration is socket, connect, end of file seen and close in the
 * client, accept and close in the server.
 *
 * The client waits for the server's close before it connects again: so every connection was accepted, and the backlog
 * is never full (some systems under comparison answer a blocking connect with EAGAIN then). */
#include "bench.h"
#include <sys/un.h>

static void one_connection(const struct sockaddr_un *address)
{
    char byte;
    int fd = (int)check(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
    check(connect(fd, (const struct sockaddr *)address, sizeof *address), "connect");
    exactly(read(fd, &byte, 1), 0, "read to end of file");
    close(fd);
}

static void serve(int listener)
{
    close((int)check(accept(listener, NULL, NULL), "accept"));
}

int main(int argc, char **argv)
{
    long n = iterations(argc, argv, 2, "N"), warm = n / 20 + 1;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char directory[sizeof address.sun_path - sizeof "/socket"];
    const char *parent = getenv("TMPDIR");
    int length = snprintf(directory, sizeof directory, "%s/connect-XXXXXX", parent ? parent : "/tmp");
    if (length >= (int)sizeof directory || !mkdtemp(directory))
        fail("temporary directory");
    snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", directory);
    int listener = (int)check(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
    check(bind(listener, (struct sockaddr *)&address, sizeof address), "bind");
    check(listen(listener, 16), "listen");
    pid_t child = (pid_t)check(fork(), "fork");
    if (child == 0) {
        close(listener);
        for (long i = 0; i < warm + n; i++)
            one_connection(&address);
        _exit(0);
    }
    for (long i = 0; i < warm; i++)
        serve(listener);
    uint64_t start = now();
    for (long i = 0; i < n; i++) {
        serve(listener);
        checkpoint(i + 1);
    }
    report(now() - start, n);
    unlink(address.sun_path);
    rmdir(directory);
    reap(child);
}
