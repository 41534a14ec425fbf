/* One process is blocked in poll, select or epoll until another one does something to the other end. */
#include "check.h"

static char block[20000];

/* Each waits until one of the events is there, and gives back the mask; the child below waits in every way in turn. */
static int by_poll(int fd, int events) {
    struct pollfd item = {fd, (short)events, 0};
    CHECK(ppoll(&item, 1, &(struct timespec){10, 0}, NULL) == 1);
    return item.revents;
}

static int by_select(int fd, int events) {
    fd_set reading, writing, urgent;
    FD_ZERO(&reading);
    FD_ZERO(&writing);
    FD_ZERO(&urgent);
    if (events & POLLIN)
        FD_SET(fd, &reading);
    if (events & POLLOUT)
        FD_SET(fd, &writing);
    if (events & POLLPRI)
        FD_SET(fd, &urgent);
    CHECK(pselect(fd + 1, &reading, &writing, &urgent, &(struct timespec){10, 0}, NULL) == 1);
    return (FD_ISSET(fd, &reading) ? POLLIN : 0) | (FD_ISSET(fd, &writing) ? POLLOUT : 0) | (FD_ISSET(fd, &urgent) ? POLLPRI : 0);
}

static int by_epoll(int fd, int events, unsigned trigger) {
    int set = (int)TRY(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event event = {.events = (unsigned)events | trigger};
    TRY(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    CHECK(epoll_pwait(set, &event, 1, 10000, NULL) == 1);
    close(set);
    return (int)event.events;
}

static int by_level(int fd, int events) { return by_epoll(fd, events, 0); }
static int by_edge(int fd, int events) { return by_epoll(fd, events, EPOLLET); }

static const struct {
    const char *name;
    int (*wait)(int fd, int events);
    long call;
} ways[] = {{"poll", by_poll, SYS_ppoll},
            {"select", by_select, SYS_pselect6},
            {"epoll", by_level, SYS_epoll_pwait},
            {"epoll, edge-triggered", by_edge, SYS_epoll_pwait}};

#define EVERY_WAY for (size_t way = 0; way < sizeof ways / sizeof *ways; way++)

/* What Linux may show or not, for it comes to be true a moment after the wake-up. */
static int unsteady;

/* A child that waits for the events at fd. Another descriptor, its own end of things, it closes (unless -1). */
static pid_t waiter(size_t way, int fd, int events, int unwanted) {
    pid_t other = child();
    if (other == 0) {
        if (unwanted != -1)
            TRY(close(unwanted));
        int mask = ways[way].wait(fd, events);
        say("%s: %s", ways[way].name, mask_text(ways[way].wait == by_select ? mask : mask & ~unsteady));
        _exit(0);
    }
    wait_blocked(other, ways[way].call);
    return other;
}

static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};

CASE(by_send) {
    for (int i = 0; i < 3; i++)
        EVERY_WAY {
            int sides[2];
            make_pair(types[i], sides);
            pid_t other = waiter(way, sides[0], POLLIN, sides[1]);
            send_text(sides[1], "x");
            join(other);
            close_all(sides, 2);
        }
}

CASE(by_write_of_a_third) {
    EVERY_WAY {
        int sides[2];
        make_pair(SOCK_STREAM, sides);
        pid_t other = waiter(way, sides[0], POLLIN | POLLPRI, -1), third = child();
        if (third == 0) {
            CHECK(write(sides[1], "x", 1) == 1);
            _exit(0);
        }
        join(third);
        join(other);
    }
}

CASE(by_close) {
    for (int i = 0; i < 2; i++)
        EVERY_WAY {
            int sides[2];
            make_pair(types[i], sides);
            pid_t other = waiter(way, sides[0], POLLIN | POLLRDHUP, sides[1]);
            TRY(close(sides[1]));
            join(other);
        }
}

CASE(by_exit) {
    EVERY_WAY {
        int sides[2];
        make_pair(SOCK_STREAM, sides);
        struct gate go = gate();
        pid_t third = child();
        if (third == 0) {
            await(&go);
            _exit(0);
        }
        pid_t other = waiter(way, sides[0], POLLIN | POLLRDHUP, sides[1]);
        TRY(close(sides[1]));
        pass(&go);
        join(third);
        join(other);
    }
}

CASE(by_reset) {
    EVERY_WAY {
        int sides[2];
        make_pair(SOCK_STREAM, sides);
        send_text(sides[0], "unread");
        pid_t other = waiter(way, sides[0], POLLIN | POLLRDHUP, sides[1]);
        TRY(close(sides[1]));
        join(other);
        char byte;
        ERR(recv(sides[0], &byte, 1, 0), ECONNRESET);
    }
}

CASE(by_shutdown) {
    for (int i = 0; i < 2; i++)
        EVERY_WAY {
            int sides[2];
            make_pair(types[i], sides);
            pid_t other = waiter(way, sides[0], POLLIN | POLLRDHUP, -1);
            TRY(shutdown(sides[1], SHUT_WR));
            join(other);
        }
}

CASE(by_shutdown_both_ways) {
    EVERY_WAY {
        int sides[2];
        make_pair(SOCK_STREAM, sides);
        pid_t other = waiter(way, sides[0], POLLIN | POLLRDHUP, -1);
        TRY(shutdown(sides[1], SHUT_RDWR));
        join(other);
    }
}

CASE(by_own_shutdown) {
    EVERY_WAY {
        int sides[2];
        make_pair(SOCK_STREAM, sides);
        pid_t other = waiter(way, sides[0], POLLIN | POLLRDHUP, -1);
        TRY(shutdown(sides[0], SHUT_RD));
        join(other);
    }
}

CASE(by_connect) {
    EVERY_WAY {
        char name[16];
        snprintf(name, sizeof name, "@server%d", (int)(way % 10));
        int listener = listener_at(SOCK_STREAM, name, 5);
        pid_t other = waiter(way, listener, POLLIN, -1);
        int client = connected_to(SOCK_STREAM, name);
        join(other);
        TRY(close(accept(listener, NULL, NULL)));
        TRY(close(client));
    }
}

CASE(by_urgent_byte) {
    EVERY_WAY {
        int sides[2];
        make_pair(SOCK_STREAM, sides);
        pid_t other = waiter(way, sides[0], POLLPRI, -1);
        CHECK(send(sides[1], "x", 1, MSG_OOB) == 1);
        join(other);
    }
}

/* Buffer space: the sender is told when its peer has read enough. */
CASE(by_recv) {
    for (int i = 0; i < 3; i++)
        EVERY_WAY {
            int sides[2];
            make_pair(types[i] | SOCK_NONBLOCK, sides);
            while (send(sides[0], block, sizeof block, 0) > 0)
                ;
            pid_t other = waiter(way, sides[0], POLLOUT, -1);
            while (recv(sides[1], block, sizeof block, 0) > 0)
                ;
            join(other);
            CHECK(send(sides[0], block, sizeof block, 0) > 0);
        }
}

CASE(writer_by_close) {
    unsteady = POLLOUT; /* the peer's queue is freed after its end has been told */
    EVERY_WAY {
        int sides[2];
        make_pair(SOCK_STREAM | SOCK_NONBLOCK, sides);
        while (send(sides[0], block, sizeof block, 0) > 0)
            ;
        pid_t other = waiter(way, sides[0], POLLOUT, sides[1]);
        TRY(close(sides[1]));
        join(other);
    }
}

CASE(dgram_sender_by_recv) {
    EVERY_WAY {
        char name[16];
        snprintf(name, sizeof name, "@server%d", (int)(way % 10));
        int server = bound_at(SOCK_DGRAM, name), client = sender_to(name);
        while (send(client, "x", 1, MSG_DONTWAIT) > 0)
            ;
        pid_t other = waiter(way, client, POLLOUT, -1);
        char byte;
        CHECK(recv(server, &byte, 1, 0) == 1);
        join(other);
        TRY(close(server));
    }
}

CASE(dgram_sender_by_close) {
    EVERY_WAY {
        char name[16];
        snprintf(name, sizeof name, "@server%d", (int)(way % 10));
        int server = bound_at(SOCK_DGRAM, name), client = sender_to(name);
        while (send(client, "x", 1, MSG_DONTWAIT) > 0)
            ;
        pid_t other = waiter(way, client, POLLOUT, server);
        TRY(close(server));
        join(other);
    }
}

/* All who wait for the same socket are told. */
CASE(several_waiters) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t others[6];
    for (int i = 0; i < 6; i++) {
        if ((others[i] = child()) == 0) {
            int mask = ways[i % 3].wait(sides[0], POLLIN);
            CHECK(mask == POLLIN);
            _exit(0);
        }
        wait_blocked(others[i], ways[i % 3].call);
    }
    send_text(sides[1], "x");
    for (int i = 0; i < 6; i++)
        join(others[i]);
    say("six told");
}

