/* Ten mebibytes through a socket, each way at once, with every kind of call; the bytes are checked at the far end. */
#include "check.h"

enum { TOTAL = 10 << 20, CHUNK = 100000 };

/* The byte at a position of the stream that carries this seed. */
static void generate(uint8_t *data, size_t size, size_t position, unsigned seed) {
    for (size_t i = 0; i < size; i++) {
        uint32_t x = (uint32_t)((position + i) * 2654435761u) ^ seed;
        data[i] = (uint8_t)(x >> 24 ^ x >> 11);
    }
}

static bool genuine(const uint8_t *data, size_t size, size_t position, unsigned seed) {
    static __thread uint8_t expected[CHUNK];
    generate(expected, size, position, seed);
    return memcmp(expected, data, size) == 0;
}

/* Sizes of the single calls: small, odd, larger than a page, larger than what one buffer holds. */
static size_t size_of_turn(unsigned turn, size_t left) {
    static const size_t sizes[] = {4096, 1, 65536, 777, CHUNK, 32768, 20011, 131};
    size_t size = sizes[turn % 8];
    return size < left ? size : left;
}

struct way {
    int fd;
    unsigned seed;
};

static void *write_all(void *argument) {
    struct way *way = argument;
    static __thread uint8_t data[CHUNK];
    size_t done = 0;
    for (unsigned turn = 0; done < TOTAL; turn++) {
        size_t size = size_of_turn(turn, TOTAL - done);
        generate(data, size, done, way->seed);
        if (turn % 2) {
            write_fully(way->fd, data, size);
        } else {
            struct iovec parts[3] = {{data, size / 3}, {data + size / 3, 0}, {data + size / 3, size - size / 3}};
            CHECK(writev(way->fd, parts, 3) == (ssize_t)size);
        }
        done += size;
    }
    return NULL;
}

static void *read_all(void *argument) {
    struct way *way = argument;
    static __thread uint8_t data[CHUNK];
    size_t done = 0;
    for (unsigned turn = 3; done < TOTAL; turn++) {
        size_t size = size_of_turn(turn, TOTAL - done);
        ssize_t got = turn % 2 ? recv(way->fd, data, size, 0) : read(way->fd, data, size);
        CHECK(got > 0);
        if (!genuine(data, (size_t)got, done, way->seed))
            fail("wrong bytes within %zd at %zu", got, done);
        done += (size_t)got;
    }
    return NULL;
}

static void both_ways(int fd, unsigned out, unsigned in) {
    struct way writing = {fd, out}, reading = {fd, in};
    pthread_t writer, reader;
    CHECK(pthread_create(&writer, NULL, write_all, &writing) == 0);
    CHECK(pthread_create(&reader, NULL, read_all, &reading) == 0);
    CHECK(pthread_join(writer, NULL) == 0 && pthread_join(reader, NULL) == 0);
}

CASE(blocking_both_ways) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[0]));
        both_ways(sides[1], 1, 2);
        _exit(0);
    }
    TRY(close(sides[1]));
    both_ways(sides[0], 2, 1);
    join(other);
    say("%d bytes each way", TOTAL);
}

/* One thread, both directions, and no call that waits but poll. */
static void busy_both_ways(int fd, unsigned out, unsigned in, bool by_epoll) {
    static uint8_t data[CHUNK];
    size_t sent = 0, got = 0;
    nonblocking(fd, true);
    int set = (int)TRY(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
    TRY(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    for (unsigned turn = 0; sent < TOTAL || got < TOTAL;) {
        bool readable, writable;
        if (by_epoll) {
            CHECK(epoll_wait(set, &event, 1, 10000) == 1);
            readable = event.events & EPOLLIN, writable = event.events & EPOLLOUT;
        } else {
            struct pollfd item = {fd, (short)((got < TOTAL ? POLLIN : 0) | (sent < TOTAL ? POLLOUT : 0)), 0};
            CHECK(poll(&item, 1, 10000) == 1);
            readable = item.revents & POLLIN, writable = item.revents & POLLOUT;
        }
        while (readable && got < TOTAL) {
            ssize_t size = recv(fd, data, size_of_turn(turn++, TOTAL - got), 0);
            if (size == -1 && errno == EAGAIN)
                break;
            CHECK(size > 0 && genuine(data, (size_t)size, got, in));
            got += (size_t)size;
        }
        while (writable && sent < TOTAL) {
            size_t size = size_of_turn(turn++, TOTAL - sent);
            generate(data, size, sent, out);
            ssize_t put = send(fd, data, size, 0);
            if (put == -1 && errno == EAGAIN)
                break;
            CHECK(put > 0);
            sent += (size_t)put;
        }
    }
}

static void busy(bool by_epoll) {
    int listener = listener_at(SOCK_STREAM, "server", 1);
    pid_t other = child();
    if (other == 0) {
        busy_both_ways(connected_to(SOCK_STREAM, "server"), 5, 6, by_epoll);
        _exit(0);
    }
    busy_both_ways((int)TRY(accept(listener, NULL, NULL)), 6, 5, by_epoll);
    join(other);
    say("%d bytes each way", TOTAL);
}

CASE(nonblocking_both_ways_poll) { busy(false); }
CASE(nonblocking_both_ways_edge_triggered) { busy(true); }

/* Records of very different sizes keep their borders and their order. */
static void records(int type) {
    enum { COUNT = 600 };
    static uint8_t data[CHUNK];
    int sides[2];
    make_pair(type, sides);
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[0]));
        size_t position = 0;
        for (unsigned turn = 0; turn < COUNT; turn++) {
            size_t size = size_of_turn(turn, CHUNK);
            generate(data, size, position, turn);
            CHECK(send(sides[1], data, size, 0) == (ssize_t)size);
            position += size;
        }
        _exit(0);
    }
    TRY(close(sides[1]));
    size_t position = 0;
    for (unsigned turn = 0; turn < COUNT; turn++) {
        size_t size = size_of_turn(turn, CHUNK);
        CHECK(recv(sides[0], data, sizeof data, 0) == (ssize_t)size);
        CHECK(genuine(data, size, position, turn));
        position += size;
    }
    join(other);
    say("%d records, %zu bytes", COUNT, position);
    if (type == SOCK_SEQPACKET)
        RET(recv(sides[0], data, sizeof data, 0), 0);
}

CASE(records_seqpacket) { records(SOCK_SEQPACKET); }
CASE(records_dgram) { records(SOCK_DGRAM); }

/* Writers of one stream: what each writes with one small call stays together. */
CASE(small_writes_stay_whole) {
    enum { WRITERS = 4, EACH = 2000, SIZE = 60 };
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t others[WRITERS];
    for (int i = 0; i < WRITERS; i++)
        if ((others[i] = child()) == 0) {
            TRY(close(sides[0]));
            char line[SIZE];
            for (int turn = 0; turn < EACH; turn++) {
                memset(line, 'a' + i, sizeof line);
                CHECK(write(sides[1], line, sizeof line) == sizeof line);
            }
            _exit(0);
        }
    TRY(close(sides[1]));
    int seen[WRITERS] = {0};
    char line[SIZE];
    while (read_fully(sides[0], line, sizeof line)) {
        for (int i = 1; i < SIZE; i++)
            CHECK(line[i] == line[0]);
        seen[line[0] - 'a']++;
    }
    for (int i = 0; i < WRITERS; i++) {
        RET(seen[i], EACH);
        join(others[i]);
    }
}
