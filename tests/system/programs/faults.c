/* Bad pointers, ends of mapped memory and malformed control messages: what is refused, and that nothing is lost by it. */
#include "check.h"

static const int three_types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};

static void *volatile BAD = (void *)8; /* volatile, so that the compiler does not see through it */

/* The last bytes of mapped memory: a page that is followed by one which may not be touched. */
static char *edge(size_t size) {
    long page = sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, (size_t)page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    TRY(mprotect(pages + page, (size_t)page, PROT_NONE));
    return pages + page - size;
}

static int open_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) != -1;
    return count;
}

static void say_left(const char *what, int fd) {
    char data[32];
    ssize_t got = recv(fd, data, sizeof data, MSG_DONTWAIT);
    say("%s: %zd \"%.*s\"", what, got, got > 0 ? (int)got : 0, data);
}

CASE(send_from_bad_memory) {
    for (int i = 0; i < 3; i++) {
        int sides[2];
        make_pair(three_types[i], sides);
        ERR(send(sides[0], BAD, 5, 0), EFAULT);
        ERR(write(sides[0], BAD, 5), EFAULT);
        ERR(writev(sides[0], BAD, 1), EFAULT);
        struct iovec parts[2] = {{"good", 4}, {BAD, 4}};
        ERR(writev(sides[0], parts, 2), EFAULT);
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        ERR(sendmsg(sides[0], &message, 0), EFAULT);
        ERR(sendmsg(sides[0], BAD, 0), EFAULT);
        message.msg_iov = BAD;
        ERR(sendmsg(sides[0], &message, 0), EFAULT);
        ERR(syscall(SYS_sendmmsg, sides[0], BAD, 1, 0), EFAULT);
        char *last = edge(3);
        memcpy(last, "abc", 3);
        ERR(send(sides[0], last, 4, 0), EFAULT);
        say_left("nothing came", sides[1]);
        RET(send(sides[0], last, 3, 0), 3);
        say_left("whole", sides[1]);
    }
}

/* A stream keeps what could not be handed over; a record whose reader failed is gone. */
CASE(receive_into_bad_memory) {
    for (int i = 0; i < 3; i++) {
        int sides[2];
        make_pair(three_types[i], sides);
        send_text(sides[0], "first");
        send_text(sides[0], "second");
        ERR(recv(sides[1], BAD, 5, 0), EFAULT);
        say_left("then", sides[1]);
        send_text(sides[0], "third");
        ERR(read(sides[1], edge(2), 5), EFAULT);
        say_left("then", sides[1]);
        send_text(sides[0], "fourth");
        char data[3];
        struct iovec parts[2] = {{data, 3}, {BAD, 4}};
        ERR(readv(sides[1], parts, 2), EFAULT);
        say_left("then", sides[1]);
        send_text(sides[0], "fifth");
        ERR(recvmsg(sides[1], BAD, 0), EFAULT);
        ERR(readv(sides[1], BAD, 1), EFAULT);
        say_left("then", sides[1]);
        send_text(sides[0], "sixth");
        ERR(recv(sides[1], BAD, 5, MSG_PEEK), EFAULT);
        say_left("then", sides[1]);
        say_left("then", sides[1]);
    }
}

/* Two messages on a stream, the second does not fit into what is mapped: the first is read, the second stays. */
CASE(stream_read_up_to_the_edge) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    send_text(sides[0], "abcd");
    send_text(sides[0], "efgh");
    char *last = edge(4);
    RET(recv(sides[1], last, 8, 0), 4);
    say("%.4s", last);
    say_left("rest", sides[1]);
}

