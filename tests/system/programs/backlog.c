/* Listening: connect before accept, a full backlog, what happens to the waiting when a listener goes. */
#include "check.h"

static int busy_connect(const char *name) {
    int fd = (int)TRY(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (connect_fd(fd, name) == 0)
        return fd;
    CHECK(errno == EAGAIN);
    close(fd);
    return -1;
}

/* Fills a listener's queue; returns how many got in. */
static int fill(const char *name, int *clients, int most) {
    int count = 0;
    while (count < most && (clients[count] = busy_connect(name)) != -1)
        count++;
    return count;
}

CASE(data_before_accept) {
    int listener = listener_at(SOCK_STREAM, "server", 5), client = connected_to(SOCK_STREAM, "server");
    send_text(client, "early");
    RET(shutdown(client, SHUT_WR), 0);
    int peer = (int)TRY(accept(listener, NULL, NULL));
    say_received("server", peer);
    say_received("server", peer);
    send_text(peer, "answer");
    say_received("client", client);
}

CASE(client_gone_before_accept) {
    int listener = listener_at(SOCK_STREAM, "server", 5), client = connected_to(SOCK_STREAM, "server");
    send_text(client, "last words");
    hang_up(client);
    MASK("listener", listener, POLLIN);
    int peer = (int)TRY(accept(listener, NULL, NULL));
    MASK("accepted", peer, POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
    say_received("server", peer);
    say_received("server", peer);
    ERR(send(peer, "x", 1, MSG_NOSIGNAL), EPIPE);
}

CASE(admits_one_more_than_the_backlog) {
    int clients[16];
    for (int backlog = 0; backlog < 8; backlog += 1 + backlog) {
        char name[32];
        snprintf(name, sizeof name, "server%d", backlog);
        int listener = listener_at(SOCK_STREAM, name, backlog), count = fill(name, clients, 16);
        say("backlog %d admits %d", backlog, count);
        RET(count, backlog + 1);
        RET(close(accept(listener, NULL, NULL)), 0);
        RET(fill(name, clients, 16), 1);
        RET(listen(listener, backlog + 2), 0);
        RET(fill(name, clients, 16), 2);
        close(listener);
    }
}

CASE(full_comes_before_own_state) {
    int clients[4];
    listener_at(SOCK_STREAM, "server", 0);
    RET(fill("server", clients, 4), 1);
    ERR(connect_fd(clients[0], "server"), EAGAIN);
    int other = listener_at(SOCK_STREAM, "other", 0);
    ERR(connect_fd(clients[0], "other"), EISCONN);
    ERR(connect_fd(other, "other"), EINVAL);
}

/* A blocked connect goes on as soon as a place is free; the order of arrival holds. */
static void blocked_connect(int type) {
    int listener = listener_at(type, "server", 0), first = connected_to(type, "server");
    struct gate connected = gate();
    pid_t other = child();
    if (other == 0) {
        int fd = new_socket(type);
        CHECK(connect_fd(fd, "server") == 0);
        CHECK(send(fd, "second", 6, 0) == 6);
        pass(&connected);
        char byte;
        CHECK(recv(fd, &byte, 1, 0) == 1);
        _exit(0);
    }
    wait_blocked(other, SYS_connect);
    send_text(first, "first");
    int peer = (int)TRY(accept(listener, NULL, NULL));
    say_received("server", peer);
    await(&connected);
    peer = (int)TRY(accept(listener, NULL, NULL));
    say_received("server", peer);
    send_text(peer, "x");
    join(other);
}

CASE(blocked_connect_stream) { blocked_connect(SOCK_STREAM); }
CASE(blocked_connect_seqpacket) { blocked_connect(SOCK_SEQPACKET); }

CASE(many_blocked_connects) {
    enum { COUNT = 8 };
    int listener = listener_at(SOCK_STREAM, "@server", 0), first = connected_to(SOCK_STREAM, "@server");
    pid_t others[COUNT];
    for (int i = 0; i < COUNT; i++)
        if ((others[i] = child()) == 0) {
            int fd = new_socket(SOCK_STREAM);
            CHECK(connect_fd(fd, "@server") == 0);
            char own = (char)i, back;
            CHECK(write(fd, &own, 1) == 1 && read(fd, &back, 1) == 1 && back == own);
            _exit(0);
        }
    for (int i = 0; i < COUNT; i++)
        wait_blocked(others[i], SYS_connect);
    TRY(close(accept(listener, NULL, NULL)));
    unsigned seen = 0;
    for (int i = 0; i < COUNT; i++) {
        int peer = (int)TRY(accept(listener, NULL, NULL));
        char own;
        CHECK(read(peer, &own, 1) == 1 && write(peer, &own, 1) == 1);
        seen |= 1u << own;
        TRY(close(peer));
    }
    RET(seen, (1 << COUNT) - 1);
    for (int i = 0; i < COUNT; i++)
        join(others[i]);
    TRY(close(first));
}

CASE(connect_timeout) {
    listener_at(SOCK_STREAM, "server", 0);
    connected_to(SOCK_STREAM, "server");
    int fd = new_socket(SOCK_STREAM);
    TRY(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){0, 100000}, sizeof(struct timeval)));
    double start = now();
    ERR(connect_fd(fd, "server"), EAGAIN);
    double took = now() - start;
    RET(took >= 0.095 && took < 3, 1);
    ERR(connect_fd(new_socket(SOCK_SEQPACKET), "server"), EPROTOTYPE);
}

