/* Poll masks in every state of every socket type; each through poll, select and epoll, which must agree. */
#include "check.h"

static char block[1 << 17];

static void fill(int fd) {
    nonblocking(fd, true);
    while (send(fd, block, 20000, 0) > 0 || send(fd, block, 1, 0) > 0)
        ;
    CHECK(errno == EAGAIN);
}

static void before_connection(int type) {
    int fd = new_socket(type);
    MASK("new", fd, POLLOUT | POLLHUP);
    struct sockaddr_un address;
    socklen_t size = name_of(&address, "server");
    TRY(bind(fd, (struct sockaddr *)&address, size));
    MASK("bound", fd, POLLOUT | POLLHUP);
    TRY(listen(fd, 5));
    MASK("listening", fd, 0);
    int client = new_socket(type);
    MASK("client, new", client, POLLOUT | POLLHUP);
    TRY(connect_fd(client, "server"));
    MASK("connection waits", fd, POLLIN);
    MASK("client, not accepted", client, POLLOUT);
    int peer = (int)TRY(accept(fd, NULL, NULL));
    MASK("listener, all accepted", fd, 0);
    MASK("accepted", peer, POLLOUT);
    MASK("client", client, POLLOUT);
    for (int i = 0; i < 2; i++)
        connected_to(type, "server");
    MASK("two wait", fd, POLLIN);
    TRY(close(accept(fd, NULL, NULL)));
    MASK("one waits", fd, POLLIN);
    TRY(shutdown(fd, SHUT_RD));
    MASK("listener shut for reading", fd, POLLIN | POLLRDHUP);
    TRY(shutdown(fd, SHUT_RDWR));
    MASK("listener shut both ways", fd, POLLIN | POLLHUP | POLLRDHUP);
}

CASE(stream_before_connection) { before_connection(SOCK_STREAM); }
CASE(seqpacket_before_connection) { before_connection(SOCK_SEQPACKET); }

CASE(unconnected_shut_down) {
    const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
    const int hows[] = {SHUT_RD, SHUT_WR, SHUT_RDWR};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            int fd = new_socket(types[i]);
            TRY(shutdown(fd, hows[j]));
            int mask = poll_mask(fd), other = epoll_mask(fd);
            CHECK(mask == other);
            say("type %d, shut %d: %s", types[i], hows[j], mask_text(mask));
        }
}

CASE(failed_connect) {
    int fd = new_socket(SOCK_STREAM);
    ERR(connect_fd(fd, "missing"), ENOENT);
    MASK("refused", fd, POLLOUT | POLLHUP);
    listener_at(SOCK_STREAM, "server", 0);
    connected_to(SOCK_STREAM, "server");
    nonblocking(fd, true);
    ERR(connect_fd(fd, "server"), EAGAIN);
    MASK("full", fd, POLLOUT | POLLHUP);
}

static void connected(int type) {
    int sides[2];
    char data[16];
    make_pair(type, sides);
    MASK("connected", sides[0], POLLOUT);
    send_text(sides[1], "abc");
    MASK("data", sides[0], POLLIN | POLLOUT);
    send_text(sides[1], "def");
    CHECK(recv(sides[0], data, 1, 0) == 1);
    MASK("partly read", sides[0], POLLIN | POLLOUT);
    CHECK(recv(sides[0], data, sizeof data, 0) > 0);
    MASK("read", sides[0], POLLOUT);
}

CASE(stream_data) { connected(SOCK_STREAM); }
CASE(seqpacket_data) { connected(SOCK_SEQPACKET); }
CASE(dgram_data) { connected(SOCK_DGRAM); }

CASE(empty_records) {
    const int types[] = {SOCK_SEQPACKET, SOCK_DGRAM};
    for (int i = 0; i < 2; i++) {
        int sides[2];
        make_pair(types[i], sides);
        TRY(send(sides[1], "", 0, 0));
        MASK("an empty record", sides[0], POLLIN | POLLOUT);
        CHECK(recv(sides[0], block, 1, 0) == 0);
        MASK("read", sides[0], POLLOUT);
    }
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    TRY(send(sides[1], "", 0, 0));
    MASK("nothing on a stream", sides[0], POLLOUT);
}