CASE(addresses) {
    int fd = new_socket(SOCK_STREAM), listener = listener_at(SOCK_STREAM, "server", 5);
    ERR(bind(fd, BAD, 20), EFAULT);
    ERR(connect(fd, BAD, 20), EFAULT);
    ERR(getsockname(fd, BAD, &(socklen_t){20}), EFAULT);
    struct sockaddr_un address;
    ERR(getsockname(fd, (struct sockaddr *)&address, BAD), EFAULT);
    RET(connect_fd(fd, "server"), 0);
    ERR(getpeername(fd, BAD, &(socklen_t){20}), EFAULT);
    ERR(sendto(new_socket(SOCK_DGRAM), "x", 1, 0, BAD, 20), EFAULT);
    int before = open_descriptors();
    nonblocking(listener, true);
    ERR(accept(listener, BAD, &(socklen_t){20}), EFAULT);
    RET(open_descriptors() == before, 1);
    ERR(accept(listener, NULL, NULL), EAGAIN);
    say_left("client whose accept failed", fd);
    fd = connected_to(SOCK_STREAM, "server");
    ERR(accept(listener, (struct sockaddr *)&address, BAD), EFAULT);
    RET(open_descriptors() == before + 1, 1);
    socklen_t negative = (socklen_t)-1;
    connected_to(SOCK_STREAM, "server");
    ERR(accept(listener, (struct sockaddr *)&address, &negative), EINVAL);
    connected_to(SOCK_STREAM, "server");
    RET(accept(listener, NULL, BAD) >= 0, 1);
}

CASE(pair_array) {
    int before = open_descriptors();
    ERR(socketpair(AF_UNIX, SOCK_STREAM, 0, BAD), EFAULT);
    RET(open_descriptors() == before, 1);
    struct rlimit limit;
    TRY(getrlimit(RLIMIT_NOFILE, &limit));
    int lowest = (int)TRY(dup(0)), sides[2];
    limit.rlim_cur = (rlim_t)lowest + 1;
    TRY(close(lowest));
    TRY(setrlimit(RLIMIT_NOFILE, &limit));
    ERR(socketpair(AF_UNIX, SOCK_STREAM, 0, sides), EMFILE);
    RET(open_descriptors() == before, 1);
    int one = (int)TRY(socket(AF_UNIX, SOCK_STREAM, 0));
    ERR(socket(AF_UNIX, SOCK_STREAM, 0), EMFILE);
    TRY(close(one));
}

CASE(accept_without_a_free_descriptor) {
    int listener = listener_at(SOCK_STREAM, "server", 5), client = connected_to(SOCK_STREAM, "server");
    struct rlimit limit;
    TRY(getrlimit(RLIMIT_NOFILE, &limit));
    rlim_t before = limit.rlim_cur;
    int lowest = (int)TRY(dup(0));
    TRY(close(lowest));
    limit.rlim_cur = (rlim_t)lowest;
    TRY(setrlimit(RLIMIT_NOFILE, &limit));
    ERR(accept(listener, NULL, NULL), EMFILE);
    limit.rlim_cur = before;
    TRY(setrlimit(RLIMIT_NOFILE, &limit));
    int peer = (int)TRY(accept(listener, NULL, NULL));
    send_text(client, "still there");
    say_received("server", peer);
}

static long send_control(int fd, void *control, size_t size) {
    struct iovec part = {"x", 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = size};
    return sendmsg(fd, &message, 0);
}

CASE(malformed_control) {
    for (int i = 0; i < 3; i++) {
        int sides[2];
        make_pair(three_types[i], sides);
        union {
            struct cmsghdr header;
            char room[128];
        } control;
        memset(&control, 0, sizeof control);
        struct cmsghdr *header = &control.header;
#define HEADER(len, level, type) (*header = (struct cmsghdr){len, level, type})
        HEADER(0, SOL_SOCKET, SCM_RIGHTS);
        ERR(send_control(sides[0], &control, 24), EINVAL);
        HEADER(15, SOL_SOCKET, SCM_RIGHTS);
        ERR(send_control(sides[0], &control, 24), EINVAL);
        HEADER(100, SOL_SOCKET, SCM_RIGHTS);
        ERR(send_control(sides[0], &control, 24), EINVAL);
        HEADER((size_t)-1, SOL_SOCKET, SCM_RIGHTS);
        ERR(send_control(sides[0], &control, 24), EINVAL);
        HEADER(CMSG_LEN(4), SOL_SOCKET, 77);
        ERR(send_control(sides[0], &control, 24), EINVAL);
        HEADER(CMSG_LEN(4), SOL_SOCKET, SCM_CREDENTIALS);
        ERR(send_control(sides[0], &control, 24), EINVAL);
        HEADER(CMSG_LEN(4), 77, 77);
        RET(send_control(sides[0], &control, 24), 1);
        HEADER(CMSG_LEN(0), SOL_SOCKET, SCM_RIGHTS);
        RET(send_control(sides[0], &control, 16), 1);
        HEADER(CMSG_LEN(2), SOL_SOCKET, SCM_RIGHTS);
        RET(send_control(sides[0], &control, 24), 1);
        HEADER(CMSG_LEN(7), SOL_SOCKET, SCM_RIGHTS);
        RET(send_control(sides[0], &control, 24), 1);
        RET(send_control(sides[0], &control, 15), 1);
        RET(send_control(sides[0], BAD, 0), 1);
        ERR(send_control(sides[0], BAD, 24), EFAULT);
        HEADER(CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS);
        ERR(send_control(sides[0], &control, (size_t)1 << 31), ENOBUFS);
        int came = 0;
        char data[16];
        ssize_t got;
        while ((got = recv(sides[1], data, sizeof data, MSG_DONTWAIT)) > 0)
            came += (int)got;
        RET(came, 6);
    }
}

