/* How much fits: sends until EAGAIN for many sizes, what SIOCOUTQ counts, when there is room again. */
#include "check.h"

static char block[1 << 18];

static int queued(int fd) {
    int bytes;
    TRY(ioctl(fd, SIOCOUTQ, &bytes));
    return bytes;
}

static int waiting(int fd) {
    int bytes;
    TRY(ioctl(fd, SIOCINQ, &bytes));
    return bytes;
}

static void fill(int type) {
    const size_t sizes[] = {0, 1, 100, 1000, 4096, 10000, 32768, 65536, 100000, 200000, 212960, 212961, sizeof block};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (type == SOCK_STREAM && sizes[i] == 0)
            continue;
        int sides[2];
        make_pair(type | SOCK_NONBLOCK, sides);
        long total = 0, count = 0;
        ssize_t put;
        while (count < 5000 && (put = send(sides[0], block, sizes[i], 0)) >= 0) {
            if ((size_t)put < sizes[i])
                say("  partial: %zd", put);
            total += put, count++;
        }
        int error = errno;
        say("%zu bytes a time: %ld sends, %ld bytes, then %s; SIOCOUTQ %d SIOCINQ %d, poll %s", sizes[i], count, total,
            count == 5000 ? "no end" : error_name(error), queued(sides[0]), waiting(sides[1]), mask_text(poll_mask(sides[0])));
        close_all(sides, 2);
    }
}

CASE(stream_till_full) { fill(SOCK_STREAM); }
CASE(seqpacket_till_full) { fill(SOCK_SEQPACKET); }
CASE(dgram_till_full) { fill(SOCK_DGRAM); }

CASE(dgram_by_name_till_full) {
    bound_at(SOCK_DGRAM, "server");
    int client = sender_to("server"), count = 0;
    while (send(client, "x", 1, MSG_DONTWAIT) == 1)
        count++;
    CHECK(errno == EAGAIN);
    RET(count - queue_limit(), 1);
}

CASE(set_sizes) {
    const int wanted[] = {0, 1, 1000, 2304, 4608, 50000, 106496, 1 << 30};
    const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        for (int kind = 0; kind < 3; kind++) {
            int sides[2], size;
            make_pair(types[kind] | SOCK_NONBLOCK, sides);
            TRY(setsockopt(sides[0], SOL_SOCKET, SO_SNDBUF, &wanted[i], sizeof wanted[i]));
            socklen_t length = sizeof size;
            TRY(getsockopt(sides[0], SOL_SOCKET, SO_SNDBUF, &size, &length));
            long count = 0, total = 0;
            ssize_t put;
            while ((put = send(sides[0], block, 1500, 0)) > 0)
                count++, total += put;
            int error = errno;
            say("type %d, SO_SNDBUF %d, then %d: %ld sends, %ld bytes, then %s", types[kind], wanted[i], size, count, total,
                error_name(error));
            close_all(sides, 2);
        }
}

/* Room comes back as the reader takes messages; poll says writable only when a quarter is used. */
static void drain(int type) {
    int sides[2];
    make_pair(type | SOCK_NONBLOCK, sides);
    int sent = 0;
    while (send(sides[0], block, 4000, 0) == 4000)
        sent++;
    CHECK(errno == EAGAIN);
    int writable = 0;
    for (int got = 0; got < sent; got++) {
        bool before = poll_mask(sides[0]) & POLLOUT;
        CHECK(recv(sides[1], block, 4000, 0) == 4000);
        bool after = poll_mask(sides[0]) & POLLOUT;
        CHECK(before <= after);
        if (after && !writable)
            say("of %d messages %d read: writable, SIOCOUTQ %d", sent, writable = got + 1, queued(sides[0]));
    }
    RET(queued(sides[0]), 0);
    MASK("drained", sides[0], POLLOUT);
}

CASE(drain_stream) { drain(SOCK_STREAM); }
CASE(drain_seqpacket) { drain(SOCK_SEQPACKET); }
CASE(drain_dgram) { drain(SOCK_DGRAM); }

CASE(read_in_pieces) {
    int sides[2];
    make_pair(SOCK_STREAM | SOCK_NONBLOCK, sides);
    RET(send(sides[0], block, 10000, 0), 10000);
    int full = queued(sides[0]);
    say("SIOCOUTQ %d SIOCINQ %d", full, waiting(sides[1]));
    RET(recv(sides[1], block, 9999, 0), 9999);
    say("SIOCOUTQ %d SIOCINQ %d", queued(sides[0]), waiting(sides[1]));
    RET(recv(sides[1], block, 1, 0), 1);
    say("SIOCOUTQ %d SIOCINQ %d", queued(sides[0]), waiting(sides[1]));
}

