/* epoll: level- and edge-triggered, one-shot, exclusive; sockets of ours and of others and other files in one set. */
#include "check.h"

#include <netinet/tcp.h>

static int new_set(void) { return (int)TRY(epoll_create1(EPOLL_CLOEXEC)); }

static void add(int set, int fd, unsigned events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    TRY(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
}

static void modify(int set, int fd, unsigned events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    TRY(epoll_ctl(set, EPOLL_CTL_MOD, fd, &event));
}

/* The mask reported for the one registered descriptor, 0 for none. */
static unsigned look(int set) {
    struct epoll_event event;
    return TRY(epoll_wait(set, &event, 1, 0)) ? event.events : 0;
}

#define SEEN(state, set, want)                                                                                       \
    do {                                                                                                             \
        unsigned seen_ = look(set);                                                                                  \
        if (seen_ != (unsigned)(want)) {                                                                             \
            fprintf(stderr, "%s:%d: %s: seen %s, ", __FILE__, __LINE__, state, mask_text((int)seen_));               \
            fail("not %s", mask_text((int)(want)));                                                                  \
        }                                                                                                            \
        say("%s: %s", state, mask_text((int)seen_));                                                                 \
    } while (0)

static void drop(int fd, size_t size) {
    char data[256];
    CHECK(recv(fd, data, size, 0) > 0);
}

static void level(int type) {
    int sides[2], set = new_set();
    make_pair(type, sides);
    add(set, sides[0], EPOLLIN);
    SEEN("empty", set, 0);
    send_text(sides[1], "ab");
    SEEN("data", set, EPOLLIN);
    SEEN("still", set, EPOLLIN);
    send_text(sides[1], "cd");
    drop(sides[0], 2);
    SEEN("half read", set, EPOLLIN);
    drop(sides[0], 2);
    SEEN("all read", set, 0);
    modify(set, sides[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP);
    SEEN("writable", set, EPOLLOUT);
}

CASE(level_stream) { level(SOCK_STREAM); }
CASE(level_seqpacket) { level(SOCK_SEQPACKET); }
CASE(level_dgram) { level(SOCK_DGRAM); }

/* Each message is an edge, whether or not those before it were read. */
static void edges(int type) {
    int sides[2], set = new_set();
    make_pair(type, sides);
    add(set, sides[0], EPOLLIN | EPOLLET);
    SEEN("empty", set, 0);
    send_text(sides[1], "a");
    SEEN("first", set, EPOLLIN);
    SEEN("told already", set, 0);
    send_text(sides[1], "b");
    SEEN("second, first unread", set, EPOLLIN);
    SEEN("told already", set, 0);
    drop(sides[0], 1);
    SEEN("one read, one left", set, 0);
    send_text(sides[1], "c");
    send_text(sides[1], "d");
    SEEN("two more", set, EPOLLIN);
    SEEN("told already", set, 0);
    for (char data[8]; recv(sides[0], data, sizeof data, MSG_DONTWAIT) > 0;)
        ;
    SEEN("all read", set, 0);
    send_text(sides[1], "e");
    SEEN("new", set, EPOLLIN);
    modify(set, sides[0], EPOLLIN | EPOLLET);
    SEEN("armed again, unread", set, EPOLLIN);
    drop(sides[0], 1);
    modify(set, sides[0], EPOLLIN | EPOLLET);
    SEEN("armed again, empty", set, 0);
    for (int i = 0; i < 100; i++) {
        send_text(sides[1], "x");
        CHECK(look(set) == EPOLLIN);
        CHECK(look(set) == 0);
        if (i % 3)
            drop(sides[0], 1);
    }
}

CASE(edge_for_each_message_stream) { edges(SOCK_STREAM); }
CASE(edge_for_each_message_seqpacket) { edges(SOCK_SEQPACKET); }
CASE(edge_for_each_message_dgram) { edges(SOCK_DGRAM); }

CASE(edge_for_each_connection) {
    int listener = listener_at(SOCK_STREAM, "server", 20), set = new_set();
    add(set, listener, EPOLLIN | EPOLLET);
    SEEN("idle", set, 0);
    for (int i = 0; i < 3; i++) {
        connected_to(SOCK_STREAM, "server");
        SEEN("connection", set, EPOLLIN);
        SEEN("told already", set, 0);
    }
    TRY(accept(listener, NULL, NULL));
    SEEN("one accepted", set, 0);
    connected_to(SOCK_STREAM, "server");
    SEEN("another", set, EPOLLIN);
}

CASE(edge_of_shutdown_and_close) {
    int sides[2], set = new_set();
    make_pair(SOCK_STREAM, sides);
    add(set, sides[0], EPOLLIN | EPOLLRDHUP | EPOLLET);
    SEEN("empty", set, 0);
    TRY(shutdown(sides[1], SHUT_WR));
    SEEN("peer's writing shut", set, EPOLLIN | EPOLLRDHUP);
    SEEN("told already", set, 0);
    hang_up(sides[1]);
    SEEN("peer closed", set, EPOLLIN | EPOLLRDHUP | EPOLLHUP);
    SEEN("told already", set, 0);
}

/* Room for writing: an edge once the buffer has been full and is drained. */
static void edge_of_room(int type) {
    static char block[20000];
    int sides[2], set = new_set();
    make_pair(type | SOCK_NONBLOCK, sides);
    add(set, sides[0], EPOLLOUT | EPOLLET);
    SEEN("at first", set, EPOLLOUT);
    SEEN("told already", set, 0);
    while (send(sides[0], block, sizeof block, 0) > 0)
        ;
    CHECK(errno == EAGAIN);
    SEEN("full", set, 0);
    CHECK(recv(sides[1], block, 1, MSG_PEEK) == 1);
    SEEN("peeked", set, 0);
    while (recv(sides[1], block, sizeof block, 0) > 0)
        ;
    SEEN("drained", set, EPOLLOUT);
    SEEN("told already", set, 0);
}

CASE(edge_of_room_stream) { edge_of_room(SOCK_STREAM); }
CASE(edge_of_room_seqpacket) { edge_of_room(SOCK_SEQPACKET); }
CASE(edge_of_room_dgram) { edge_of_room(SOCK_DGRAM); }

/* Linux wakes the sender each time that a message of its is freed while there is room. */
CASE(edge_of_each_read_by_peer) {
    int sides[2], set = new_set();
    make_pair(SOCK_STREAM, sides);
    add(set, sides[0], EPOLLIN | EPOLLOUT | EPOLLET);
    SEEN("at first", set, EPOLLOUT);
    send_text(sides[0], "abc");
    SEEN("own send", set, 0);
    drop(sides[1], 3);
    SEEN("peer read it", set, EPOLLOUT);
    SEEN("told already", set, 0);
}

CASE(one_shot) {
    int sides[2], set = new_set();
    make_pair(SOCK_STREAM, sides);
    add(set, sides[0], EPOLLIN | EPOLLONESHOT);
    send_text(sides[1], "a");
    SEEN("first", set, EPOLLIN);
    SEEN("disarmed", set, 0);
    send_text(sides[1], "b");
    SEEN("disarmed, more data", set, 0);
    modify(set, sides[0], EPOLLIN | EPOLLONESHOT);
    SEEN("armed again", set, EPOLLIN);
    modify(set, sides[0], EPOLLIN | EPOLLONESHOT | EPOLLET);
    SEEN("armed again, edge-triggered", set, EPOLLIN);
    drop(sides[0], 8);
    modify(set, sides[0], EPOLLIN | EPOLLONESHOT | EPOLLET);
    SEEN("armed, empty", set, 0);
    send_text(sides[1], "c");
    SEEN("new", set, EPOLLIN);
    SEEN("disarmed", set, 0);
    hang_up(sides[1]);
    SEEN("disarmed, peer closed", set, 0);
}

/* A socket that is in a set before it is connected, or before it listens. */
CASE(registered_before_connect) {
    int listener = listener_at(SOCK_STREAM, "server", 5), fd = new_socket(SOCK_STREAM), set = new_set();
    add(set, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
    SEEN("unconnected", set, EPOLLOUT | EPOLLHUP);
    TRY(connect_fd(fd, "server"));
    SEEN("connected", set, EPOLLOUT);
    int peer = (int)TRY(accept(listener, NULL, NULL));
    SEEN("accepted", set, EPOLLOUT);
    send_text(peer, "abc");
    SEEN("data", set, EPOLLIN | EPOLLOUT);
    drop(fd, 3);
    SEEN("read", set, EPOLLOUT);
    hang_up(peer);
    SEEN("peer closed", set, EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLRDHUP);
}

CASE(registered_before_connect_edges) {
    int listener = listener_at(SOCK_STREAM, "server", 5), fd = new_socket(SOCK_STREAM), set = new_set();
    add(set, fd, EPOLLIN | EPOLLET);
    SEEN("unconnected", set, EPOLLHUP);
    TRY(connect_fd(fd, "server"));
    int peer = (int)TRY(accept(listener, NULL, NULL));
    look(set);
    send_text(peer, "abc");
    SEEN("data", set, EPOLLIN);
    SEEN("told already", set, 0);
    send_text(peer, "def");
    SEEN("more", set, EPOLLIN);
}

CASE(registered_before_listen) {
    int fd = new_socket(SOCK_STREAM), set = new_set(), edge_set = new_set();
    add(set, fd, EPOLLIN);
    add(edge_set, fd, EPOLLIN | EPOLLET);
    SEEN("new", set, EPOLLHUP);
    SEEN("new, edge", edge_set, EPOLLHUP);
    struct sockaddr_un address;
    socklen_t size = name_of(&address, "server");
    TRY(bind(fd, (struct sockaddr *)&address, size));
    SEEN("bound", set, EPOLLHUP);
    TRY(listen(fd, 5));
    SEEN("listening", set, 0);
    SEEN("listening, edge", edge_set, 0);
    int client = connected_to(SOCK_STREAM, "server");
    SEEN("connection", set, EPOLLIN);
    SEEN("connection, edge", edge_set, EPOLLIN);
    int peer = (int)TRY(accept(fd, NULL, NULL));
    SEEN("accepted", set, 0);
    add(set, peer, EPOLLIN);
    send_text(client, "abc");
    SEEN("data for the accepted", set, EPOLLIN);
}

CASE(dgram_registered_before_bind) {
    int fd = new_socket(SOCK_DGRAM), set = new_set();
    add(set, fd, EPOLLIN | EPOLLET);
    SEEN("new", set, 0);
    struct sockaddr_un address;
    socklen_t size = name_of(&address, "server");
    TRY(bind(fd, (struct sockaddr *)&address, size));
    SEEN("bound", set, 0);
    send_text(connected_to(SOCK_DGRAM, "server"), "abc");
    SEEN("letter", set, EPOLLIN);
}

/* The registration belongs to the open file: it stays while a copy does, and goes with the last one. */
CASE(goes_with_the_last_copy) {
    int sides[2], set = new_set();
    make_pair(SOCK_STREAM, sides);
    int copy = (int)TRY(dup(sides[0]));
    add(set, sides[0], EPOLLIN);
    send_text(sides[1], "abc");
    TRY(close(sides[0]));
    SEEN("a copy is left", set, EPOLLIN);
    hang_up(copy);
    SEEN("none is left", set, 0);
    int again[2];
    make_pair(SOCK_STREAM, again);
    add(set, again[0], EPOLLIN);
    SEEN("another socket at that number", set, 0);
    send_text(again[1], "x");
    SEEN("data", set, EPOLLIN);
}

CASE(same_file_twice) {
    int sides[2], set = new_set();
    make_pair(SOCK_STREAM, sides);
    int copy = (int)TRY(dup(sides[0]));
    add(set, sides[0], EPOLLIN);
    add(set, copy, EPOLLOUT);
    struct epoll_event events[4];
    RET(epoll_wait(set, events, 4, 0), 1);
    send_text(sides[1], "x");
    RET(epoll_wait(set, events, 4, 0), 2);
}

CASE(set_within_set) {
    int sides[2], inner = new_set(), outer = new_set();
    make_pair(SOCK_STREAM, sides);
    add(inner, sides[0], EPOLLIN);
    add(outer, inner, EPOLLIN);
    SEEN("empty", outer, 0);
    send_text(sides[1], "x");
    SEEN("data", outer, EPOLLIN);
    RET(poll_mask(inner) & POLLIN, POLLIN);
    drop(sides[0], 1);
    SEEN("read", outer, 0);
}

static int tcp_pair(int sides[2]) {
    int listener = (int)TRY(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    TRY(bind(listener, (struct sockaddr *)&address, size));
    TRY(listen(listener, 1));
    TRY(getsockname(listener, (struct sockaddr *)&address, &size));
    sides[0] = (int)TRY(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    TRY(connect(sides[0], (struct sockaddr *)&address, size));
    sides[1] = (int)TRY(accept(listener, NULL, NULL));
    return listener;
}

/* Everything in one set; each becomes ready in turn, and only it. */
CASE(mixed) {
    enum { STREAM, PACKETS, DATAGRAMS, LISTENER, PIPE, EVENT, TIMER, TCP, TCP_LISTENER, COUNT };
    static const char *const names[] = {"stream", "packets", "datagrams", "listener", "pipe", "event", "timer", "tcp",
                                        "tcp listener"};
    int set = new_set(), fds[COUNT], others[COUNT] = {0}, ends[2];
    const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
    for (int i = 0; i < 3; i++) {
        make_pair(types[i], ends);
        fds[i] = ends[0], others[i] = ends[1];
    }
    fds[LISTENER] = listener_at(SOCK_STREAM, "server", 5);
    TRY(pipe2(ends, O_CLOEXEC));
    fds[PIPE] = ends[0], others[PIPE] = ends[1];
    fds[EVENT] = (int)TRY(eventfd(0, EFD_CLOEXEC));
    fds[TIMER] = (int)TRY(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
    fds[TCP_LISTENER] = tcp_pair(ends);
    fds[TCP] = ends[0], others[TCP] = ends[1];
    for (int i = 0; i < COUNT; i++) {
        struct epoll_event event = {.events = EPOLLIN | (i % 2 ? (unsigned)EPOLLET : 0), .data.u32 = (uint32_t)i};
        TRY(epoll_ctl(set, EPOLL_CTL_ADD, fds[i], &event));
    }
    struct epoll_event events[COUNT];
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < COUNT; i++) {
            struct sockaddr_in address;
            socklen_t size = sizeof address;
            uint64_t number = 1;
            char data[8];
            switch (i) {
            case LISTENER: others[i] = connected_to(SOCK_STREAM, "server"); break;
            case EVENT: CHECK(write(fds[i], &number, 8) == 8); break;
            case TIMER: TRY(timerfd_settime(fds[i], 0, &(struct itimerspec){.it_value.tv_nsec = 1}, NULL)); break;
            case TCP_LISTENER:
                TRY(getsockname(fds[i], (struct sockaddr *)&address, &size));
                others[i] = (int)TRY(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
                TRY(connect(others[i], (struct sockaddr *)&address, size));
                break;
            default: CHECK(write(others[i], "x", 1) == 1);
            }
            RET(epoll_wait(set, events, COUNT, 5000), 1);
            say("%s: %s", names[events[0].data.u32], mask_text((int)events[0].events));
            CHECK(events[0].data.u32 == (uint32_t)i);
            if (i == LISTENER || i == TCP_LISTENER) {
                TRY(close(accept(fds[i], NULL, NULL)));
                TRY(close(others[i]));
            } else {
                CHECK(read(fds[i], data, sizeof data) > 0);
            }
        }
    RET(epoll_wait(set, events, COUNT, 0), 0);
    for (int i = 0; i < COUNT; i++)
        if (i != EVENT && i != TIMER && i != LISTENER && i != TCP_LISTENER)
            TRY(close(others[i]));
    settle();
    unsigned gone = 0;
    double end = now() + 5;
    while (gone != 0x93 && now() < end) /* stream, packets, pipe, tcp; a datagram socket does not tell */
        for (int i = epoll_wait(set, events, COUNT, 100); i-- > 0;)
            gone |= 1u << events[i].data.u32;
    say("end of file at %#x", gone);
    RET(gone, 0x93);
}

/* A small server of the usual kind: non-blocking, edge-triggered, one set for the listener and all clients. */
CASE(echo_server) {
    enum { CLIENTS = 20, ROUNDS = 30 };
    int listener = listener_at(SOCK_STREAM, "server", CLIENTS), set = new_set(), live = 0, served = 0;
    nonblocking(listener, true);
    pid_t others[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        if ((others[i] = child()) == 0) {
            int fd = connected_to(SOCK_STREAM, "server");
            char out[512], in[512];
            for (int round = 0; round < ROUNDS; round++) {
                size_t size = (size_t)(1 + (i * 37 + round * 101) % 512);
                memset(out, 'a' + (i + round) % 26, size);
                write_fully(fd, out, size);
                CHECK(read_fully(fd, in, size) && memcmp(in, out, size) == 0);
            }
            _exit(0);
        }
    add(set, listener, EPOLLIN | EPOLLET);
    while (served < CLIENTS) {
        struct epoll_event events[8];
        int count = (int)TRY(epoll_wait(set, events, 8, 10000));
        CHECK(count > 0);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int peer;
                while ((peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) != -1)
                    add(set, peer, EPOLLIN | EPOLLRDHUP | EPOLLET), live++;
                CHECK(errno == EAGAIN);
                continue;
            }
            char data[100];
            ssize_t got;
            while ((got = read(fd, data, sizeof data)) > 0)
                CHECK(write(fd, data, (size_t)got) == got);
            if (got == 0) {
                TRY(close(fd));
                served++;
            } else {
                CHECK(errno == EAGAIN);
            }
        }
    }
    RET(live, CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        join(others[i]);
}

/* Several processes wait on one listener in their own sets: at least one is woken, and the connection is served once. */
CASE(exclusive) {
    enum { COUNT = 4 };
    int listener = listener_at(SOCK_STREAM, "server", 50);
    nonblocking(listener, true);
    pid_t others[COUNT];
    struct gate stop[COUNT];
    for (int i = 0; i < COUNT; i++) {
        stop[i] = gate();
        if ((others[i] = child()) == 0) {
            int set = new_set();
            add(set, listener, EPOLLIN | EPOLLEXCLUSIVE);
            add(set, stop[i].fds[0], EPOLLIN);
            for (;;) {
                struct epoll_event event;
                CHECK(epoll_pwait(set, &event, 1, 10000, NULL) == 1);
                if (event.data.fd != listener)
                    _exit(0);
                int peer = accept(listener, NULL, NULL);
                CHECK(peer != -1 || errno == EAGAIN);
                if (peer != -1) {
                    CHECK(write(peer, "served", 6) == 6);
                    TRY(close(peer));
                }
            }
        }
    }
    for (int i = 0; i < COUNT; i++)
        wait_blocked(others[i], SYS_epoll_pwait);
    for (int i = 0; i < 50; i++) {
        int fd = connected_to(SOCK_STREAM, "server");
        char data[8];
        CHECK(read_fully(fd, data, 6) && read(fd, data, 1) == 0);
        TRY(close(fd));
    }
    for (int i = 0; i < COUNT; i++) {
        pass(&stop[i]);
        join(others[i]);
    }
    say("50 connections served once each");
}

CASE(passed_descriptor) {
    int sides[2], talk[2], set = new_set();
    make_pair(SOCK_STREAM, sides);
    make_pair(SOCK_STREAM, talk);
    send_text(talk[1], "before");
    CHECK(send_fds(sides[0], "x", 1, talk, 1, 0) == 1);
    TRY(close(talk[0]));
    int came = recv_fd(sides[1]);
    add(set, came, EPOLLIN | EPOLLET);
    SEEN("data were there", set, EPOLLIN);
    send_text(talk[1], "after");
    SEEN("more", set, EPOLLIN);
    drop(came, 64);
    SEEN("read", set, 0);
    hang_up(talk[1]);
    SEEN("end of file", set, EPOLLIN | EPOLLHUP);
}

/* The set is the parent's, the socket shared; what the child does with it shows there. */
CASE(shared_with_child) {
    int sides[2], set = new_set();
    make_pair(SOCK_STREAM, sides);
    add(set, sides[0], EPOLLIN | EPOLLRDHUP);
    send_text(sides[1], "abc");
    SEEN("data", set, EPOLLIN);
    pid_t other = child();
    if (other == 0) {
        drop(sides[0], 3);
        _exit(0);
    }
    join(other);
    SEEN("read by the child", set, 0);
    other = child();
    if (other == 0) {
        TRY(shutdown(sides[1], SHUT_WR));
        _exit(0);
    }
    join(other);
    SEEN("shut by the child", set, EPOLLIN | EPOLLRDHUP);
}