/* What the control buffer could not take is dropped; the data are there, and no descriptor is left open. */
CASE(bad_control_buffer) {
    int sides[2], probe[2];
    make_pair(SOCK_STREAM, sides);
    TRY(pipe2(probe, O_CLOEXEC));
    CHECK(send_fds(sides[0], "data", 4, &probe[1], 1, 0) == 4);
    TRY(close(probe[1]));
    int before = open_descriptors();
    char data[8];
    struct iovec part = {data, sizeof data};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = BAD, .msg_controllen = 64};
    ssize_t got = recvmsg(sides[1], &message, 0);
    say("%zd %s, control length %zu, flags %#x", got, got < 0 ? error_name(errno) : "", (size_t)message.msg_controllen,
        message.msg_flags);
    RET(open_descriptors() == before, 1);
    RET(is_closed(probe[0]), 1);
}

static void say_control(const char *what, ssize_t got, const struct msghdr *message, const char *control, size_t size) {
    struct cmsghdr first = {0};
    if (size >= sizeof first)
        memcpy(&first, control, sizeof first);
    say("%s: %zd %s, control length %zu, flags %#x, first %zu %d %d", what, got, got < 0 ? error_name(errno) : "",
        (size_t)message->msg_controllen, message->msg_flags, (size_t)first.cmsg_len, first.cmsg_level, first.cmsg_type);
}

