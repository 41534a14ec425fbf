/* Descriptors: copies, who holds the last one, close-on-exec, inheritance, and numbers that are used again. */
#include "check.h"

#include <spawn.h>

extern char **environ;

static char byte;

CASE(copies) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    int copy = (int)TRY(dup(sides[0]));
    RET(fcntl(copy, F_GETFD), 0);
    RET(dup2(sides[0], 100), 100);
    RET(fcntl(100, F_GETFD), 0);
    RET(dup3(sides[0], 101, O_CLOEXEC), 101);
    RET(fcntl(101, F_GETFD), FD_CLOEXEC);
    RET(fcntl(sides[0], F_DUPFD, 110), 110);
    RET(fcntl(sides[0], F_DUPFD_CLOEXEC, 110), 111);
    RET(fcntl(111, F_GETFD), FD_CLOEXEC);
    RET(dup2(sides[0], sides[0]) == sides[0], 1);
    ERR(dup3(sides[0], sides[0], 0), EINVAL);
    const int all[] = {sides[0], copy, 100, 101, 110, 111};
    for (int i = 0; i < 6; i++) {
        char text[8] = {'n', (char)('0' + i), 0};
        send_text(all[i], text);
        say_received("peer", sides[1]);
        send_text(sides[1], text);
        say_received("copy", all[5 - i]);
    }
    for (int i = 0; i < 6; i++) {
        ERR(recv(sides[1], &byte, 1, MSG_DONTWAIT), EAGAIN);
        TRY(close(all[i]));
    }
    RET(recv(sides[1], &byte, 1, 0), 0);
    for (int i = 0; i < 6; i++)
        CHECK(recv(all[i], &byte, 1, 0) == -1 && errno == EBADF);
}

/* dup2 onto a socket closes it: the peer sees that. */
CASE(dup_over_a_socket) {
    int sides[2], other[2];
    make_pair(SOCK_STREAM, sides);
    make_pair(SOCK_STREAM, other);
    RET(dup2(other[0], sides[0]) == sides[0], 1);
    RET(recv(sides[1], &byte, 1, 0), 0);
    send_text(sides[0], "to the other's peer");
    say_received("other", other[1]);
    int ends[2];
    TRY(pipe2(ends, O_CLOEXEC));
    TRY(dup2(ends[1], sides[0]));
    CHECK(write(sides[0], "into the pipe", 13) == 13);
    char data[16] = "";
    RET(read(ends[0], data, sizeof data), 13);
    ERR(send(sides[0], "x", 1, 0), ENOTSOCK);
    send_text(other[0], "still");
    say_received("other", other[1]);
}

CASE(two_holders) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    struct gate done = gate();
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[1]));
        await(&done);
        send_text(sides[0], "the other holder");
        _exit(0);
    }
    TRY(close(sides[0]));
    ERR(recv(sides[1], &byte, 1, MSG_DONTWAIT), EAGAIN);
    MASK("one holder left", sides[1], POLLOUT);
    pass(&done);
    join(other);
    say_received("parent", sides[1]);
    RET(recv(sides[1], &byte, 1, 0), 0);
}

/* Not one holder says so, but the socket: shutdown is for all of them. */
CASE(shutdown_is_for_all_holders) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t other = child();
    if (other == 0) {
        TRY(shutdown(sides[0], SHUT_WR));
        _exit(0);
    }
    join(other);
    RET(recv(sides[1], &byte, 1, 0), 0);
    ERR(send(sides[0], "x", 1, MSG_NOSIGNAL), EPIPE);
}

CASE(what_a_socket_is) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    struct stat one, two;
    TRY(fstat(sides[0], &one));
    TRY(fstat(sides[1], &two));
    say("mode %o, size %ld, links %ld", one.st_mode, (long)one.st_size, (long)one.st_nlink);
    RET(one.st_ino != two.st_ino, 1);
    int copy = (int)TRY(dup(sides[0]));
    TRY(fstat(copy, &two));
    RET(one.st_ino == two.st_ino && one.st_dev == two.st_dev, 1);
    char name[64], target[64] = "", expected[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", sides[0]);
    RET(readlink(name, target, sizeof target - 1) > 0, 1);
    snprintf(expected, sizeof expected, "socket:[%lu]", (unsigned long)one.st_ino);
    RET(strcmp(target, expected), 0);
    ERR(open(name, O_RDWR), ENXIO);
    say("flags %#x", fcntl(sides[0], F_GETFL));
    ERR(ftruncate(sides[0], 0), EINVAL);
    ERR(fsync(sides[0]), EINVAL);
    RET(fchmod(sides[0], 0600), 0);
    TRY(fstat(sides[0], &one));
    say("mode %o", one.st_mode);
}

