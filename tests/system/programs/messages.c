/* Message calls and their flags: borders, MSG_PEEK, MSG_WAITALL, MSG_TRUNC, MSG_OOB, many messages a call. */
#include "check.h"

static const int three_types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};

static void say_data(const char *what, ssize_t got, const char *data) {
    if (got < 0)
        say("%s: -1 %s", what, error_name(errno));
    else
        say("%s: %zd \"%.*s\"", what, got, (int)(got < 200 ? got : 0), data);
}

CASE(borders) {
    for (int i = 0; i < 3; i++) {
        int sides[2];
        char data[32];
        make_pair(three_types[i], sides);
        send_text(sides[0], "one");
        send_text(sides[0], "two");
        send_text(sides[0], "three");
        for (int turn = 0; turn < 4; turn++)
            say_data("recv", recv(sides[1], data, 4, MSG_DONTWAIT), data);
    }
}

CASE(peek) {
    for (int i = 0; i < 3; i++) {
        int sides[2];
        char data[32];
        make_pair(three_types[i], sides);
        send_text(sides[0], "first");
        send_text(sides[0], "second");
        say_data("peek 3", recv(sides[1], data, 3, MSG_PEEK), data);
        say_data("peek", recv(sides[1], data, sizeof data, MSG_PEEK), data);
        say_data("peek again", recv(sides[1], data, sizeof data, MSG_PEEK), data);
        say_data("recv 5", recv(sides[1], data, 5, 0), data);
        say_data("peek", recv(sides[1], data, sizeof data, MSG_PEEK | MSG_DONTWAIT), data);
        say_data("recv", recv(sides[1], data, sizeof data, 0), data);
        say_data("peek nothing", recv(sides[1], data, sizeof data, MSG_PEEK | MSG_DONTWAIT), data);
    }
}

CASE(peek_offset) {
    for (int i = 0; i < 3; i++) {
        int sides[2];
        char data[32];
        make_pair(three_types[i], sides);
        TRY(setsockopt(sides[1], SOL_SOCKET, SO_PEEK_OFF, &(int){2}, sizeof(int)));
        send_text(sides[0], "abcdefgh");
        send_text(sides[0], "ijkl");
        for (int turn = 0; turn < 5; turn++)
            say_data("peek 3", recv(sides[1], data, 3, MSG_PEEK | MSG_DONTWAIT), data);
        int offset;
        socklen_t size = sizeof offset;
        TRY(getsockopt(sides[1], SOL_SOCKET, SO_PEEK_OFF, &offset, &size));
        say("offset %d", offset);
        say_data("recv 4", recv(sides[1], data, 4, MSG_DONTWAIT), data);
        TRY(getsockopt(sides[1], SOL_SOCKET, SO_PEEK_OFF, &offset, &size));
        say("offset %d", offset);
    }
}

CASE(peek_waits) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t other = child();
    if (other == 0) {
        char data[16];
        CHECK(recv(sides[1], data, sizeof data, MSG_PEEK) == 4);
        CHECK(recv(sides[1], data, sizeof data, 0) == 4 && memcmp(data, "news", 4) == 0);
        _exit(0);
    }
    wait_blocked(other, SYS_recvfrom);
    send_text(sides[0], "news");
    join(other);
    say("peeked and read");
}

CASE(wait_for_all) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    struct gate read_it = gate();
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[0]));
        char data[10];
        CHECK(recv(sides[1], data, sizeof data, MSG_WAITALL) == sizeof data);
        say("all of \"%.10s\"", data);
        pass(&read_it);
        ssize_t got = recv(sides[1], data, sizeof data, MSG_WAITALL);
        say("%zd before the end: \"%.*s\"", got, (int)got, data);
        _exit(0);
    }
    TRY(close(sides[1]));
    const char *const pieces[] = {"ab", "cdef", "g", "hij"};
    for (int i = 0; i < 4; i++) {
        wait_blocked(other, SYS_recvfrom);
        send_text(sides[0], pieces[i]);
    }
    await(&read_it);
    send_text(sides[0], "rest");
    TRY(close(sides[0]));
    join(other);
}

