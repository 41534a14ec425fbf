/* Who is at the other end: SO_PEERCRED, SO_PASSCRED and SCM_CREDENTIALS, pidfds of the peer. */
#include "check.h"

#include <grp.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#define SO_PEERPIDFD 77
#endif
#ifndef SCM_PIDFD
#define SCM_PIDFD 0x04
#endif

enum { SOMEBODY = 65534 };

/* Another user, where the test runs as root; elsewhere the user of the test, who has no privileges to lose. */
static void become_somebody(void) {
    if (geteuid() != 0)
        return;
    TRY(setgroups(0, NULL));
    TRY(setresgid(SOMEBODY, SOMEBODY, SOMEBODY));
    TRY(setresuid(SOMEBODY, SOMEBODY, SOMEBODY));
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* changing the user has cleared it */
}

static const char *who(pid_t pid, pid_t other) {
    return pid == 0 ? "none" : pid == root_pid ? "parent" : pid == other ? "child" : "unknown";
}

static const char *id_text(unsigned id) {
    static char text[4][16];
    static int turn;
    turn = (turn + 1) % 4;
    if (id == geteuid())
        return "own";
    snprintf(text[turn], sizeof text[turn], "%d", (int)id);
    return text[turn];
}

static void say_peer(const char *what, int fd, pid_t other) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    RET(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
    RET(size, sizeof peer);
    say("%s: pid %s uid %s gid %s", what, who(peer.pid, other), id_text(peer.uid), id_text(peer.gid));
}

/* Receives one message and says the credentials that came along. */
static void say_credentials(const char *what, int fd, pid_t other) {
    char data[32] = "", control[256];
    struct iovec part = {data, sizeof data - 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = TRY(recvmsg(fd, &message, 0));
    say("%s: %zd bytes \"%s\", flags %#x", what, got, data, message.msg_flags);
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        CHECK(header->cmsg_level == SOL_SOCKET);
        if (header->cmsg_type == SCM_CREDENTIALS) {
            struct ucred sender;
            CHECK(header->cmsg_len == CMSG_LEN(sizeof sender));
            memcpy(&sender, CMSG_DATA(header), sizeof sender);
            say("  credentials: pid %s uid %s gid %s", who(sender.pid, other), id_text(sender.uid), id_text(sender.gid));
        } else {
            CHECK(header->cmsg_type == SCM_PIDFD);
            int pidfd;
            memcpy(&pidfd, CMSG_DATA(header), sizeof pidfd);
            RET(syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0), 0);
            RET(fcntl(pidfd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        }
    }
}

static long send_as(int fd, pid_t pid, uid_t uid, gid_t gid) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(struct ucred))];
    } control = {.header = {CMSG_LEN(sizeof(struct ucred)), SOL_SOCKET, SCM_CREDENTIALS}};
    struct ucred said = {pid, uid, gid};
    memcpy(CMSG_DATA(&control.header), &said, sizeof said);
    struct iovec part = {"said", 4};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    return sendmsg(fd, &message, 0);
}

static void ask(int fd) { TRY(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int))); }

CASE(peer_of_connection) {
    int listener = listener_at(SOCK_STREAM, "server", 5);
    TRY(chmod(path_of("server"), 0777));
    say_peer("listener", listener, 0);
    struct gate connected = gate(), done = gate();
    pid_t other = child();
    if (other == 0) {
        become_somebody();
        int fd = new_socket(SOCK_STREAM);
        struct ucred none;
        socklen_t size = sizeof none;
        CHECK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &none, &size) == 0);
        CHECK(none.pid == 0 && none.uid == (uid_t)-1 && none.gid == (gid_t)-1);
        CHECK(connect_fd(fd, "server") == 0);
        CHECK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &none, &size) == 0);
        CHECK(none.pid == root_pid);
        pass(&connected);
        await(&done);
        _exit(0);
    }
    await(&connected);
    int peer = (int)TRY(accept(listener, NULL, NULL));
    say_peer("accepted", peer, other);
    pass(&done);
    join(other);
    say_peer("accepted, once its peer is gone", peer, other);
}