/* Only the one concerned: others go on waiting. */
CASE(nobody_else) {
    int sides[2], quiet[2];
    make_pair(SOCK_STREAM, sides);
    make_pair(SOCK_STREAM, quiet);
    pid_t other = waiter(0, sides[0], POLLIN, -1);
    pid_t waiting = child();
    if (waiting == 0) {
        struct pollfd item = {quiet[0], POLLIN, 0};
        CHECK(ppoll(&item, 1, NULL, NULL) == 1);
        _exit(0);
    }
    wait_blocked(waiting, SYS_ppoll);
    send_text(sides[1], "x");
    join(other);
    wait_blocked(waiting, SYS_ppoll);
    RET(waitpid(waiting, NULL, WNOHANG), 0);
    send_text(quiet[1], "x");
    join(waiting);
}

/* Ping-pong by poll and by epoll alone, a thousand times: no wake-up gets lost. */
static void take_turns(int fd, bool begins, unsigned trigger) {
    int set = (int)TRY(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event event = {.events = EPOLLIN | trigger};
    TRY(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    nonblocking(fd, true);
    for (int i = 0; i < 1000; i++) {
        char byte;
        if (begins)
            CHECK(write(fd, "x", 1) == 1);
        if (i % 2)
            CHECK(epoll_wait(set, &event, 1, 10000) == 1);
        else
            CHECK(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 10000) == 1);
        CHECK(read(fd, &byte, 1) == 1);
        if (!begins)
            CHECK(write(fd, "y", 1) == 1);
    }
}

static void ping_pong(unsigned trigger) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t other = child();
    if (other == 0) {
        take_turns(sides[1], false, trigger);
        _exit(0);
    }
    take_turns(sides[0], true, trigger);
    join(other);
    say("a thousand turns");
}

CASE(turns_level) { ping_pong(0); }
CASE(turns_edge) { ping_pong(EPOLLET); }

CASE(timeout) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    struct pollfd item = {sides[0], POLLIN, 0};
    double start = now();
    RET(poll(&item, 1, 50), 0);
    double took = now() - start;
    RET(took >= 0.049 && took < 3, 1);
}
