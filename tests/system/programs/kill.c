/* One of two partners is killed at a random moment; the other one must see the end within a second.
 *
 * The moments follow from the seed in AFUNIX_TEST_SEED (1 without it), which is said.
 */
#include "check.h"

enum { MOMENTS = 100, LATEST_MICROSECONDS = 3000, PATIENCE_MILLISECONDS = 1000 };

static uint64_t state;

static unsigned chance(unsigned below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)((state >> 20) % below);
}

static bool is_end(ssize_t result) {
    if (result == 0)
        return true;
    if (result > 0)
        return false;
    if (errno == EPIPE || errno == ECONNRESET)
        return true;
    fail("neither data nor the end: %s", error_name(errno));
}

/* ---- partners: each runs until it sees the end ------------------------------------------------------------------ */

static void talk(int fd, bool begins) {
    char byte = 'x';
    if (begins && is_end(send(fd, &byte, 1, MSG_NOSIGNAL)))
        return;
    while (!is_end(recv(fd, &byte, 1, 0)))
        if (is_end(send(fd, &byte, 1, MSG_NOSIGNAL)))
            return;
}

static void talk_by_epoll(int fd, bool begins) {
    int set = (int)TRY(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
    nonblocking(fd, true);
    TRY(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    char byte = 'x';
    if (begins && is_end(send(fd, &byte, 1, MSG_NOSIGNAL)))
        return;
    for (;;) {
        CHECK(epoll_wait(set, &event, 1, 10000) == 1);
        ssize_t got;
        while ((got = recv(fd, &byte, 1, 0)) == 1)
            if (is_end(send(fd, &byte, 1, MSG_NOSIGNAL)))
                return;
        if (got == 0 || errno != EAGAIN) {
            CHECK(is_end(got));
            return;
        }
    }
}

static void stream(int fd, bool writes) {
    static char block[16384];
    while (!is_end(writes ? send(fd, block, sizeof block, MSG_NOSIGNAL) : recv(fd, block, sizeof block, 0)))
        ;
}

static int probe[2];

static void pass_descriptors(int fd, bool sends) {
    TRY(close(probe[0]));
    if (sends) {
        while (!is_end(send_fds(fd, "x", 1, &probe[1], 1, MSG_NOSIGNAL)))
            ;
        return;
    }
    TRY(close(probe[1]));
    char data[8];
    for (;;) {
        int came[4], count = 4, flags = MSG_CMSG_CLOEXEC;
        ssize_t got = recv_fds(fd, data, sizeof data, came, &count, &flags);
        if (is_end(got))
            return;
        close_all(came, count);
    }
}

static void wait_for_nothing(int fd, bool by_poll) {
    char byte;
    if (by_poll)
        CHECK(poll(&(struct pollfd){fd, POLLIN | POLLRDHUP, 0}, 1, 10000) == 1);
    CHECK(is_end(recv(fd, &byte, 1, 0)));
}

static void both_write(int fd, bool unused) {
    (void)unused;
    static char block[16384];
    while (!is_end(send(fd, block, sizeof block, MSG_NOSIGNAL)))
        ;
}

static const struct {
    const char *name;
    void (*run)(int fd, bool first);
} partners[] = {{"talk", talk},
                {"talk by epoll", talk_by_epoll},
                {"stream", stream},
                {"descriptors", pass_descriptors},
                {"idle", wait_for_nothing},
                {"both write", both_write}};

/* A connection of one of the ways to make one. */
static void connect_sides(int round, int sides[2]) {
    int type = chance(2) ? SOCK_STREAM : SOCK_SEQPACKET;
    if (chance(2)) {
        make_pair(type, sides);
        return;
    }
    char name[32];
    snprintf(name, sizeof name, "server%d", round);
    int listener = listener_at(type, name, 1);
    sides[0] = connected_to(type, name);
    sides[1] = (int)TRY(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    TRY(close(listener));
}

static void wait_for_end(int round, const char *what, pid_t survivor) {
    int pidfd = (int)TRY(syscall(SYS_pidfd_open, survivor, 0));
    int ended = poll(&(struct pollfd){pidfd, POLLIN, 0}, 1, PATIENCE_MILLISECONDS);
    if (ended != 1)
        fail("moment %d, %s: the survivor waits on in system call %ld", round, what, call_of_task(survivor, survivor));
    TRY(close(pidfd));
    int status = status_of(survivor);
    if (status != 0)
        fail("moment %d, %s: the survivor ended with %#x", round, what, status);
}

static void plant_seed(void) {
    const char *text = getenv("AFUNIX_TEST_SEED");
    unsigned long seed = text ? strtoul(text, NULL, 10) : 1;
    say("seed %lu", seed);
    state = seed * 2654435761u + 88172645463325252u;
}

CASE(partner) {
    plant_seed();
    for (int round = 0; round < MOMENTS; round++) {
        int sides[2];
        unsigned kind = chance(sizeof partners / sizeof *partners), victim = chance(2);
        useconds_t moment = chance(LATEST_MICROSECONDS);
        connect_sides(round, sides);
        TRY(pipe2(probe, O_CLOEXEC));
        pid_t others[2];
        for (int i = 0; i < 2; i++)
            if ((others[i] = child()) == 0) {
                TRY(close(sides[1 - i]));
                partners[kind].run(sides[i], i == 0);
                _exit(0);
            }
        close_all(sides, 2);
        TRY(close(probe[1]));
        usleep(moment); /* the random moment, not a wait for anything */
        TRY(kill(others[victim], SIGKILL));
        int status = status_of(others[victim]);
        /* It can't have ended before: it has a partner. */
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            fail("moment %d, %s: the victim ended by itself, %#x", round, partners[kind].name, status);
        wait_for_end(round, partners[kind].name, others[1 - victim]);
        /* And what was in flight between them is gone too. */
        struct pollfd item = {probe[0], 0, 0};
        if (poll(&item, 1, PATIENCE_MILLISECONDS) != 1)
            fail("moment %d, %s: a passed descriptor is still open", round, partners[kind].name);
        TRY(close(probe[0]));
    }
    say("%d moments, and every survivor saw the end", MOMENTS);
}

/* A server dies while a client connects to it over and over. */
CASE(server_of_many_connections) {
    plant_seed();
    for (int round = 0; round < MOMENTS; round++) {
        char name[32];
        snprintf(name, sizeof name, "server%d", round);
        int listener = listener_at(SOCK_STREAM, name, (int)chance(3));
        pid_t server = child();
        if (server == 0)
            for (;;) {
                char byte;
                int peer = (int)TRY(accept(listener, NULL, NULL));
                if (read(peer, &byte, 1) == 1)
                    CHECK(send(peer, &byte, 1, MSG_NOSIGNAL) == 1 || errno == EPIPE);
                TRY(close(peer));
            }
        pid_t client = child();
        if (client == 0) {
            TRY(close(listener));
            for (;;) {
                int fd = new_socket(SOCK_STREAM);
                char byte = 'x';
                if (connect_fd(fd, name) == -1) {
                    CHECK(errno == ECONNREFUSED);
                    _exit(0);
                }
                if (!is_end(send(fd, &byte, 1, MSG_NOSIGNAL)))
                    is_end(recv(fd, &byte, 1, 0));
                TRY(close(fd));
            }
        }
        TRY(close(listener));
        usleep(chance(LATEST_MICROSECONDS));
        TRY(kill(server, SIGKILL));
        CHECK(WTERMSIG(status_of(server)) == SIGKILL);
        wait_for_end(round, "client", client);
    }
}

/* A group of clients of one server dies at once; the server sees the end of each connection. */
CASE(all_clients) {
    enum { CLIENTS = 10 };
    plant_seed();
    for (int round = 0; round < 20; round++) {
        int listener = listener_at(SOCK_STREAM, "server", CLIENTS), set = (int)TRY(epoll_create1(EPOLL_CLOEXEC));
        pid_t clients[CLIENTS];
        for (int i = 0; i < CLIENTS; i++)
            if ((clients[i] = child()) == 0) {
                TRY(close(listener));
                TRY(close(set));
                talk(connected_to(SOCK_STREAM, "server"), true);
                _exit(0);
            }
        for (int i = 0; i < CLIENTS; i++) {
            int peer = (int)TRY(accept(listener, NULL, NULL));
            struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = peer};
            TRY(epoll_ctl(set, EPOLL_CTL_ADD, peer, &event));
        }
        double kill_at = now() + chance(LATEST_MICROSECONDS) * 1e-6, killed = 0;
        for (int open = CLIENTS; open > 0;) {
            if (!killed && now() >= kill_at) {
                for (int i = 0; i < CLIENTS; i++)
                    TRY(kill(clients[i], SIGKILL));
                killed = now();
            }
            struct epoll_event event;
            char byte;
            int count = (int)TRY(epoll_wait(set, &event, 1, killed ? PATIENCE_MILLISECONDS : 1));
            if (count == 0) {
                CHECK(!killed);
                continue;
            }
            int fd = event.data.fd;
            ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);
            if (got == -1 && errno == EAGAIN)
                continue;
            if (is_end(got) || is_end(send(fd, &byte, 1, MSG_NOSIGNAL))) {
                TRY(close(fd));
                open--;
            }
        }
        for (int i = 0; i < CLIENTS; i++)
            CHECK(WTERMSIG(status_of(clients[i])) == SIGKILL);
        TRY(close(listener));
        TRY(close(set));
        TRY(unlink(path_of("server")));
    }
}
