/* SCM_RIGHTS: what can be passed, how much of it arrives, and that whatever is left over is closed exactly once. */
#include "check.h"

/* Passes the pipe's writing end away; all that then keeps the pipe open is the message. */
static int pass_probe(int over, const char *text) {
    int probe[2];
    TRY(pipe2(probe, O_CLOEXEC));
    CHECK(send_fds(over, text, strlen(text), &probe[1], 1, 0) == (ssize_t)strlen(text));
    TRY(close(probe[1]));
    return probe[0];
}

CASE(pipe_end) {
    int sides[2], ends[2];
    make_pair(SOCK_STREAM, sides);
    TRY(pipe2(ends, O_CLOEXEC));
    pid_t other = child();
    if (other == 0) {
        TRY(close(ends[0]));
        TRY(close(ends[1]));
        int writing = recv_fd(sides[1]);
        RET(write(writing, "through a passed pipe", 21), 21);
        _exit(0);
    }
    CHECK(send_fds(sides[0], "p", 1, &ends[1], 1, 0) == 1);
    TRY(close(ends[1]));
    join(other);
    char data[32] = "";
    RET(read(ends[0], data, sizeof data), 21);
    say("\"%s\"", data);
    RET(read(ends[0], data, sizeof data), 0);
}

/* A connected socket moves to another process, with what is queued in it. */
static void pass_connected(int carrier, int type) {
    int sides[2], talk[2];
    make_pair(carrier, sides);
    make_pair(type, talk);
    send_text(talk[0], "queued before");
    pid_t other = child();
    if (other == 0) {
        close_all(talk, 2);
        TRY(close(sides[0]));
        int came = recv_fd(sides[1]), kind;
        socklen_t size = sizeof kind;
        RET(getsockopt(came, SOL_SOCKET, SO_TYPE, &kind, &size), 0);
        CHECK(kind == type);
        say_received("child", came);
        send_text(came, "from the child");
        say_received("child", came);
        _exit(0);
    }
    CHECK(send_fds(sides[0], "s", 1, &talk[1], 1, 0) == 1);
    TRY(close(talk[1]));
    say_received("parent", talk[0]);
    send_text(talk[0], "from the parent");
    join(other);
    char byte;
    if (type != SOCK_DGRAM)
        RET(recv(talk[0], &byte, 1, 0), 0);
    else
        ERR(send(talk[0], "x", 1, 0), ECONNREFUSED);
}

CASE(connected_stream) { pass_connected(SOCK_STREAM, SOCK_STREAM); }
CASE(connected_seqpacket_over_dgram) { pass_connected(SOCK_DGRAM, SOCK_SEQPACKET); }
CASE(connected_dgram_over_seqpacket) { pass_connected(SOCK_SEQPACKET, SOCK_DGRAM); }

/* A listener moves; a connection made before and one made after are both accepted by the new holder. */
static void pass_listener(const char *name) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[0]));
        int listener = recv_fd(sides[1]);
        for (int i = 0; i < 2; i++) {
            int peer = (int)TRY(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
            say_received("child", peer);
            send_text(peer, i ? "second" : "first");
            TRY(close(peer));
        }
        _exit(0);
    }
    int listener = listener_at(SOCK_STREAM, name, 5);
    int before = connected_to(SOCK_STREAM, name);
    send_text(before, "before the listener moved");
    CHECK(send_fds(sides[0], "l", 1, &listener, 1, 0) == 1);
    TRY(close(listener));
    say_received("parent", before);
    int after = connected_to(SOCK_STREAM, name);
    send_text(after, "after the listener moved");
    say_received("parent", after);
    join(other);
    ERR(connect_fd(new_socket(SOCK_STREAM), name), ECONNREFUSED);
}

CASE(listener_by_path) { pass_listener("server"); }
CASE(listener_by_abstract_name) { pass_listener("@server"); }