CASE(wait_for_all_without_waiting) {
    for (int i = 0; i < 3; i++) {
        int sides[2];
        char data[16];
        make_pair(three_types[i], sides);
        send_text(sides[0], "abc");
        send_text(sides[0], "def");
        say_data("WAITALL|DONTWAIT", recv(sides[1], data, 10, MSG_WAITALL | MSG_DONTWAIT), data);
        say_data("WAITALL|DONTWAIT", recv(sides[1], data, 10, MSG_WAITALL | MSG_DONTWAIT), data);
    }
}

CASE(truncation) {
    for (int i = 0; i < 3; i++) {
        int sides[2];
        char data[16] = "";
        make_pair(three_types[i], sides);
        struct iovec part = {data, 4};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        send_text(sides[0], "0123456789");
        send_text(sides[0], "abcdefghij");
        RET(recvmsg(sides[1], &message, 0), 4);
        say("flags %#x \"%.4s\"", message.msg_flags, data);
        memset(data, '.', sizeof data);
        say_data("MSG_TRUNC", recvmsg(sides[1], &message, MSG_TRUNC), data);
        say("flags %#x \"%.4s\"", message.msg_flags, data);
        memset(data, '.', sizeof data);
        say_data("MSG_TRUNC", recv(sides[1], data, 4, MSG_TRUNC | MSG_DONTWAIT), "");
        say_data("rest", recv(sides[1], data, sizeof data, MSG_DONTWAIT), data);
    }
}

CASE(empty) {
    for (int i = 0; i < 3; i++) {
        int sides[2];
        char data[4];
        make_pair(three_types[i], sides);
        say_data("send 0", send(sides[0], "", 0, 0), "");
        say_data("write 0", write(sides[0], "", 0), "");
        send_text(sides[0], "abc");
        say_data("recv 0", recv(sides[1], data, 0, MSG_DONTWAIT), "");
        say_data("read 0", read(sides[1], data, 0), "");
        for (int turn = 0; turn < 3; turn++)
            say_data("recv", recv(sides[1], data, 4, MSG_DONTWAIT), data);
    }
}

CASE(vectors) {
    for (int i = 0; i < 3; i++) {
        int sides[2];
        char a[3], b[2], c[16];
        make_pair(three_types[i], sides);
        struct iovec out[] = {{"ab", 2}, {"", 0}, {"cdefg", 5}, {"h", 1}}, in[] = {{a, 3}, {b, 2}, {c, sizeof c}};
        RET(writev(sides[0], out, 4), 8);
        RET(readv(sides[1], in, 3), 8);
        say("%.3s|%.2s|%.3s", a, b, c);
        struct msghdr message = {.msg_iov = out, .msg_iovlen = 4};
        RET(sendmsg(sides[0], &message, 0), 8);
        RET(pwritev2(sides[0], out + 2, 1, -1, 0), 5);
        message = (struct msghdr){.msg_iov = in, .msg_iovlen = 3};
        ssize_t got = TRY(recvmsg(sides[1], &message, 0));
        say("%zd: %.3s|%.2s|%.*s", got, a, b, (int)got - 5, c);
        if (three_types[i] != SOCK_STREAM)
            RET(preadv2(sides[1], in, 3, -1, 0), 5);
        ERR(syscall(SYS_readv, sides[1], in, 1025), EINVAL);
        ERR(syscall(SYS_readv, sides[1], in, -1), EINVAL);
        RET(writev(sides[0], out, 0), 0);
        message = (struct msghdr){.msg_iov = in, .msg_iovlen = 1025};
        ERR(recvmsg(sides[1], &message, 0), EMSGSIZE);
        ERR(sendmsg(sides[0], &message, 0), EMSGSIZE);
        ERR(lseek(sides[0], 0, SEEK_CUR), ESPIPE);
        ERR(pread(sides[0], c, 1, 0), ESPIPE);
        ERR(pwrite(sides[0], c, 1, 0), ESPIPE);
    }
}

