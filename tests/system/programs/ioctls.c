/* The ways to ask for not waiting, the ioctls, timeouts and the options that tell about a socket. */
#include "check.h"

static const int three_types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};

/* O_NONBLOCK is one flag of the open file, however it was set; MSG_DONTWAIT is of one call. */
CASE(ways_not_to_wait) {
    for (int i = 0; i < 3; i++) {
        int sides[2], on = 1, off = 0;
        char byte;
        make_pair(three_types[i], sides);
        ERR(recv(sides[0], &byte, 1, MSG_DONTWAIT), EAGAIN);
        RET(ioctl(sides[0], FIONBIO, &on), 0);
        RET(fcntl(sides[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
        ERR(recv(sides[0], &byte, 1, 0), EAGAIN);
        ERR(read(sides[0], &byte, 1), EAGAIN);
        int copy = (int)TRY(dup(sides[0]));
        RET(ioctl(copy, FIONBIO, &off), 0);
        RET(fcntl(sides[0], F_GETFL) & O_NONBLOCK, 0);
        RET(fcntl(sides[0], F_SETFL, O_NONBLOCK | O_RDWR), 0);
        ERR(read(copy, &byte, 1), EAGAIN);
        RET(fcntl(sides[1], F_GETFL) & O_NONBLOCK, 0);
        ERR(preadv2(sides[1], &(struct iovec){&byte, 1}, 1, -1, RWF_NOWAIT), EAGAIN);
    }
}

/* A child's change of the flag is seen by the parent, whose next read does not wait. */
CASE(nonblocking_set_by_child) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t other = child();
    if (other == 0) {
        nonblocking(sides[0], true);
        _exit(0);
    }
    join(other);
    char byte;
    ERR(read(sides[0], &byte, 1), EAGAIN);
    ERR(accept(sides[0], NULL, NULL), EINVAL);
}

/* The flag is looked at when the call starts: one that waits goes on waiting. */
CASE(nonblocking_set_while_waiting) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t other = child();
    if (other == 0) {
        char byte;
        CHECK(read(sides[0], &byte, 1) == 1);
        ERR(read(sides[0], &byte, 1), EAGAIN);
        _exit(0);
    }
    wait_blocked(other, SYS_read);
    nonblocking(sides[0], true);
    wait_blocked(other, SYS_read);
    send_text(sides[1], "x");
    join(other);
}

CASE(bytes_to_read) {
    for (int i = 0; i < 3; i++) {
        int sides[2], bytes;
        char data[8];
        make_pair(three_types[i], sides);
        RET(ioctl(sides[1], FIONREAD, &bytes), 0);
        RET(bytes, 0);
        send_text(sides[0], "abc");
        send_text(sides[0], "defg");
        RET(ioctl(sides[1], FIONREAD, &bytes), 0);
        say("type %d: FIONREAD %d", three_types[i], bytes);
        RET(ioctl(sides[0], SIOCOUTQ, &bytes), 0);
        say("SIOCOUTQ %d", bytes);
        RET(recv(sides[1], data, 2, 0), 2);
        RET(ioctl(sides[1], SIOCINQ, &bytes), 0);
        say("after reading 2: %d", bytes);
        RET(ioctl(sides[0], SIOCOUTQ, &bytes), 0);
        say("SIOCOUTQ %d", bytes);
        ERR(ioctl(sides[1], FIONREAD, (void *)8), EFAULT);
        TRY(close(sides[1]));
        RET(ioctl(sides[0], SIOCOUTQ, &bytes), 0);
        RET(bytes, 0);
    }
    int listener = listener_at(SOCK_STREAM, "server", 1), bytes;
    ERR(ioctl(listener, FIONREAD, &bytes), EINVAL);
    RET(ioctl(listener, SIOCOUTQ, &bytes), 0);
}

CASE(other_ioctls) {
    int sides[2], value = 0;
    make_pair(SOCK_STREAM, sides);
    ERR(ioctl(sides[0], 0x5401 /* TCGETS */, &value), ENOTTY);
    RET(isatty(sides[0]), 0);
    RET(ioctl(sides[0], FIOCLEX), 0);
    RET(fcntl(sides[0], F_GETFD), FD_CLOEXEC);
    RET(ioctl(sides[0], FIONCLEX), 0);
    RET(fcntl(sides[0], F_GETFD), 0);
}

/* Pipes, files and other sockets answer the same requests by themselves. */
CASE(other_files) {
    int ends[2], bytes = -1, on = 1;
    TRY(pipe2(ends, O_CLOEXEC));
    CHECK(write(ends[1], "abcde", 5) == 5);
    RET(ioctl(ends[0], FIONREAD, &bytes), 0);
    RET(bytes, 5);
    RET(ioctl(ends[0], FIONBIO, &on), 0);
    char data[8];
    RET(read(ends[0], data, 8), 5);
    ERR(read(ends[0], data, 8), EAGAIN);
    int udp = (int)TRY(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    RET(bind(udp, (struct sockaddr *)&address, size), 0);
    RET(getsockname(udp, (struct sockaddr *)&address, &size), 0);
    RET(sendto(udp, "abc", 3, 0, (struct sockaddr *)&address, size), 3);
    RET(ioctl(udp, FIONREAD, &bytes), 0);
    RET(bytes, 3);
    RET(recv(udp, data, 8, MSG_DONTWAIT), 3);
    ERR(recv(udp, data, 8, MSG_DONTWAIT), EAGAIN);
}

CASE(receive_timeout) {
    for (int i = 0; i < 3; i++) {
        int sides[2];
        char data[8];
        make_pair(three_types[i], sides);
        TRY(setsockopt(sides[0], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){0, 60000}, sizeof(struct timeval)));
        double start = now();
        ERR(recv(sides[0], data, 8, 0), EAGAIN);
        ERR(read(sides[0], data, 8), EAGAIN);
        double took = now() - start;
        RET(took >= 0.115 && took < 4, 1);
        send_text(sides[1], "abc");
        RET(recv(sides[0], data, 8, three_types[i] == SOCK_STREAM ? MSG_WAITALL : 0), 3);
        struct timeval time;
        socklen_t size = sizeof time;
        RET(getsockopt(sides[0], SOL_SOCKET, SO_RCVTIMEO, &time, &size), 0);
        say("%ld s %ld us", (long)time.tv_sec, (long)time.tv_usec);
    }
}

CASE(send_timeout) {
    static char block[300000];
    for (int i = 0; i < 3; i++) {
        int sides[2];
        make_pair(three_types[i], sides);
        TRY(setsockopt(sides[0], SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){0, 60000}, sizeof(struct timeval)));
        ssize_t put = three_types[i] == SOCK_STREAM ? send(sides[0], block, sizeof block, 0) : 0;
        while (three_types[i] != SOCK_STREAM && send(sides[0], block, 50000, MSG_DONTWAIT) > 0)
            put += 50000;
        say("type %d took %zd", three_types[i], put);
        double start = now();
        ERR(send(sides[0], block, 50000, 0), EAGAIN);
        double took = now() - start;
        RET(took >= 0.055 && took < 4, 1);
    }
}