/* The ids are those of the time of listen() and connect(), not of the holder of the socket now. */
CASE(peer_of_inherited_pair) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    say_peer("pair", sides[0], 0);
    pid_t other = child();
    if (other == 0) {
        become_somebody();
        struct ucred peer;
        socklen_t size = sizeof peer;
        CHECK(getsockopt(sides[1], SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0);
        CHECK(peer.pid == root_pid);
        send_text(sides[1], "x");
        _exit(0);
    }
    join(other);
    say_peer("pair held by a child", sides[0], other);
}

CASE(short_option_buffer) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    struct ucred peer = {-2, 7, 7};
    socklen_t size = 4;
    RET(getsockopt(sides[0], SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
    RET(size, 4);
    RET(peer.pid == getpid() && peer.uid == 7, 1);
    ERR(setsockopt(sides[0], SOL_SOCKET, SO_PEERCRED, &peer, sizeof peer), ENOPROTOOPT);
}

static void pass_credentials(int type) {
    int sides[2];
    make_pair(type, sides);
    ask(sides[0]);
    struct gate go = gate();
    pid_t other = child();
    if (other == 0) {
        CHECK(send(sides[1], "as I am", 7, 0) == 7);
        await(&go);
        become_somebody();
        CHECK(send(sides[1], "as somebody", 11, 0) == 11);
        await(&go);
        CHECK(send_as(sides[1], getpid(), getuid(), getgid()) == 4);
        _exit(0);
    }
    say_credentials("first", sides[0], other);
    pass(&go);
    say_credentials("second", sides[0], other);
    pass(&go);
    say_credentials("third", sides[0], other);
    join(other);
}

CASE(passed_stream) { pass_credentials(SOCK_STREAM); }
CASE(passed_seqpacket) { pass_credentials(SOCK_SEQPACKET); }
CASE(passed_dgram) { pass_credentials(SOCK_DGRAM); }

CASE(passed_dgram_by_name) {
    int server = bound_at(SOCK_DGRAM, "server");
    TRY(chmod(path_of("server"), 0777));
    ask(server);
    pid_t other = child();
    if (other == 0) {
        become_somebody();
        struct sockaddr_un address;
        socklen_t size = name_of(&address, "server");
        CHECK(sendto(new_socket(SOCK_DGRAM), "by name", 7, 0, (struct sockaddr *)&address, size) == 7);
        _exit(0);
    }
    join(other);
    say_credentials("server", server, other);
}

/* What was sent before either side asked has no sender; the accepted socket inherits the wish of the listener. */
CASE(asked_late) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    send_text(sides[1], "early");
    ask(sides[0]);
    send_text(sides[1], "late");
    say_credentials("early", sides[0], 0);
    say_credentials("late", sides[0], 0);
}

CASE(inherited_from_listener) {
    int listener = listener_at(SOCK_STREAM, "@server", 5);
    ask(listener);
    int client = connected_to(SOCK_STREAM, "@server");
    send_text(client, "before accept");
    int peer = (int)TRY(accept(listener, NULL, NULL)), on;
    socklen_t size = sizeof on;
    RET(getsockopt(peer, SOL_SOCKET, SO_PASSCRED, &on, &size), 0);
    RET(on, 1);
    say_credentials("accepted", peer, 0);
}

CASE(said_by_the_sender) {
    int sides[2];
    make_pair(SOCK_SEQPACKET, sides);
    ask(sides[0]);
    pid_t other = child();
    if (other == 0) {
        become_somebody();
        ERR(send_as(sides[1], root_pid, getuid(), getgid()), EPERM);
        ERR(send_as(sides[1], 1, getuid(), getgid()), EPERM);
        ERR(send_as(sides[1], getpid(), getuid() + 1, getgid()), EPERM);
        ERR(send_as(sides[1], getpid(), getuid(), getgid() + 1), EPERM);
        ERR(send_as(sides[1], getpid(), (uid_t)-1, getgid()), EINVAL);
        ERR(send_as(sides[1], getpid(), getuid(), (gid_t)-1), EINVAL);
        RET(send_as(sides[1], getpid(), getuid(), getgid()), 4);
        _exit(0);
    }
    join(other);
    say_credentials("only the true one", sides[0], other);
    char byte;
    ERR(recv(sides[0], &byte, 1, MSG_DONTWAIT), EAGAIN);
}