CASE(addresses_on_send) {
    bound_at(SOCK_DGRAM, "datagrams");
    struct sockaddr_un address;
    socklen_t size = name_of(&address, "datagrams");
    const struct sockaddr *to = (struct sockaddr *)&address;
    int fd = new_socket(SOCK_STREAM);
    ERR(sendto(fd, "x", 1, MSG_NOSIGNAL, to, size), EOPNOTSUPP);
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    ERR(sendto(sides[0], "x", 1, 0, to, size), EISCONN);
    make_pair(SOCK_SEQPACKET, sides);
    RET(sendto(sides[0], "x", 1, 0, to, size), 1);
    char byte;
    RET(recv(sides[1], &byte, 1, 0), 1);
    make_pair(SOCK_DGRAM, sides);
    RET(sendto(sides[0], "x", 1, 0, to, size), 1);
    ERR(recv(sides[1], &byte, 1, MSG_DONTWAIT), EAGAIN);
    ERR(sendto(sides[0], "x", 1, 0, to, 2), EINVAL);
    ERR(sendto(sides[0], "x", 1, 0, to, 129), EINVAL);
}

/* MSG_NAMELEN, control and flags are written back, also where there is nothing to say. */
CASE(header_written_back) {
    for (int i = 0; i < 3; i++) {
        int sides[2];
        char data[4], control[64];
        struct sockaddr_un from;
        make_pair(three_types[i], sides);
        send_text(sides[0], "x");
        struct iovec part = {data, sizeof data};
        struct msghdr message = {.msg_name = &from,
                                 .msg_namelen = sizeof from,
                                 .msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof control,
                                 .msg_flags = -1};
        RET(recvmsg(sides[1], &message, 0), 1);
        say("name length %u, control length %zu, flags %#x", message.msg_namelen, (size_t)message.msg_controllen,
            message.msg_flags);
        send_text(sides[0], "y");
        socklen_t size = sizeof from;
        RET(recvfrom(sides[1], data, sizeof data, 0, (struct sockaddr *)&from, &size), 1);
        say("recvfrom name length %u", size);
    }
}

CASE(end_of_record) {
    int sides[2];
    make_pair(SOCK_SEQPACKET, sides);
    RET(send(sides[0], "abc", 3, MSG_EOR), 3);
    char data[4];
    struct iovec part = {data, sizeof data};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    RET(recvmsg(sides[1], &message, 0), 3);
    RET(message.msg_flags, 0);
}

CASE(many_a_call) {
    for (int i = 0; i < 3; i++) {
        int sides[2];
        make_pair(three_types[i], sides);
        char texts[4][8] = {"a", "bb", "", "dddd"};
        struct iovec parts[4];
        struct mmsghdr messages[4];
        memset(messages, 0, sizeof messages);
        for (int j = 0; j < 4; j++) {
            parts[j] = (struct iovec){texts[j], strlen(texts[j])};
            messages[j].msg_hdr = (struct msghdr){.msg_iov = &parts[j], .msg_iovlen = 1};
        }
        RET(sendmmsg(sides[0], messages, 4, 0), 4);
        for (int j = 0; j < 4; j++)
            say("sent %u", messages[j].msg_len);
        for (int j = 0; j < 4; j++)
            parts[j].iov_len = sizeof texts[j], messages[j].msg_len = 77;
        int got = (int)TRY(recvmmsg(sides[1], messages, 4, MSG_DONTWAIT, NULL));
        for (int j = 0; j < got; j++)
            say("message %d: %u \"%.*s\" flags %#x", j, messages[j].msg_len, (int)messages[j].msg_len, texts[j],
                messages[j].msg_hdr.msg_flags);
        ERR(recvmmsg(sides[1], messages, 4, MSG_DONTWAIT, NULL), EAGAIN);
        RET(recvmmsg(sides[1], messages, 0, MSG_DONTWAIT, NULL), 0);
        RET(sendmmsg(sides[0], messages, 0, 0), 0);
    }
}