/* ---- over exec ------------------------------------------------------------------------------------------------- */

static char *self(void) {
    static char path[256];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
    CHECK(size > 0);
    path[size] = 0;
    return path;
}

static void execute(const char *what, int fd) {
    char number[16];
    snprintf(number, sizeof number, "%d", fd);
    execl(self(), self(), "--reexecuted", what, number, (char *)NULL);
    _exit(126);
}

int reexecuted(int argc, char **argv) {
    alarm(WATCHDOG_SECONDS);
    CHECK(argc >= 2);
    int fd = atoi(argv[1]);
    if (strcmp(argv[0], "talk") == 0) {
        struct ucred peer;
        socklen_t size = sizeof peer;
        RET(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
        say_received("after exec", fd);
        send_text(fd, "here after exec");
        return 0;
    }
    if (strcmp(argv[0], "closed") == 0) {
        ERR(fcntl(fd, F_GETFD), EBADF);
        ERR(send(fd, "x", 1, MSG_NOSIGNAL), EBADF);
        return 0;
    }
    if (strcmp(argv[0], "accept") == 0) {
        int peer = (int)TRY(accept(fd, NULL, NULL));
        say_received("after exec", peer);
        send_text(peer, "served after exec");
        return 0;
    }
    if (strcmp(argv[0], "fresh") == 0) {
        int sides[2];
        make_pair(SOCK_STREAM, sides);
        send_text(sides[0], "a pair of its own");
        say_received("after exec", sides[1]);
        return 0;
    }
    return 125;
}

CASE(kept_over_exec) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    TRY(fcntl(sides[1], F_SETFD, 0));
    pid_t other = child();
    if (other == 0)
        execute("talk", sides[1]);
    TRY(close(sides[1]));
    send_text(sides[0], "hello");
    say_received("parent", sides[0]);
    join(other);
    RET(recv(sides[0], &byte, 1, 0), 0);
}

CASE(closed_on_exec) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t other = child();
    if (other == 0)
        execute("closed", sides[1]);
    TRY(close(sides[1]));
    join(other);
    RET(recv(sides[0], &byte, 1, 0), 0);
}

/* With the program still running: exec itself closes the last copy. */
CASE(closed_by_exec_at_once) {
    int sides[2], keep[2];
    make_pair(SOCK_STREAM, sides);
    make_pair(SOCK_STREAM, keep);
    TRY(fcntl(keep[1], F_SETFD, 0));
    pid_t other = child();
    if (other == 0)
        execute("talk", keep[1]);
    TRY(close(sides[1]));
    TRY(close(keep[1]));
    CHECK(recv(sides[0], &byte, 1, 0) == 0);
    wait_blocked(other, SYS_recvfrom);
    send_text(keep[0], "hello");
    say_received("parent", keep[0]);
    join(other);
}

CASE(listener_kept_over_exec) {
    int listener = listener_at(SOCK_STREAM, "server", 5);
    TRY(fcntl(listener, F_SETFD, 0));
    int client = connected_to(SOCK_STREAM, "server");
    send_text(client, "waiting since before exec");
    pid_t other = child();
    if (other == 0)
        execute("accept", listener);
    TRY(close(listener));
    say_received("client", client);
    join(other);
}

CASE(new_sockets_after_exec) {
    pid_t other = child();
    if (other == 0)
        execute("fresh", 0);
    join(other);
}