CASE(timeouts_stored) {
    int fd = new_socket(SOCK_STREAM);
    struct timeval time;
    const struct {
        long seconds, microseconds;
    } wanted[] = {{0, 0}, {1, 500000}, {0, 1}, {-1, 0}, {100000, 999999}, {0, 1000000}, {0, -1}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        time = (struct timeval){wanted[i].seconds, wanted[i].microseconds};
        int result = setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time), error = errno;
        socklen_t size = sizeof time;
        TRY(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, &size));
        say("set %ld s %ld us: %s, stored %ld s %ld us", wanted[i].seconds, wanted[i].microseconds,
            result ? error_name(error) : "0", (long)time.tv_sec, (long)time.tv_usec);
    }
    ERR(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, 4), EINVAL);
}

CASE(options) {
    static const struct {
        int level, name;
        const char *text;
    } asked[] = {{SOL_SOCKET, SO_TYPE, "TYPE"},           {SOL_SOCKET, SO_DOMAIN, "DOMAIN"},
                 {SOL_SOCKET, SO_PROTOCOL, "PROTOCOL"},   {SOL_SOCKET, SO_ACCEPTCONN, "ACCEPTCONN"},
                 {SOL_SOCKET, SO_ERROR, "ERROR"},         {SOL_SOCKET, SO_SNDBUF, "SNDBUF"},
                 {SOL_SOCKET, SO_RCVBUF, "RCVBUF"},       {SOL_SOCKET, SO_REUSEADDR, "REUSEADDR"},
                 {SOL_SOCKET, SO_REUSEPORT, "REUSEPORT"}, {SOL_SOCKET, SO_KEEPALIVE, "KEEPALIVE"},
                 {SOL_SOCKET, SO_BROADCAST, "BROADCAST"}, {SOL_SOCKET, SO_PASSCRED, "PASSCRED"},
                 {SOL_SOCKET, SO_PEEK_OFF, "PEEK_OFF"},   {SOL_SOCKET, SO_RCVLOWAT, "RCVLOWAT"},
                 {SOL_SOCKET, SO_SNDLOWAT, "SNDLOWAT"},   {SOL_SOCKET, SO_PRIORITY, "PRIORITY"},
                 {SOL_SOCKET, SO_MARK, "MARK"},           {SOL_SOCKET, SO_OOBINLINE, "OOBINLINE"},
                 {SOL_SOCKET, SO_TIMESTAMP, "TIMESTAMP"}, {SOL_SOCKET, 9999, "9999"},
                 {IPPROTO_TCP, 1, "TCP_NODELAY"},         {IPPROTO_IP, 1, "IP_TOS"},
                 {-1, 1, "level -1"}};
    for (int kind = 0; kind < 3; kind++) {
        int fd = new_socket(three_types[kind]);
        for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
            int value = -77;
            socklen_t size = sizeof value;
            int result = getsockopt(fd, asked[i].level, asked[i].name, &value, &size), error = errno;
            if (result == 0)
                say("%s: %d, size %u", asked[i].text, value, size);
            else
                say("%s: %s", asked[i].text, error_name(error));
            value = 1;
            result = setsockopt(fd, asked[i].level, asked[i].name, &value, sizeof value), error = errno;
            size = sizeof value;
            int again = getsockopt(fd, asked[i].level, asked[i].name, &value, &size);
            say("  set to 1: %s, then %d", result ? error_name(error) : "0", again ? -1 : value);
        }
    }
}

