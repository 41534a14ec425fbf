/* sendfile, splice, tee and vmsplice between files, pipes and sockets. */
#include "check.h"

enum { SIZE = 1 << 20 };
static uint8_t content[SIZE], back[SIZE];

static int content_file(void) {
    for (size_t i = 0; i < SIZE; i++)
        content[i] = (uint8_t)(i * 31 + i / 253);
    int fd = (int)TRY(open(path_of("content"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    write_fully(fd, content, SIZE);
    TRY(lseek(fd, 0, SEEK_SET));
    return fd;
}

static pid_t reader_of(int sides[2], size_t size) {
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[0]));
        CHECK(read_fully(sides[1], back, size));
        char byte;
        CHECK(read(sides[1], &byte, 1) == 0);
        CHECK(memcmp(content, back, size) == 0);
        _exit(0);
    }
    TRY(close(sides[1]));
    return other;
}

CASE(sendfile_all) {
    int file = content_file(), sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t other = reader_of(sides, SIZE);
    size_t done = 0;
    while (done < SIZE) {
        ssize_t put = sendfile(sides[0], file, NULL, SIZE - done);
        CHECK(put > 0);
        done += (size_t)put;
    }
    RET(lseek(file, 0, SEEK_CUR), SIZE);
    RET(sendfile(sides[0], file, NULL, 100), 0);
    TRY(close(sides[0]));
    join(other);
}

CASE(sendfile_with_offset) {
    int file = content_file(), sides[2];
    make_pair(SOCK_STREAM, sides);
    off_t offset = SIZE - 50;
    RET(sendfile(sides[0], file, &offset, 30), 30);
    RET(offset, SIZE - 20);
    RET(lseek(file, 0, SEEK_CUR), 0);
    RET(sendfile(sides[0], file, &offset, 30), 20);
    RET(recv(sides[1], back, sizeof back, 0), 50);
    RET(memcmp(back, content + SIZE - 50, 50), 0);
}

/* What a non-blocking socket took, and only that, has left the file. */
CASE(sendfile_till_full) {
    int file = content_file(), sides[2];
    make_pair(SOCK_STREAM | SOCK_NONBLOCK, sides);
    size_t done = 0;
    ssize_t put;
    while ((put = sendfile(sides[0], file, NULL, SIZE)) > 0)
        done += (size_t)put;
    CHECK(put == -1 && errno == EAGAIN);
    CHECK(done > 0 && done < SIZE);
    RET(lseek(file, 0, SEEK_CUR) == (off_t)done, 1);
    size_t got = 0;
    ssize_t more;
    while ((more = read(sides[1], back, SIZE)) > 0) {
        CHECK(memcmp(back, content + got, (size_t)more) == 0);
        got += (size_t)more;
    }
    RET(got == done, 1);
}

CASE(sendfile_refused) {
    int file = content_file(), sides[2], fd = new_socket(SOCK_STREAM);
    make_pair(SOCK_STREAM, sides);
    signal(SIGPIPE, SIG_IGN);
    ERR(sendfile(fd, file, NULL, 10), ENOTCONN);
    TRY(close(sides[1]));
    ERR(sendfile(sides[0], file, NULL, 10), EPIPE);
    RET(lseek(file, 0, SEEK_CUR), 0);
    make_pair(SOCK_STREAM, sides);
    ERR(sendfile(file, sides[0], NULL, 10), EINVAL);
}

CASE(sendfile_to_packets) {
    int file = content_file(), sides[2];
    const int types[] = {SOCK_SEQPACKET, SOCK_DGRAM};
    for (int i = 0; i < 2; i++) {
        make_pair(types[i], sides);
        TRY(lseek(file, 0, SEEK_SET));
        RET(sendfile(sides[0], file, NULL, 100), 100);
        RET(recv(sides[1], back, sizeof back, 0), 100);
        RET(memcmp(back, content, 100), 0);
    }
}

CASE(splice_pipe_to_socket) {
    int file = content_file(), sides[2], ends[2];
    make_pair(SOCK_STREAM, sides);
    TRY(pipe2(ends, O_CLOEXEC));
    pid_t other = reader_of(sides, SIZE);
    size_t done = 0;
    while (done < SIZE) {
        ssize_t in = splice(file, NULL, ends[1], NULL, 65536, SPLICE_F_MOVE);
        CHECK(in > 0);
        for (ssize_t left = in; left;) {
            ssize_t out = splice(ends[0], NULL, sides[0], NULL, (size_t)left, SPLICE_F_MOVE);
            CHECK(out > 0);
            left -= out;
        }
        done += (size_t)in;
    }
    TRY(close(sides[0]));
    join(other);
    say("%d bytes", SIZE);
}

CASE(splice_socket_to_pipe) {
    content_file();
    int sides[2], ends[2];
    make_pair(SOCK_STREAM, sides);
    TRY(pipe2(ends, O_CLOEXEC));
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[0]));
        write_fully(sides[1], content, SIZE);
        _exit(0);
    }
    TRY(close(sides[1]));
    size_t done = 0;
    ssize_t in;
    while ((in = splice(sides[0], NULL, ends[1], NULL, 40000, 0)) > 0) {
        CHECK(read_fully(ends[0], back + done, (size_t)in));
        done += (size_t)in;
    }
    RET(in, 0);
    RET(done, SIZE);
    RET(memcmp(back, content, SIZE), 0);
    join(other);
}