static void shut(int type) {
    int sides[2];
    char data[16];
    make_pair(type, sides);
    send_text(sides[0], "abc");
    TRY(shutdown(sides[0], SHUT_WR));
    MASK("own writing shut", sides[0], POLLOUT);
    MASK("peer's writing shut, data", sides[1], POLLIN | POLLOUT | POLLRDHUP);
    CHECK(recv(sides[1], data, sizeof data, 0) == 3);
    MASK("peer's writing shut", sides[1], POLLIN | POLLOUT | POLLRDHUP);
    TRY(shutdown(sides[1], SHUT_WR));
    MASK("both shut for writing", sides[0], POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
    MASK("both shut for writing", sides[1], POLLIN | POLLOUT | POLLHUP | POLLRDHUP);

    make_pair(type, sides);
    TRY(shutdown(sides[0], SHUT_RD));
    MASK("own reading shut", sides[0], POLLIN | POLLOUT | POLLRDHUP);
    MASK("peer's reading shut", sides[1], POLLOUT);

    make_pair(type, sides);
    send_text(sides[1], "abc");
    TRY(shutdown(sides[0], SHUT_RDWR));
    MASK("both shut, data", sides[0], POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
    MASK("peer shut both", sides[1], POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
    CHECK(recv(sides[0], data, sizeof data, 0) == 3);
    MASK("both shut", sides[0], POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
}

CASE(stream_shut) { shut(SOCK_STREAM); }
CASE(seqpacket_shut) { shut(SOCK_SEQPACKET); }

CASE(dgram_shut) {
    int sides[2];
    make_pair(SOCK_DGRAM, sides);
    TRY(shutdown(sides[0], SHUT_WR));
    MASK("own writing shut", sides[0], POLLOUT);
    MASK("peer's writing shut", sides[1], POLLOUT);
    TRY(shutdown(sides[0], SHUT_RD));
    MASK("both shut", sides[0], POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
    MASK("peer shut both", sides[1], POLLOUT);
    make_pair(SOCK_DGRAM, sides);
    TRY(shutdown(sides[0], SHUT_RD));
    MASK("own reading shut", sides[0], POLLIN | POLLOUT | POLLRDHUP);
}

static void peer_closed(int type) {
    int sides[2];
    char data[16];
    make_pair(type, sides);
    hang_up(sides[1]);
    MASK("peer closed", sides[0], POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
    CHECK(recv(sides[0], data, 1, 0) == 0);
    MASK("end of file read", sides[0], POLLIN | POLLOUT | POLLHUP | POLLRDHUP);

    make_pair(type, sides);
    send_text(sides[1], "last words");
    hang_up(sides[1]);
    MASK("data, then peer closed", sides[0], POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
    CHECK(recv(sides[0], data, sizeof data, 0) == 10);
    MASK("all read", sides[0], POLLIN | POLLOUT | POLLHUP | POLLRDHUP);

    make_pair(type, sides);
    send_text(sides[0], "unread");
    hang_up(sides[1]);
    MASK("peer closed with unread data", sides[0], POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP);
    ERR(recv(sides[0], data, 1, 0), ECONNRESET);
    MASK("error read", sides[0], POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
    RET(recv(sides[0], data, 1, 0), 0);
}

CASE(stream_peer_closed) { peer_closed(SOCK_STREAM); }
CASE(seqpacket_peer_closed) { peer_closed(SOCK_SEQPACKET); }

CASE(dgram_peer_closed) {
    int sides[2];
    char data[16];
    make_pair(SOCK_DGRAM, sides);
    send_text(sides[1], "last words");
    send_text(sides[0], "unread");
    hang_up(sides[1]);
    int mask = poll_mask(sides[0]);
    CHECK(mask == epoll_mask(sides[0]));
    say("pair, peer closed: %s", mask_text(mask));
    ssize_t got = recv(sides[0], data, sizeof data, MSG_DONTWAIT);
    say("recv %zd %s", got, got < 0 ? error_name(errno) : "");
    say("then: %s", mask_text(poll_mask(sides[0])));
    got = send(sides[0], "x", 1, MSG_NOSIGNAL);
    say("send %zd %s", got, got < 0 ? error_name(errno) : "");
    say("then: %s", mask_text(poll_mask(sides[0])));

    int server = bound_at(SOCK_DGRAM, "server"), client = connected_to(SOCK_DGRAM, "server");
    MASK("client of a server", client, POLLOUT);
    hang_up(server);
    MASK("client of a dead server", client, POLLOUT);
    ERR(send(client, "x", 1, 0), ECONNREFUSED);
    MASK("it knows", client, POLLOUT);
    ERR(send(client, "x", 1, 0), ENOTCONN);
}

static void buffer_full(int type) {
    int sides[2];
    make_pair(type, sides);
    fill(sides[0]);
    MASK("full", sides[0], 0);
    MASK("its reader", sides[1], POLLIN | POLLOUT);
    send_text(sides[1], "abc");
    MASK("full, and data", sides[0], POLLIN);
    TRY(shutdown(sides[1], SHUT_WR));
    if (type != SOCK_DGRAM)
        MASK("full, data, peer's writing shut", sides[0], POLLIN | POLLRDHUP);
    hang_up(sides[1]);
    if (type != SOCK_DGRAM)
        MASK("peer closed", sides[0], POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP);
}

CASE(stream_full) { buffer_full(SOCK_STREAM); }
CASE(seqpacket_full) { buffer_full(SOCK_SEQPACKET); }
CASE(dgram_full) { buffer_full(SOCK_DGRAM); }

/* Room by little and little: OUT comes at the same message as SIOCOUTQ falls to a quarter, and goes again. */
CASE(room_comes_and_goes) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    fill(sides[0]);
    int reads = 0;
    while (!(poll_mask(sides[0]) & POLLOUT)) {
        CHECK(recv(sides[1], block, 20000, 0) > 0);
        reads++;
    }
    say("%d reads for room", reads);
    MASK("room", sides[0], POLLOUT);
    CHECK(send(sides[0], block, 20000, 0) == 20000);
    MASK("little room", sides[0], 0);
    CHECK(recv(sides[1], block, 20000, 0) == 20000);
    MASK("room again", sides[0], POLLOUT);
}

/* A datagram socket that does not answer its sender has a short queue; that shows in the sender's mask. */
CASE(dgram_receiver_full) {
    int server = bound_at(SOCK_DGRAM, "server"), client = sender_to("server"), sent = 0;
    while (send(client, "x", 1, MSG_DONTWAIT) == 1)
        sent++;
    RET(sent - queue_limit(), 1);
    MASK("receiver's queue full", client, 0);
    MASK("receiver", server, POLLIN | POLLOUT);
    int other = new_socket(SOCK_DGRAM);
    MASK("unconnected sender", other, POLLOUT);
    struct sockaddr_un address;
    socklen_t size = name_of(&address, "server");
    ERR(sendto(other, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&address, size), EAGAIN);
    CHECK(recv(server, block, 1, 0) == 1);
    MASK("room for one", client, POLLOUT);
    RET(sendto(other, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&address, size), 1);
    MASK("taken by another", client, 0);
    hang_up(server);
    MASK("receiver gone", client, POLLOUT);
}

CASE(urgent_byte) {
    int sides[2];
    char data[16];
    make_pair(SOCK_STREAM, sides);
    CHECK(send(sides[1], "x", 1, MSG_OOB) == 1);
    MASK("only an urgent byte", sides[0], POLLIN | POLLPRI | POLLOUT);
    CHECK(recv(sides[0], data, 1, MSG_OOB) == 1);
    say("taken: %s", mask_text(poll_mask(sides[0]) & ~(POLLIN | POLLRDNORM)));
    send_text(sides[1], "abc");
    CHECK(send(sides[1], "y", 1, MSG_OOB) == 1);
    MASK("data and an urgent byte", sides[0], POLLIN | POLLPRI | POLLOUT);
    CHECK(recv(sides[0], data, 2, 0) == 2);
    MASK("some read", sides[0], POLLIN | POLLPRI | POLLOUT);
    CHECK(recv(sides[0], data, 5, 0) == 1);
    MASK("at the mark", sides[0], POLLIN | POLLPRI | POLLOUT);
    hang_up(sides[1]);
    MASK("peer closed", sides[0], POLLIN | POLLPRI | POLLOUT | POLLHUP | POLLRDHUP);
}

CASE(only_what_was_asked) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    send_text(sides[1], "abc");
    struct pollfd items[4] = {{sides[0], POLLIN, 0}, {sides[0], POLLOUT, 0}, {sides[0], 0, 0}, {-1, POLLIN, 77}};
    RET(poll(items, 4, 0), 2);
    say("%s %s", mask_text(items[0].revents), items[2].revents || items[3].revents ? "more" : "no more");
    say("%s", mask_text(items[1].revents));
    hang_up(sides[1]);
    RET(poll(items, 4, 0), 3);
    say("%s", mask_text(items[2].revents));
    items[3].fd = 999;
    RET(poll(items, 4, 0), 4);
    say("%s", mask_text(items[3].revents));
    int set = (int)TRY(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event event = {.events = 0};
    RET(epoll_ctl(set, EPOLL_CTL_ADD, sides[0], &event), 0);
    RET(epoll_wait(set, &event, 1, 0), 1);
    say("%s", mask_text((int)event.events));
    ERR(epoll_ctl(set, EPOLL_CTL_ADD, sides[0], &event), EEXIST);
    RET(epoll_ctl(set, EPOLL_CTL_DEL, sides[0], NULL), 0);
    ERR(epoll_ctl(set, EPOLL_CTL_DEL, sides[0], NULL), ENOENT);
}

/* The same without a socket call in between: poll right after the close of the last descriptor. */
CASE(close_seen_at_once) {
    for (int i = 0; i < 200; i++) {
        int sides[2];
        make_pair(i % 2 ? SOCK_STREAM : SOCK_SEQPACKET, sides);
        close(sides[1]);
        int mask = poll_mask(sides[0]);
        CHECK((mask & MASK_BITS) == (POLLIN | POLLOUT | POLLHUP | POLLRDHUP | POLLRDNORM | POLLWRNORM | POLLWRBAND));
        close(sides[0]);
    }
    say("seen by every one of 200 polls");
}

CASE(copies) {
    int sides[2], copies[2];
    make_pair(SOCK_STREAM, sides);
    for (int i = 0; i < 2; i++)
        copies[i] = (int)TRY(dup(sides[i]));
    hang_up(sides[1]);
    MASK("a copy of the peer is left", sides[0], POLLOUT);
    hang_up(copies[1]);
    MASK("none is left", sides[0], POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
    MASK("the copy says the same", copies[0], POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
}