/* A connection that travels inside the socket that it will be used beside, and a bound datagram socket. */
CASE(bound_dgram) {
    int sides[2];
    make_pair(SOCK_SEQPACKET, sides);
    pid_t other = child();
    if (other == 0) {
        int fd = recv_fd(sides[1]);
        say_received("child", fd);
        _exit(0);
    }
    int bound = bound_at(SOCK_DGRAM, "inbox");
    CHECK(send_fds(sides[0], "b", 1, &bound, 1, 0) == 1);
    TRY(close(bound));
    int sender = connected_to(SOCK_DGRAM, "inbox");
    send_text(sender, "letter");
    join(other);
    TRY(close(sides[1]));
    ERR(send(sender, "x", 1, 0), ECONNREFUSED);
}

CASE(status_flags_are_shared) {
    int sides[2], talk[2];
    make_pair(SOCK_STREAM, sides);
    make_pair(SOCK_STREAM, talk);
    CHECK(send_fds(sides[0], "x", 1, talk, 1, 0) == 1);
    int came = recv_fd(sides[1]);
    char byte;
    nonblocking(came, true);
    RET(fcntl(talk[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    ERR(recv(talk[0], &byte, 1, 0), EAGAIN);
    struct stat mine, theirs;
    TRY(fstat(talk[0], &mine));
    TRY(fstat(came, &theirs));
    RET(mine.st_ino == theirs.st_ino && S_ISSOCK(theirs.st_mode), 1);
}

CASE(close_on_exec_flag) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    const int flags[] = {0, MSG_CMSG_CLOEXEC};
    for (int i = 0; i < 2; i++) {
        CHECK(send_fds(sides[0], "x", 1, sides, 1, 0) == 1);
        char byte;
        int fd, count = 1, got = flags[i];
        RET(recv_fds(sides[1], &byte, 1, &fd, &count, &got), 1);
        RET(fcntl(fd, F_GETFD), i ? FD_CLOEXEC : 0);
        RET(got & MSG_CMSG_CLOEXEC, flags[i] & MSG_CMSG_CLOEXEC);
        TRY(close(fd));
    }
}

CASE(many_at_once) {
    int sides[2], fds[254], came[MOST_FDS], count = MOST_FDS, flags = MSG_CMSG_CLOEXEC;
    char byte;
    make_pair(SOCK_STREAM, sides);
    for (int i = 0; i < 254; i++)
        fds[i] = sides[i % 2];
    ERR(send_fds(sides[0], "x", 1, fds, 254, 0), EINVAL);
    ERR(recv(sides[1], &byte, 1, MSG_DONTWAIT), EAGAIN);
    RET(send_fds(sides[0], "x", 1, fds, 253, 0), 1);
    RET(recv_fds(sides[1], &byte, 1, came, &count, &flags), 1);
    RET(count, 253);
    RET(flags, MSG_CMSG_CLOEXEC);
    struct stat first, last;
    TRY(fstat(came[0], &first));
    TRY(fstat(came[252], &last));
    RET(first.st_ino == last.st_ino, 1);
}

CASE(bad_descriptors) {
    int sides[2], fds[3] = {0, 999, 1};
    char byte;
    make_pair(SOCK_STREAM, sides);
    ERR(send_fds(sides[0], "x", 1, fds, 3, 0), EBADF);
    fds[1] = -1;
    ERR(send_fds(sides[0], "x", 1, fds, 3, 0), EBADF);
    ERR(recv(sides[1], &byte, 1, MSG_DONTWAIT), EAGAIN);
    int path = (int)TRY(open(directory, O_PATH | O_CLOEXEC));
    RET(send_fds(sides[0], "x", 1, &path, 1, 0), 1);
    int came = recv_fd(sides[1]);
    RET(fcntl(came, F_GETFL) & O_PATH, O_PATH);
}

/* Space for two, three come: two are installed, the third is closed. */
CASE(too_little_space) {
    int sides[2], probe[3][2], sent[3], came[4];
    make_pair(SOCK_STREAM, sides);
    for (int i = 0; i < 3; i++) {
        TRY(pipe2(probe[i], O_CLOEXEC));
        sent[i] = probe[i][1];
    }
    RET(send_fds(sides[0], "x", 1, sent, 3, 0), 1);
    close_all(sent, 3);
    char byte;
    int count = 2, flags = 0;
    RET(recv_fds(sides[1], &byte, 1, came, &count, &flags), 1);
    RET(count, 2);
    RET(flags, MSG_CTRUNC);
    RET(is_closed(probe[0][0]), 0);
    RET(is_closed(probe[1][0]), 0);
    RET(is_closed(probe[2][0]), 1);
    close_all(came, 2);
    RET(is_closed(probe[0][0]) && is_closed(probe[1][0]), 1);
}

CASE(no_space) {
    int sides[2];
    char byte;
    make_pair(SOCK_STREAM, sides);
    int probe = pass_probe(sides[0], "x"), count = 0, flags = 0;
    RET(is_closed(probe), 0);
    RET(recv_fds(sides[1], &byte, 1, NULL, &count, &flags), 1);
    RET(flags, MSG_CTRUNC);
    RET(is_closed(probe), 1);
    probe = pass_probe(sides[0], "y");
    RET(read(sides[1], &byte, 1), 1);
    RET(is_closed(probe), 1);
}

CASE(descriptor_limit) {
    int sides[2], pipes[3][2], sent[3], came[4];
    make_pair(SOCK_STREAM, sides);
    for (int i = 0; i < 3; i++) {
        TRY(pipe2(pipes[i], O_CLOEXEC));
        sent[i] = pipes[i][1];
    }
    RET(send_fds(sides[0], "x", 1, sent, 3, 0), 1);
    close_all(sent, 3);
    int lowest = (int)TRY(dup(0));
    TRY(close(lowest));
    struct rlimit limit;
    TRY(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = (rlim_t)lowest + 1;
    TRY(setrlimit(RLIMIT_NOFILE, &limit));
    char byte;
    int count = 3, flags = 0;
    RET(recv_fds(sides[1], &byte, 1, came, &count, &flags), 1);
    say("%d arrived under the limit, flags %#x", count, flags);
    /* The lowest free number is one of the pipes' writing ends; what is above the limit can't be used. */
    int open_ends = 0;
    for (int i = 0; i < 3; i++)
        open_ends += !is_closed(pipes[i][0]);
    RET(open_ends == count, 1);
}

CASE(peek_gives_fresh_ones) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    int probe = pass_probe(sides[0], "x"), fds[3];
    char byte;
    for (int i = 0; i < 3; i++) {
        int count = 1, flags = (i < 2 ? MSG_PEEK : 0) | MSG_CMSG_CLOEXEC;
        RET(recv_fds(sides[1], &byte, 1, &fds[i], &count, &flags), 1);
        RET(count, 1);
    }
    RET(fds[0] != fds[1] && fds[1] != fds[2], 1);
    TRY(close(fds[2]));
    TRY(close(fds[0]));
    RET(is_closed(probe), 0);
    RET(write(fds[1], "w", 1), 1);
    TRY(close(fds[1]));
    RET(read(probe, &byte, 1), 1);
    RET(is_closed(probe), 1);
}

/* A stream read stops after the message that carries descriptors; they come with its first byte. */
CASE(stream_borders) {
    int sides[2], fds[4];
    char data[32];
    make_pair(SOCK_STREAM, sides);
    send_text(sides[0], "aa");
    int probe = pass_probe(sides[0], "bbbb");
    send_text(sides[0], "cc");
    pass_probe(sides[0], "dd");
    int count = 4, flags = MSG_CMSG_CLOEXEC;
    RET(recv_fds(sides[1], data, 3, fds, &count, &flags), 3);
    RET(count, 1);
    TRY(close(fds[0]));
    RET(is_closed(probe), 1);
    count = 4, flags = MSG_CMSG_CLOEXEC;
    RET(recv_fds(sides[1], data, sizeof data, fds, &count, &flags), 7);
    say("\"%.7s\" with %d", data, count);
    RET(count, 1);
}

CASE(empty_messages) {
    int sides[2], fd = 0, came, count, flags;
    char byte;
    make_pair(SOCK_STREAM, sides);
    RET(send_fds(sides[0], "", 0, &fd, 1, 0), 0);
    ERR(recv(sides[1], &byte, 1, MSG_DONTWAIT), EAGAIN);
    const int types[] = {SOCK_SEQPACKET, SOCK_DGRAM};
    for (int i = 0; i < 2; i++) {
        make_pair(types[i], sides);
        RET(send_fds(sides[0], "", 0, &fd, 1, 0), 0);
        count = 1, flags = MSG_CMSG_CLOEXEC;
        RET(recv_fds(sides[1], &byte, 1, &came, &count, &flags), 0);
        RET(count, 1);
    }
}

CASE(receiver_closes_unread) {
    const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
    for (int i = 0; i < 3; i++) {
        int sides[2];
        make_pair(types[i], sides);
        int probe = pass_probe(sides[0], "x");
        RET(is_closed(probe), 0);
        TRY(close(sides[0]));
        RET(is_closed(probe), 0);
        TRY(close(sides[1]));
        expect_closed(probe);
        say("closed with the queue");
    }
}

CASE(receiver_dies_with_it) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    struct gate got = gate();
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[0]));
        recv_fd(sides[1]);
        pass(&got);
        pause();
    }
    TRY(close(sides[1]));
    int probe = pass_probe(sides[0], "x");
    await(&got);
    int unread = pass_probe(sides[0], "y");
    RET(is_closed(probe) || is_closed(unread), 0);
    TRY(kill(other, SIGKILL));
    RET(status_of(other), SIGKILL);
    expect_closed(probe);
    expect_closed(unread);
    char byte;
    ERR(recv(sides[0], &byte, 1, 0), ECONNRESET);
    RET(recv(sides[0], &byte, 1, 0), 0);
}