CASE(many_wait_for_one) {
    int sides[2];
    make_pair(SOCK_DGRAM, sides);
    pid_t other = child();
    if (other == 0) {
        char data[3][8];
        struct iovec parts[3] = {{data[0], 8}, {data[1], 8}, {data[2], 8}};
        struct mmsghdr messages[3];
        memset(messages, 0, sizeof messages);
        for (int i = 0; i < 3; i++)
            messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
        CHECK(recvmmsg(sides[1], messages, 3, MSG_WAITFORONE, NULL) == 1);
        say("one of three: \"%.*s\"", (int)messages[0].msg_len, data[0]);
        send_text(sides[1], "again");
        CHECK(recvmmsg(sides[1], messages, 3, 0, NULL) == 3);
        say("all three: %.1s %.1s %.1s", data[0], data[1], data[2]);
        _exit(0);
    }
    wait_blocked(other, SYS_recvmmsg);
    send_text(sides[0], "first");
    char data[8];
    CHECK(recv(sides[0], data, sizeof data, 0) == 5);
    for (int i = 0; i < 3; i++) {
        wait_blocked(other, SYS_recvmmsg);
        send_text(sides[0], &"1\0002\0003"[2 * i]);
    }
    join(other);
}

CASE(many_stop_at_error) {
    int sides[2];
    make_pair(SOCK_SEQPACKET, sides);
    struct iovec parts[3] = {{"a", 1}, {(void *)8, 1}, {"c", 1}};
    struct mmsghdr messages[3];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < 3; i++)
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    RET(sendmmsg(sides[0], messages, 3, 0), 1);
    char byte;
    RET(recv(sides[1], &byte, 1, MSG_DONTWAIT), 1);
    ERR(recv(sides[1], &byte, 1, MSG_DONTWAIT), EAGAIN);
    ERR(sendmmsg(sides[0], messages + 1, 2, 0), EFAULT);
}

CASE(urgent_byte) {
    int sides[2], mark;
    char data[16];
    make_pair(SOCK_STREAM, sides);
    ERR(recv(sides[1], data, 1, MSG_OOB), EINVAL);
    send_text(sides[0], "abc");
    RET(send(sides[0], "def", 3, MSG_OOB), 3);
    send_text(sides[0], "ghi");
    MASK("with an urgent byte", sides[1], POLLIN | POLLOUT | POLLPRI);
    RET(ioctl(sides[1], SIOCATMARK, &mark), 0);
    RET(mark, 0);
    say_data("recv", recv(sides[1], data, sizeof data, 0), data);
    RET(ioctl(sides[1], SIOCATMARK, &mark), 0);
    RET(mark, 1);
    say_data("recv OOB", recv(sides[1], data, sizeof data, MSG_OOB), data);
    ERR(recv(sides[1], data, 1, MSG_OOB), EINVAL);
    MASK("after it", sides[1], POLLIN | POLLOUT);
    say_data("recv", recv(sides[1], data, sizeof data, 0), data);
    RET(ioctl(sides[1], SIOCATMARK, &mark), 0);
    RET(mark, 0);
    MASK("empty", sides[1], POLLOUT);
}

CASE(urgent_byte_unread) {
    int sides[2];
    char data[16];
    make_pair(SOCK_STREAM, sides);
    send_text(sides[0], "abc");
    RET(send(sides[0], "x", 1, MSG_OOB), 1);
    send_text(sides[0], "def");
    say_data("recv", recv(sides[1], data, sizeof data, 0), data);
    say_data("recv", recv(sides[1], data, sizeof data, 0), data);
    say_data("recv", recv(sides[1], data, sizeof data, MSG_DONTWAIT), data);
    RET(send(sides[0], "1", 1, MSG_OOB), 1);
    RET(send(sides[0], "2", 1, MSG_OOB), 1);
    say_data("recv OOB", recv(sides[1], data, 1, MSG_OOB), data);
    say_data("recv", recv(sides[1], data, sizeof data, MSG_DONTWAIT), data);
    say_data("recv", recv(sides[1], data, sizeof data, MSG_DONTWAIT), data);
}