/* A socket as standard input and output of a program that knows nothing of sockets. */
static void run_cat(int client, bool by_spawn, int peer) {
    pid_t other;
    if (by_spawn) {
        posix_spawn_file_actions_t actions;
        CHECK(posix_spawn_file_actions_init(&actions) == 0);
        CHECK(posix_spawn_file_actions_adddup2(&actions, peer, 0) == 0);
        CHECK(posix_spawn_file_actions_adddup2(&actions, peer, 1) == 0);
        char *arguments[] = {"cat", NULL};
        CHECK(posix_spawn(&other, "/bin/cat", &actions, NULL, arguments, environ) == 0);
        posix_spawn_file_actions_destroy(&actions);
    } else if ((other = child()) == 0) {
        TRY(dup2(peer, 0));
        TRY(dup2(peer, 1));
        execl("/bin/cat", "cat", (char *)NULL);
        _exit(126);
    }
    TRY(close(peer));
    for (int i = 0; i < 3; i++) {
        send_text(client, i ? "again\n" : "through cat\n");
        say_received("client", client);
    }
    TRY(shutdown(client, SHUT_WR));
    RET(recv(client, &byte, 1, 0), 0);
    join(other);
}

CASE(cat_on_a_pair) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    run_cat(sides[0], false, sides[1]);
}

CASE(cat_spawned) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    run_cat(sides[0], true, sides[1]);
}

/* As inetd does it: accept, fork, both standard files are the connection, exec. */
CASE(cat_of_inetd) {
    int listener = listener_at(SOCK_STREAM, "server", 5);
    for (int i = 0; i < 3; i++) {
        int client = connected_to(SOCK_STREAM, "server");
        run_cat(client, i == 1, (int)TRY(accept4(listener, NULL, NULL, SOCK_CLOEXEC)));
        TRY(close(client));
    }
}

CASE(shell_pipeline) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t other = child();
    if (other == 0) {
        TRY(dup2(sides[1], 0));
        TRY(dup2(sides[1], 1));
        execl("/bin/sh", "sh", "-c", "while read line; do echo \"<$line>\" | tr a-z A-Z; done", (char *)NULL);
        _exit(126);
    }
    TRY(close(sides[1]));
    for (int i = 0; i < 3; i++) {
        char text[32], back[16];
        int size = snprintf(text, sizeof text, "line %d\n", i);
        write_fully(sides[0], text, (size_t)size);
        CHECK(read_fully(sides[0], back, (size_t)size + 2));
        say("%.*s", size + 1, back);
    }
    TRY(shutdown(sides[0], SHUT_WR));
    RET(recv(sides[0], &byte, 1, 0), 0);
    join(other);
}

/* ---- numbers that are used again ------------------------------------------------------------------------------- */

static void talk_by_write(int one, int two, char text) {
    char got = 0;
    CHECK(write(one, &text, 1) == 1);
    CHECK(read(two, &got, 1) == 1 && got == text);
}