CASE(receiver_dies_while_it_waits) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t other = child();
    if (other == 0) {
        TRY(close(sides[0]));
        recv_fd(sides[1]);
        _exit(1);
    }
    TRY(close(sides[1]));
    wait_blocked(other, SYS_recvmsg);
    TRY(kill(other, SIGKILL));
    RET(status_of(other), SIGKILL);
    int probe[2];
    TRY(pipe2(probe, O_CLOEXEC));
    ERR(send_fds(sides[0], "x", 1, &probe[1], 1, MSG_NOSIGNAL), EPIPE);
    TRY(close(probe[1]));
    RET(is_closed(probe[0]), 1);
}

CASE(sender_dies_after_it) {
    int sides[2], probe[2];
    make_pair(SOCK_STREAM, sides);
    TRY(pipe2(probe, O_CLOEXEC));
    pid_t other = child();
    if (other == 0) {
        CHECK(send_fds(sides[0], "x", 1, &probe[1], 1, 0) == 1);
        _exit(0);
    }
    TRY(close(probe[1]));
    TRY(close(sides[0]));
    join(other);
    int writing = recv_fd(sides[1]);
    RET(write(writing, "alive", 5), 5);
    TRY(close(writing));
    char data[8] = "";
    RET(read(probe[0], data, sizeof data), 5);
    RET(is_closed(probe[0]), 1);
    RET(recv(sides[1], data, 1, 0), 0);
}