CASE(urgent_byte_inline) {
    int sides[2];
    char data[16];
    make_pair(SOCK_STREAM, sides);
    TRY(setsockopt(sides[1], SOL_SOCKET, SO_OOBINLINE, &(int){1}, sizeof(int)));
    send_text(sides[0], "abc");
    RET(send(sides[0], "x", 1, MSG_OOB), 1);
    send_text(sides[0], "def");
    ERR(recv(sides[1], data, 1, MSG_OOB), EINVAL);
    MASK("inline", sides[1], POLLIN | POLLOUT | POLLPRI);
    for (int turn = 0; turn < 3; turn++)
        say_data("recv", recv(sides[1], data, sizeof data, MSG_DONTWAIT), data);
}

static volatile sig_atomic_t urgent_signals;
static void on_urgent(int signal) { urgent_signals += signal == SIGURG; }

CASE(urgent_byte_signal) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    signal(SIGURG, on_urgent);
    RET(fcntl(sides[1], F_SETOWN, getpid()), 0);
    RET(send(sides[0], "x", 1, MSG_OOB), 1);
    RET(urgent_signals, 1);
}

CASE(urgent_byte_refused) {
    for (int i = 1; i < 3; i++) {
        int sides[2], mark;
        char byte;
        make_pair(three_types[i], sides);
        ERR(send(sides[0], "x", 1, MSG_OOB), EOPNOTSUPP);
        ERR(recv(sides[0], &byte, 1, MSG_OOB), EOPNOTSUPP);
        ERR(ioctl(sides[0], SIOCATMARK, &mark), EOPNOTSUPP);
    }
}

CASE(low_water_mark) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    TRY(setsockopt(sides[1], SOL_SOCKET, SO_RCVLOWAT, &(int){5}, sizeof(int)));
    pid_t other = child();
    if (other == 0) {
        char data[16];
        CHECK(recv(sides[1], data, sizeof data, 0) == 6);
        _exit(0);
    }
    wait_blocked(other, SYS_recvfrom);
    send_text(sides[0], "abc");
    wait_blocked(other, SYS_recvfrom);
    send_text(sides[0], "def");
    join(other);
    send_text(sides[0], "gh");
    char data[16];
    say_data("DONTWAIT", recv(sides[1], data, sizeof data, MSG_DONTWAIT), data);
}

CASE(half_shut) {
    for (int i = 0; i < 2; i++) {
        int sides[2];
        char data[16];
        make_pair(three_types[i], sides);
        send_text(sides[0], "before");
        RET(shutdown(sides[0], SHUT_WR), 0);
        ERR(send(sides[0], "x", 1, MSG_NOSIGNAL), EPIPE);
        say_data("peer", recv(sides[1], data, sizeof data, 0), data);
        RET(recv(sides[1], data, sizeof data, 0), 0);
        send_text(sides[1], "back");
        RET(shutdown(sides[0], SHUT_RD), 0);
        say_data("shut for reading", recv(sides[0], data, sizeof data, 0), data);
        RET(recv(sides[0], data, sizeof data, 0), 0);
        ERR(send(sides[1], "x", 1, MSG_NOSIGNAL), EPIPE);
    }
}

CASE(datagram_peers) {
    int a = bound_at(SOCK_DGRAM, "a"), b = bound_at(SOCK_DGRAM, "b"), c = bound_at(SOCK_DGRAM, "c");
    RET(connect_fd(a, "b"), 0);
    RET(connect_fd(b, "c"), 0);
    ERR(send(a, "x", 1, 0), EPERM);
    ERR(connect_fd(a, "b"), EPERM);
    RET(connect_fd(b, "a"), 0);
    RET(send(a, "x", 1, 0), 1);
    struct sockaddr_un to;
    socklen_t size = name_of(&to, "b");
    ERR(sendto(c, "x", 1, 0, (struct sockaddr *)&to, size), EPERM);
    struct sockaddr_un none = {.sun_family = AF_UNSPEC};
    RET(connect(b, (struct sockaddr *)&none, sizeof none), 0);
    char byte;
    ERR(recv(a, &byte, 1, MSG_DONTWAIT), ECONNRESET);
    ERR(recv(b, &byte, 1, MSG_DONTWAIT), EAGAIN);
    ERR(send(b, "x", 1, 0), ENOTCONN);
    RET(sendto(c, "y", 1, 0, (struct sockaddr *)&to, size), 1);
    RET(recv(b, &byte, 1, 0), 1);
}