/* The same two numbers are in turn a pair, a pipe, a TCP connection, files and again a pair. */
CASE(numbers_used_again) {
    enum { A = 50, B = 51 };
    for (int i = 0; i < 300; i++) {
        int ends[2];
        switch (i % 5) {
        case 0: make_pair(SOCK_STREAM, ends); break;
        case 1: TRY(pipe2(ends, O_CLOEXEC)); break;
        case 2: make_pair(SOCK_SEQPACKET, ends); break;
        case 3: {
            int listener = (int)TRY(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
            struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
            socklen_t size = sizeof address;
            TRY(listen(listener, 1));
            TRY(getsockname(listener, (struct sockaddr *)&address, &size));
            address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            ends[0] = (int)TRY(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
            TRY(connect(ends[0], (struct sockaddr *)&address, size));
            ends[1] = (int)TRY(accept(listener, NULL, NULL));
            TRY(close(listener));
            break;
        }
        default: make_pair(SOCK_DGRAM, ends); break;
        }
        /* A pipe's writing end is its second one. */
        TRY(dup2(ends[i % 5 == 1], A));
        TRY(dup2(ends[i % 5 != 1], B));
        close_all(ends, 2);
        talk_by_write(A, B, (char)('a' + i % 26));
        if (i % 2) {
            TRY(close(A));
            TRY(close(B));
        }
    }
    say("300 turns");
}

CASE(close_and_open) {
    for (int i = 0; i < 500; i++) {
        int sides[2], ends[2];
        make_pair(SOCK_STREAM, sides);
        talk_by_write(sides[0], sides[1], 'x');
        close_all(sides, 2);
        TRY(pipe2(ends, O_CLOEXEC));
        CHECK(ends[0] == sides[0] && ends[1] == sides[1]);
        talk_by_write(ends[1], ends[0], 'y');
        close_all(ends, 2);
    }
    say("500 turns");
}

/* Crossing two pairs: a stale idea of which number is which would send the byte to the wrong one. */
CASE(swapped) {
    int one[2], two[2];
    make_pair(SOCK_STREAM, one);
    make_pair(SOCK_STREAM, two);
    for (int i = 0; i < 200; i++) {
        talk_by_write(one[0], i % 2 ? two[1] : one[1], (char)i);
        talk_by_write(two[0], i % 2 ? one[1] : two[1], (char)(i + 1));
        int spare = (int)TRY(dup(one[0]));
        TRY(dup2(two[0], one[0]));
        TRY(dup2(spare, two[0]));
        TRY(close(spare));
    }
    say("200 swaps");
}

CASE(ranges) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    TRY(dup2(sides[0], 60));
    TRY(dup2(sides[0], 61));
    TRY(close(sides[0]));
    RET(syscall(SYS_close_range, 60, 70, 0), 0);
    RET(recv(sides[1], &byte, 1, 0), 0);
    make_pair(SOCK_STREAM, sides);
    TRY(dup2(sides[0], 60));
    RET(syscall(SYS_close_range, 60, 60, 4 /* CLOEXEC */), 0);
    RET(fcntl(60, F_GETFD), FD_CLOEXEC);
    send_text(60, "kept");
    say_received("peer", sides[1]);
}

/* The child has the parent's numbers for other things; neither disturbs the other. */
CASE(same_number_in_two_processes) {
    int one[2], two[2];
    make_pair(SOCK_STREAM, one);
    make_pair(SOCK_STREAM, two);
    pid_t other = child();
    if (other == 0) {
        TRY(dup2(two[0], one[0]));
        for (int i = 0; i < 100; i++)
            CHECK(write(one[0], "c", 1) == 1);
        _exit(0);
    }
    for (int i = 0; i < 100; i++)
        CHECK(write(one[0], "p", 1) == 1);
    join(other);
    char data[200];
    RET(read(one[1], data, sizeof data), 100);
    RET(memchr(data, 'c', 100) == NULL, 1);
    RET(read(two[1], data, sizeof data), 100);
    RET(memchr(data, 'p', 100) == NULL, 1);
}

/* CLONE_FILES: one table for two processes; what one closes is closed for both. */
static int close_and_reuse(void *argument) {
    int *sides = argument;
    if (close(sides[0]) != 0)
        _exit(1);
    int made[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, made) != 0 || made[0] != sides[0])
        _exit(2);
    if (write(made[1], "new", 3) != 3)
        _exit(3);
    _exit(0);
}

CASE(shared_table) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    static char stack[65536] __attribute__((aligned(16)));
    pid_t other = (pid_t)TRY(clone(close_and_reuse, stack + sizeof stack, CLONE_FILES | SIGCHLD, sides));
    join(other);
    RET(recv(sides[1], &byte, 1, 0), 0);
    say_received("the other's new pair", sides[0]);
}

/* Descriptors taken out of another process by pidfd_getfd are copies like any other. */
CASE(taken_by_pidfd) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    struct gate done = gate();
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[0]));
        await(&done);
        _exit(0);
    }
    TRY(close(sides[1]));
    int pidfd = (int)TRY(syscall(SYS_pidfd_open, other, 0)), copy = (int)TRY(syscall(SYS_pidfd_getfd, pidfd, sides[1], 0));
    pass(&done);
    join(other);
    send_text(copy, "from the copy");
    say_received("parent", sides[0]);
    TRY(close(copy));
    RET(recv(sides[0], &byte, 1, 0), 0);
}

CASE(thousand_sockets) {
    enum { COUNT = 500 };
    struct rlimit limit;
    TRY(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = limit.rlim_max < 2048 ? limit.rlim_max : 2048;
    TRY(setrlimit(RLIMIT_NOFILE, &limit));
    static int sides[COUNT][2];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++)
            make_pair(SOCK_STREAM, sides[i]);
        for (int i = 0; i < COUNT; i++)
            CHECK(write(sides[i][0], &i, sizeof i) == sizeof i);
        for (int i = COUNT - 1; i >= 0; i--) {
            int got;
            CHECK(read(sides[i][1], &got, sizeof got) == sizeof got && got == i);
        }
        for (int i = 0; i < COUNT; i++)
            close_all(sides[i], 2);
    }
    say("twice %d pairs", COUNT);
}