CASE(several_headers_merge) {
    int sides[2], came[4];
    make_pair(SOCK_STREAM, sides);
    char control[2 * CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {"x", 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    for (int i = 0; i < 2; i++, header = CMSG_NXTHDR(&message, header)) {
        *header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(header), &sides[i], sizeof(int));
    }
    RET(sendmsg(sides[0], &message, 0), 1);
    char byte;
    int count = 4, flags = MSG_CMSG_CLOEXEC;
    RET(recv_fds(sides[1], &byte, 1, came, &count, &flags), 1);
    RET(count, 2);
    RET(flags & MSG_CTRUNC, 0);
}

/* Two sockets that only keep each other alive, inside their own unread messages. */
CASE(cycle_of_two) {
    int sides[2], watch[2];
    make_pair(SOCK_STREAM, sides);
    make_pair(SOCK_STREAM, watch);
    int load[2] = {sides[0], watch[0]};
    RET(send_fds(sides[0], "a", 1, load, 2, 0), 1);
    RET(send_fds(sides[1], "b", 1, &sides[1], 1, 0), 1);
    close_all(sides, 2);
    TRY(close(watch[0]));
    /* The collector runs when some Unix socket is closed; watch's other end then sees its peer go. */
    struct pollfd item = {watch[1], POLLIN, 0};
    double end = now() + 5;
    int ready = 0;
    while (!ready && now() < end) {
        int other[2];
        make_pair(SOCK_STREAM, other);
        close_all(other, 2);
        ready = poll(&item, 1, 20);
    }
    RET(ready, 1);
    char byte;
    RET(recv(watch[1], &byte, 1, 0), 0);
}

/* A socket sent over itself; its peer, which is still held, must not be harmed, and sees the end of it in time. */
CASE(sent_over_itself) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    RET(send_fds(sides[1], "x", 1, &sides[0], 1, 0), 1);
    int probe = pass_probe(sides[1], "y");
    TRY(close(sides[0])); /* now only its own queue holds it */
    struct pollfd item = {sides[1], POLLIN, 0};
    double end = now() + 5;
    int ready = 0;
    while (!ready && now() < end) {
        int other[2];
        make_pair(SOCK_STREAM, other);
        close_all(other, 2);
        ready = poll(&item, 1, 20);
    }
    RET(ready, 1);
    char byte;
    ssize_t got = recv(sides[1], &byte, 1, 0);
    say("leftover peer: %s", got == 0 ? "end of file" : error_name(errno));
    expect_closed(probe);
}