/* The control buffer ends, or begins, where memory does: a descriptor whose number can't be told is not installed. */
CASE(torn_control_buffer) {
    static const int one = 1;
    int sides[2], probe[2];
    TRY(pipe2(probe, O_CLOEXEC));
    for (int credentials = 0; credentials < 2; credentials++)
        for (int before_memory = 0; before_memory < 2; before_memory++)
            for (size_t room = 0; room <= 72; room += 4) {
                make_pair(SOCK_STREAM, sides);
                if (credentials)
                    TRY(setsockopt(sides[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
                int fds[] = {probe[0], probe[1], probe[0]};
                CHECK(send_fds(sides[0], "data", 4, fds, 3, 0) == 4);
                int before = open_descriptors();
                char data[8], what[32], *control = edge(room);
                if (before_memory) {
                    long page = sysconf(_SC_PAGESIZE);
                    char *pages = control + room - page;
                    TRY(mprotect(pages, (size_t)page, PROT_NONE));
                    TRY(mprotect(pages + page, (size_t)page, PROT_READ | PROT_WRITE));
                }
                struct iovec part = {data, sizeof data};
                struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 72};
                ssize_t got = recvmsg(sides[1], &message, 0);
                snprintf(what, sizeof what, "%d %d %2zu", credentials, before_memory, room);
                say_control(what, got, &message, control, before_memory ? 0 : room);
                say("%d descriptors", open_descriptors() - before);
                for (int fd = sides[0] > sides[1] ? sides[0] + 1 : sides[1] + 1; fd < 40; fd++)
                    close(fd);
                close_all(sides, 2);
            }
}

/* A read of a stream that can't take the data tells of the sender all the same, but gives no descriptors. */
CASE(control_of_a_failed_read) {
    static const int one = 1;
    for (int peek = 0; peek < 2; peek++)
        for (size_t kind = 0; kind < 3; kind++) {
            int sides[2], probe[2];
            make_pair(three_types[kind], sides);
            TRY(setsockopt(sides[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
            TRY(pipe2(probe, O_CLOEXEC));
            CHECK(send_fds(sides[0], "data", 4, &probe[1], 1, 0) == 4);
            int before = open_descriptors();
            _Alignas(8) char control[64] = {0};
            struct iovec part = {BAD, 8};
            struct msghdr message = {
                .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
            ssize_t got = recvmsg(sides[1], &message, peek ? MSG_PEEK : 0);
            say_control(peek ? "peek" : "read", got, &message, control, sizeof control);
            RET(open_descriptors() == before, 1);
            say_left("left", sides[1]);
            close_all(sides, 2);
            close_all(probe, 2);
        }
}

/* The header lies in its own data buffer: the length of the address is what the message says. */
CASE(header_under_its_data) {
    static const int lengths[] = {0, 3, 8, 100, -1};
    int to = bound_at(SOCK_DGRAM, "@to"), from = bound_at(SOCK_DGRAM, "@from");
    connect_fd(from, "@to");
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct {
            struct msghdr header;
            char name[64];
        } area = {0};
        struct msghdr sent = {.msg_namelen = (socklen_t)lengths[i]};
        struct iovec part = {&area.header, sizeof area.header};
        area.header = (struct msghdr){
            .msg_name = area.name, .msg_namelen = sizeof area.name, .msg_iov = &part, .msg_iovlen = 1, .msg_flags = 7};
        CHECK(send(from, &sent, sizeof sent, 0) == sizeof sent);
        ssize_t got = recvmsg(to, &area.header, 0);
        say("%d: %zd %s, length %d, family %d, name \"%.8s\", flags %#x", lengths[i], got, got < 0 ? error_name(errno) : "",
            (int)area.header.msg_namelen, area.name[0], area.name + 3, area.header.msg_flags);
    }
}

CASE(refused_send_keeps_descriptors) {
    int sides[2], probe[2];
    make_pair(SOCK_STREAM, sides);
    TRY(pipe2(probe, O_CLOEXEC));
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(4)];
    } control = {.header = {CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &probe[1], 4);
    struct iovec part = {BAD, 4};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ERR(sendmsg(sides[0], &message, 0), EFAULT);
    TRY(shutdown(sides[0], SHUT_WR));
    part.iov_base = "good";
    ERR(sendmsg(sides[0], &message, MSG_NOSIGNAL), EPIPE);
    RET(is_closed(probe[0]), 0);
    TRY(close(probe[1]));
    RET(is_closed(probe[0]), 1);
}

CASE(lengths) {
    int sides[2];
    make_pair(SOCK_DGRAM, sides);
    static char block[300000];
    ERR(send(sides[0], block, sizeof block, 0), EMSGSIZE);
    ERR(syscall(SYS_write, sides[0], block, (size_t)-1), EFAULT);
    struct iovec parts[2] = {{block, (size_t)1 << 62}, {block, (size_t)1 << 62}};
    ERR(writev(sides[0], parts, 2), EFAULT);
    parts[0].iov_len = (size_t)-1;
    ERR(writev(sides[0], parts, 1), EINVAL);
    send_text(sides[0], "abc");
    RET(syscall(SYS_recvfrom, sides[1], block, (size_t)1 << 40, 0, NULL, NULL), 3);
}

CASE(unknown_flags) {
    int sides[2];
    char byte;
    make_pair(SOCK_STREAM, sides);
    RET(send(sides[0], "x", 1, 0x1000000), 1);
    RET(recv(sides[1], &byte, 1, 0x1000000), 1);
    ERR(recv(sides[1], &byte, 1, MSG_ERRQUEUE | MSG_DONTWAIT), EAGAIN);
}