CASE(accept_timeout) {
    int listener = listener_at(SOCK_STREAM, "server", 0);
    TRY(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){0, 100000}, sizeof(struct timeval)));
    double start = now();
    ERR(accept(listener, NULL, NULL), EAGAIN);
    double took = now() - start;
    RET(took >= 0.095 && took < 3, 1);
    nonblocking(listener, true);
    ERR(accept(listener, NULL, NULL), EAGAIN);
}

/* Closing a listener resets who was not accepted and refuses who waits to get in. */
CASE(listener_closes) {
    int listener = listener_at(SOCK_STREAM, "server", 0), waiting = connected_to(SOCK_STREAM, "server");
    pid_t other = child();
    if (other == 0) {
        TRY(close(listener));
        TRY(close(waiting));
        ERR(connect_fd(new_socket(SOCK_STREAM), "server"), ECONNREFUSED);
        _exit(0);
    }
    wait_blocked(other, SYS_connect);
    TRY(close(listener));
    join(other);
    settle();
    MASK("never accepted", waiting, POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP);
    char byte;
    ERR(recv(waiting, &byte, 1, 0), ECONNRESET);
    RET(recv(waiting, &byte, 1, 0), 0);
    ERR(send(waiting, "x", 1, MSG_NOSIGNAL), EPIPE);
    ERR(connect_fd(new_socket(SOCK_STREAM), "server"), ECONNREFUSED);
}

CASE(reader_waits_when_listener_closes) {
    int listener = listener_at(SOCK_STREAM, "server", 0);
    pid_t other = child();
    if (other == 0) {
        TRY(close(listener));
        int fd = connected_to(SOCK_STREAM, "server");
        char byte;
        ERR(recv(fd, &byte, 1, 0), ECONNRESET);
        _exit(0);
    }
    wait_blocked(other, SYS_recvfrom);
    TRY(close(listener));
    join(other);
}

CASE(listener_shut_down) {
    int listener = listener_at(SOCK_STREAM, "server", 5);
    pid_t other = child();
    if (other == 0) {
        ERR(accept(listener, NULL, NULL), EINVAL);
        _exit(0);
    }
    wait_blocked(other, SYS_accept);
    TRY(shutdown(listener, SHUT_RD));
    join(other);
    ERR(connect_fd(new_socket(SOCK_STREAM), "server"), ECONNREFUSED);
    ERR(accept(listener, NULL, NULL), EINVAL);
    nonblocking(listener, true);
    ERR(accept(listener, NULL, NULL), EAGAIN);
}

CASE(accepted_flags) {
    int listener = listener_at(SOCK_STREAM, "server", 5);
    nonblocking(listener, true);
    TRY(setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &(int){8192}, sizeof(int)));
    const int flags[] = {0, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_CLOEXEC | SOCK_NONBLOCK};
    for (int i = 0; i < 4; i++) {
        connected_to(SOCK_STREAM, "server");
        int peer = (int)TRY(accept4(listener, NULL, NULL, flags[i])), size;
        say("flags %#x: F_GETFD %d F_GETFL %#x", flags[i], fcntl(peer, F_GETFD), fcntl(peer, F_GETFL) & ~0100000);
        socklen_t length = sizeof size;
        TRY(getsockopt(peer, SOL_SOCKET, SO_SNDBUF, &size, &length));
        RET(size, 212992);
    }
    connected_to(SOCK_STREAM, "server");
    ERR(accept4(listener, NULL, NULL, 0x10), EINVAL);
    RET(fcntl((int)TRY(accept(listener, NULL, NULL)), F_GETFL) & O_NONBLOCK, 0);
    ERR(accept(listener, NULL, NULL), EAGAIN);
}

CASE(accepted_in_order) {
    int listener = listener_at(SOCK_STREAM, "server", 10), clients[5];
    for (int i = 0; i < 5; i++) {
        clients[i] = connected_to(SOCK_STREAM, "server");
        char text[2] = {(char)('a' + i), 0};
        send_text(clients[i], text);
    }
    for (int i = 0; i < 5; i++)
        say_received("server", (int)TRY(accept(listener, NULL, NULL)));
}

CASE(reconnect_after_refusal) {
    int fd = new_socket(SOCK_STREAM), server = bound_at(SOCK_STREAM, "server");
    ERR(connect_fd(fd, "server"), ECONNREFUSED);
    RET(listen(server, 1), 0);
    RET(connect_fd(fd, "server"), 0);
    ERR(connect_fd(fd, "server"), EISCONN);
    ERR(listen(fd, 1), EINVAL);
    struct sockaddr_un none = {.sun_family = AF_UNSPEC};
    ERR(connect(fd, (struct sockaddr *)&none, sizeof none), EINVAL);
}

CASE(big_and_negative_backlogs) {
    int clients[20];
    const int backlogs[] = {-1, 1 << 30};
    for (int i = 0; i < 2; i++) {
        char name[32];
        snprintf(name, sizeof name, "server%d", i);
        listener_at(SOCK_STREAM, name, backlogs[i]);
        RET(fill(name, clients, 20), 20);
    }
}