/* Root may speak for others, but only for processes that exist. */
CASE(said_by_root) {
    if (geteuid() != 0)
        fail("this case needs root");
    int sides[2];
    make_pair(SOCK_DGRAM, sides);
    ask(sides[0]);
    pid_t other = child();
    if (other == 0) {
        pause();
        _exit(0);
    }
    RET(send_as(sides[1], other, 12345, 54321), 4);
    say_credentials("for the child", sides[0], other);
    TRY(kill(other, SIGKILL));
    status_of(other);
    ERR(send_as(sides[1], other, 12345, 54321), ESRCH);
}

/* On a stream, messages of different senders are not read as one. */
CASE(senders_never_merge) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    ask(sides[0]);
    send_text(sides[1], "parent 1, ");
    send_text(sides[1], "parent 2");
    pid_t other = child();
    if (other == 0) {
        send_text(sides[1], "child");
        _exit(0);
    }
    join(other);
    say_credentials("first", sides[0], other);
    say_credentials("second", sides[0], other);
}

CASE(no_space_for_them) {
    int sides[2];
    make_pair(SOCK_DGRAM, sides);
    ask(sides[0]);
    send_text(sides[1], "x");
    char data[8];
    struct iovec part = {data, sizeof data};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    RET(recvmsg(sides[0], &message, 0), 1);
    RET(message.msg_flags, MSG_CTRUNC);
    send_text(sides[1], "y");
    char control[CMSG_LEN(4)] = {0};
    message.msg_control = control, message.msg_controllen = sizeof control;
    RET(recvmsg(sides[0], &message, 0), 1);
    RET(message.msg_flags, MSG_CTRUNC);
    RET(message.msg_controllen, sizeof control);
}

CASE(with_rights) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    ask(sides[0]);
    RET(send_fds(sides[1], "both", 4, sides, 1, 0), 4);
    char data[8], control[256];
    struct iovec part = {data, sizeof data};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    RET(recvmsg(sides[0], &message, MSG_CMSG_CLOEXEC), 4);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    RET(header->cmsg_type, SCM_CREDENTIALS);
    header = CMSG_NXTHDR(&message, header);
    RET(header->cmsg_type, SCM_RIGHTS);
    RET(CMSG_NXTHDR(&message, header) == NULL, 1);
}

/* Asking on a socket without a name gives it one as soon as it needs it. */
CASE(autobinds) {
    int server = bound_at(SOCK_DGRAM, "server"), client = new_socket(SOCK_DGRAM);
    ask(client);
    struct sockaddr_un address;
    socklen_t size = sizeof address;
    RET(getsockname(client, (struct sockaddr *)&address, &size), 0);
    RET(size, 2);
    RET(connect_fd(client, "server"), 0);
    size = sizeof address;
    RET(getsockname(client, (struct sockaddr *)&address, &size), 0);
    RET(size, 8);
    send_text(client, "x");
    char byte;
    size = sizeof address;
    RET(recvfrom(server, &byte, 1, 0, (struct sockaddr *)&address, &size), 1);
    RET(size, 8);
}

CASE(pidfd_of_peer) {
    int listener = listener_at(SOCK_STREAM, "@server", 5), pidfd;
    struct gate connected = gate(), done = gate();
    pid_t other = child();
    if (other == 0) {
        connected_to(SOCK_STREAM, "@server");
        pass(&connected);
        await(&done);
        _exit(7);
    }
    await(&connected);
    int peer = (int)TRY(accept(listener, NULL, NULL));
    socklen_t size = sizeof pidfd;
    RET(getsockopt(peer, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size), 0);
    RET(poll(&(struct pollfd){pidfd, POLLIN, 0}, 1, 0), 0);
    RET(fcntl(pidfd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    pass(&done);
    RET(poll(&(struct pollfd){pidfd, POLLIN, 0}, 1, 5000), 1);
    siginfo_t ended;
    RET(waitid(P_PIDFD, (id_t)pidfd, &ended, WEXITED), 0);
    RET(ended.si_pid == other && ended.si_status == 7, 1);
    ERR(getsockopt(new_socket(SOCK_STREAM), SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size), ENODATA);
}

CASE(pidfd_of_sender) {
    int sides[2];
    make_pair(SOCK_DGRAM, sides);
    RET(setsockopt(sides[0], SOL_SOCKET, SO_PASSPIDFD, &(int){1}, sizeof(int)), 0);
    send_text(sides[1], "x");
    say_credentials("pidfd", sides[0], 0);
}