CASE(option_arguments) {
    int fd = new_socket(SOCK_STREAM), value = 1;
    socklen_t size = 2;
    RET(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size), 0);
    RET(size, 2);
    size = 100;
    RET(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size), 0);
    RET(size, 4);
    size = (socklen_t)-1;
    ERR(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size), EINVAL);
    ERR(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &value, 3), EINVAL);
    ERR(setsockopt(fd, SOL_SOCKET, SO_TYPE, &value, sizeof value), ENOPROTOOPT);
    ERR(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, (void *)8, sizeof value), EFAULT);
    ERR(getsockopt(fd, SOL_SOCKET, SO_TYPE, (void *)8, &(socklen_t){4}), EFAULT);
    ERR(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, (void *)8), EFAULT);
    ERR(getsockopt(999, SOL_SOCKET, SO_TYPE, &value, &size), EBADF);
    ERR(getsockopt(new_socket(SOCK_DGRAM), SOL_SOCKET, SO_PEERSEC, &value, &(socklen_t){4}), ENOPROTOOPT);
}

CASE(error_option_consumes) {
    int sides[2], error;
    char byte;
    make_pair(SOCK_STREAM, sides);
    send_text(sides[0], "unread");
    send_text(sides[1], "also unread");
    TRY(close(sides[1]));
    settle();
    socklen_t size = sizeof error;
    MASK("reset", sides[0], POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP);
    RET(getsockopt(sides[0], SOL_SOCKET, SO_ERROR, &error, &size), 0);
    RET(error, ECONNRESET);
    RET(getsockopt(sides[0], SOL_SOCKET, SO_ERROR, &error, &size), 0);
    RET(error, 0);
    MASK("asked", sides[0], POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
    RET(recv(sides[0], &byte, 1, 0), 1);
}

CASE(linger_and_close) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    TRY(setsockopt(sides[0], SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger)));
    send_text(sides[0], "stays");
    TRY(close(sides[0]));
    say_received("peer", sides[1]);
    say_received("peer", sides[1]);
}