/* A live cycle is left alone: one of its sockets is still held, and what is queued can be read. */
CASE(held_cycle_survives) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    RET(send_fds(sides[0], "a", 1, &sides[0], 1, 0), 1);
    RET(send_fds(sides[1], "b", 1, &sides[1], 1, 0), 1);
    TRY(close(sides[0]));
    for (int i = 0; i < 20; i++) {
        int other[2];
        make_pair(SOCK_STREAM, other);
        RET(send_fds(other[0], "c", 1, other, 2, 0), 1);
        close_all(other, 2);
    }
    int came = recv_fd(sides[1]);
    send_text(came, "still here");
    say_received("held", sides[1]);
    int other = recv_fd(came);
    send_text(other, "here too");
    say_received("found", came);
}

CASE(thousand_cycles) {
    struct rlimit limit;
    TRY(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = 64; /* a leaked descriptor would soon be one too many */
    TRY(setrlimit(RLIMIT_NOFILE, &limit));
    for (int i = 0; i < 1000; i++) {
        int sides[2];
        make_pair(i % 2 ? SOCK_STREAM : SOCK_SEQPACKET, sides);
        CHECK(send_fds(sides[0], "a", 1, sides, 2, 0) == 1);
        CHECK(send_fds(sides[1], "b", 1, sides, 2, 0) == 1);
        close_all(sides, 2);
    }
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    send_text(sides[0], "works");
    say_received("after a thousand cycles", sides[1]);
}

CASE(thousand_passes) {
    struct rlimit limit;
    TRY(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = 64;
    TRY(setrlimit(RLIMIT_NOFILE, &limit));
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    for (int i = 0; i < 1000; i++) {
        int talk[2];
        make_pair(SOCK_STREAM, talk);
        CHECK(send_fds(sides[0], "x", 1, talk, 1, 0) == 1);
        TRY(close(talk[0]));
        int came = recv_fd(sides[1]);
        char byte;
        CHECK(write(came, "y", 1) == 1 && read(talk[1], &byte, 1) == 1);
        TRY(close(came));
        CHECK(read(talk[1], &byte, 1) == 0);
        TRY(close(talk[1]));
    }
    say("a thousand descriptors passed and closed");
}