CASE(splice_limits) {
    int sides[2], ends[2];
    make_pair(SOCK_STREAM, sides);
    TRY(pipe2(ends, O_CLOEXEC));
    ERR(splice(sides[0], NULL, sides[1], NULL, 10, 0), EINVAL);
    off_t offset = 0;
    ERR(splice(sides[0], &offset, ends[1], NULL, 10, 0), EINVAL);
    ERR(splice(sides[0], NULL, ends[1], NULL, 10, SPLICE_F_NONBLOCK), EAGAIN);
    send_text(sides[1], "abcdef");
    RET(splice(sides[0], NULL, ends[1], NULL, 4, 0), 4);
    RET(splice(sides[0], NULL, ends[1], NULL, 4, 0), 2);
    RET(read(ends[0], back, 10), 6);
    say("%.6s", (char *)back);
    RET(splice(sides[0], NULL, ends[1], NULL, 0, 0), 0);
    TRY(close(sides[1]));
    RET(splice(sides[0], NULL, ends[1], NULL, 4, 0), 0);
    CHECK(write(ends[1], "pipe", 4) == 4);
    signal(SIGPIPE, SIG_IGN);
    ERR(splice(ends[0], NULL, sides[0], NULL, 4, 0), EPIPE);
}

CASE(splice_waits) {
    int sides[2], ends[2];
    make_pair(SOCK_STREAM, sides);
    TRY(pipe2(ends, O_CLOEXEC));
    pid_t other = child();
    if (other == 0) {
        CHECK(splice(sides[0], NULL, ends[1], NULL, 100, 0) == 7);
        _exit(0);
    }
    wait_blocked(other, SYS_splice);
    send_text(sides[1], "at last");
    join(other);
    RET(read(ends[0], back, 100), 7);
    say("%.7s", (char *)back);
}

CASE(proxy_through_pipes) {
    int left[2], right[2], ends[2];
    make_pair(SOCK_STREAM, left);
    make_pair(SOCK_STREAM, right);
    TRY(pipe2(ends, O_CLOEXEC));
    content_file();
    pid_t proxy = child();
    if (proxy == 0) {
        TRY(close(left[0]));
        TRY(close(right[1]));
        ssize_t in;
        while ((in = splice(left[1], NULL, ends[1], NULL, 65536, 0)) > 0)
            for (ssize_t out; in; in -= out) {
                out = splice(ends[0], NULL, right[0], NULL, (size_t)in, 0);
                CHECK(out > 0);
            }
        CHECK(in == 0);
        _exit(0);
    }
    TRY(close(left[1]));
    TRY(close(right[0]));
    pid_t writer = child();
    if (writer == 0) {
        TRY(close(right[1]));
        write_fully(left[0], content, SIZE);
        _exit(0);
    }
    TRY(close(left[0]));
    CHECK(read_fully(right[1], back, SIZE));
    char byte;
    RET(read(right[1], &byte, 1), 0);
    RET(memcmp(back, content, SIZE), 0);
    join(writer);
    join(proxy);
}

/* The host's own splice takes from a pipe's files the ability to be read without waiting (FMODE_NOWAIT). */
CASE(pipe_that_was_spliced_before) {
    int sides[2], way[2];
    char data[8];
    make_pair(SOCK_STREAM, sides);
    TRY(pipe2(way, O_CLOEXEC));
    int file = (int)TRY(open(path_of("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    CHECK(pwrite(file, "first", 5, 0) == 5);
    RET(splice(file, NULL, way[1], NULL, 5, 0), 5);
    RET(splice(way[0], NULL, sides[0], NULL, 5, 0), 5);
    RET(splice(sides[1], NULL, way[1], NULL, 5, 0), 5);
    CHECK(read(way[0], data, sizeof data) == 5 && memcmp(data, "first", 5) == 0);
    TRY(fcntl(sides[1], F_SETFL, O_NONBLOCK));
    ERR(splice(sides[1], NULL, way[1], NULL, 5, 0), EAGAIN);
    ERR(splice(way[0], NULL, sides[0], NULL, 5, SPLICE_F_NONBLOCK), EAGAIN);
}

CASE(tee_and_vmsplice) {
    int one[2], two[2], sides[2];
    make_pair(SOCK_STREAM, sides);
    TRY(pipe2(one, O_CLOEXEC));
    TRY(pipe2(two, O_CLOEXEC));
    RET(vmsplice(one[1], &(struct iovec){"twice", 5}, 1, 0), 5);
    RET(tee(one[0], two[1], 100, 0), 5);
    RET(splice(one[0], NULL, sides[0], NULL, 5, 0), 5);
    RET(splice(two[0], NULL, sides[0], NULL, 5, 0), 5);
    RET(recv(sides[1], back, 100, 0), 10);
    say("%.10s", (char *)back);
    ERR(tee(sides[0], two[1], 10, 0), EINVAL);
    ERR(vmsplice(sides[0], &(struct iovec){"x", 1}, 1, 0), EBADF);
}

/* Nothing of ours in it: the calls go on working for files, pipes and TCP. */
CASE(without_unix_sockets) {
    int file = content_file(), ends[2];
    TRY(pipe2(ends, O_CLOEXEC));
    RET(splice(file, NULL, ends[1], NULL, 1000, 0), 1000);
    RET(read(ends[0], back, 1000), 1000);
    RET(memcmp(back, content, 1000), 0);
    int other = (int)TRY(open(path_of("copy"), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    RET(sendfile(other, file, NULL, 1000), 1000);
    RET(pread(other, back, 2000, 0), 1000);
    RET(memcmp(back, content + 1000, 1000), 0);
    RET(copy_file_range(file, &(off_t){0}, other, &(off_t){0}, 500, 0), 500);
}