/* One large send to a non-blocking stream takes part of it. */
CASE(partial_write) {
    int sides[2];
    make_pair(SOCK_STREAM | SOCK_NONBLOCK, sides);
    static char large[1 << 20];
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)(i * 7 + i / 251);
    ssize_t put = TRY(write(sides[0], large, sizeof large));
    say("of %zu bytes %zd were taken", sizeof large, put);
    CHECK(put > 0 && put < (ssize_t)sizeof large);
    ERR(write(sides[0], large, 1), EAGAIN);
    static char back[1 << 20];
    ssize_t got = 0, more;
    while ((more = read(sides[1], back + got, sizeof back - (size_t)got)) > 0)
        got += more;
    RET(got == put, 1);
    RET(memcmp(large, back, (size_t)got), 0);
}

/* A blocking send of more than fits waits for the reader, and writes everything. */
CASE(blocking_write) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    static char large[1 << 20];
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)(i * 13 + i / 255);
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[1]));
        CHECK(write(sides[0], large, sizeof large) == sizeof large);
        _exit(0);
    }
    TRY(close(sides[0]));
    wait_blocked(other, SYS_write);
    static char back[1 << 20];
    CHECK(read_fully(sides[1], back, sizeof back));
    RET(memcmp(large, back, sizeof back), 0);
    RET(read(sides[1], back, 1), 0);
    join(other);
}

/* The reader leaves in the middle of it: the number of bytes taken first, then EPIPE. */
CASE(blocking_write_reader_leaves) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    signal(SIGPIPE, SIG_IGN);
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[1]));
        static char large[1 << 20];
        ssize_t put = write(sides[0], large, sizeof large);
        CHECK(put > 0 && put < (ssize_t)sizeof large);
        say("took %zd", put);
        ERR(write(sides[0], large, sizeof large), EPIPE);
        _exit(0);
    }
    TRY(close(sides[0]));
    wait_blocked(other, SYS_write);
    TRY(close(sides[1]));
    join(other);
}

static void blocked_send(int type) {
    int sides[2];
    make_pair(type, sides);
    struct gate full = gate(), sent = gate();
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[1]));
        int count = 0;
        while (send(sides[0], block, 30000, MSG_DONTWAIT) > 0)
            count++;
        CHECK(errno == EAGAIN);
        say("%d messages without waiting", count);
        pass(&full);
        CHECK(send(sides[0], "last", 4, 0) == 4);
        pass(&sent);
        _exit(0);
    }
    TRY(close(sides[0]));
    await(&full);
    wait_blocked(other, SYS_sendto);
    long total = 0;
    ssize_t got;
    while ((got = TRY(recv(sides[1], block, sizeof block, type == SOCK_DGRAM ? 0 : MSG_WAITALL))) > 0) {
        total += got;
        if (memcmp(block + got - 4, "last", 4) == 0)
            break;
    }
    await(&sent);
    say("%ld bytes in all", total);
    join(other);
}

CASE(blocked_send_stream) { blocked_send(SOCK_STREAM); }
CASE(blocked_send_seqpacket) { blocked_send(SOCK_SEQPACKET); }
CASE(blocked_send_dgram) { blocked_send(SOCK_DGRAM); }

/* Many senders wait for the same full datagram socket; every letter arrives once. */
CASE(blocked_dgram_senders) {
    enum { COUNT = 6 };
    const int each = queue_limit() + 9; /* more than there is room for, so that each of them waits */
    int server = bound_at(SOCK_DGRAM, "server");
    pid_t others[COUNT];
    struct gate start = gate();
    for (int i = 0; i < COUNT; i++)
        if ((others[i] = child()) == 0) {
            int fd = connected_to(SOCK_DGRAM, "server");
            await(&start);
            for (int letter = 0; letter < each; letter++) {
                int data[2] = {i, letter};
                CHECK(send(fd, data, sizeof data, 0) == sizeof data);
            }
            _exit(0);
        }
    for (int i = 0; i < COUNT; i++)
        pass(&start);
    for (int i = 0; i < COUNT; i++)
        wait_blocked(others[i], SYS_sendto);
    int next[COUNT] = {0};
    for (int i = 0; i < COUNT * each; i++) {
        int data[2];
        CHECK(recv(server, data, sizeof data, 0) == sizeof data);
        CHECK(data[1] == next[data[0]]++);
    }
    for (int i = 0; i < COUNT; i++)
        join(others[i]);
    say("%d letters, each sender's in order", COUNT * each);
}

CASE(receiver_goes_while_sender_waits) {
    int server = bound_at(SOCK_DGRAM, "server");
    pid_t other = child();
    if (other == 0) {
        TRY(close(server));
        int fd = connected_to(SOCK_DGRAM, "server");
        while (send(fd, "x", 1, 0) == 1)
            ;
        CHECK(errno == ECONNREFUSED);
        ERR(send(fd, "x", 1, 0), ENOTCONN);
        _exit(0);
    }
    wait_blocked(other, SYS_sendto);
    TRY(close(server));
    join(other);
}
