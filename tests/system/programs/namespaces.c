/* Credentials between pid and user namespaces: each reader sees them in the numbers of its own. */
#include "check.h"

#include <grp.h>

static struct ucred peer_of(int fd) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    TRY(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size));
    return peer;
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

static struct ucred sender_of(int fd) {
    char data[32], control[256];
    struct iovec part = {data, sizeof data};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK(TRY(recvmsg(fd, &message, 0)) > 0);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    CHECK(header && header->cmsg_type == SCM_CREDENTIALS);
    struct ucred sender;
    memcpy(&sender, CMSG_DATA(header), sizeof sender);
    return sender;
}

static void pass_credentials(int fd) { TRY(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int))); }

/* A child that is the first process of a new pid namespace; where the test is no root, with a user namespace too. */
static pid_t first_process(void) {
    TRY(unshare(CLONE_NEWPID | (geteuid() ? CLONE_NEWUSER : 0)));
    pid_t pid = (pid_t)TRY(fork());
    if (pid == 0)
        alarm(WATCHDOG_SECONDS);
    return pid;
}

CASE(pid_of_a_process_in_a_new_pid_namespace) {
    int pair[2], listener = listener_at(SOCK_STREAM, "listener", 1);
    make_pair(SOCK_DGRAM, pair);
    pass_credentials(pair[0]);
    pid_t pid = first_process();
    if (pid == 0) {
        CHECK(getpid() == 1);
        int fd = connected_to(SOCK_STREAM, "listener");
        struct ucred peer = peer_of(fd);
        say("inside: the listener's process is %d", peer.pid);
        send_text(pair[1], "hello");
        send_text(pair[1], "hello");
        if (geteuid() == 0) { /* else there is a user namespace, in which nobody has a number */
            RET(send_as(pair[1], 1, getuid(), getgid()), 4);
            ERR(send_as(pair[1], 2, getuid(), getgid()), ESRCH);
        }
        char byte;
        CHECK(read(fd, &byte, 1) == 0);
        _exit(0);
    }
    int fd = (int)TRY(accept(listener, NULL, NULL));
    CHECK(peer_of(fd).pid == pid);
    for (int i = geteuid() ? 1 : 0; i < 3; i++)
        CHECK(sender_of(pair[0]).pid == pid);
    hang_up(fd);
    join(pid);
    say("outside: the child's number is that of fork");
}

CASE(pids_within_a_pid_namespace) {
    pid_t pid = first_process();
    if (pid == 0) {
        root_pid = 1;
        int pair[2], listener = listener_at(SOCK_SEQPACKET, "inside", 1);
        make_pair(SOCK_DGRAM, pair);
        pass_credentials(pair[0]);
        pid_t grandchild = child();
        if (grandchild == 0) {
            say("inside: the child is %d", getpid());
            int fd = connected_to(SOCK_SEQPACKET, "inside");
            say("inside: the listener's process is %d", peer_of(fd).pid);
            send_text(pair[1], "hello");
            if (geteuid() == 0) {
                RET(send_as(pair[1], getpid(), getuid(), getgid()), 4);
                RET(send_as(pair[1], 1, getuid(), getgid()), 4);
            }
            _exit(0);
        }
        int fd = (int)TRY(accept(listener, NULL, NULL));
        join(grandchild); /* it is gone when its number is read */
        say("inside: accepted from %d", peer_of(fd).pid);
        for (int i = geteuid() ? 2 : 0; i < 3; i++)
            say("inside: message of %d", sender_of(pair[0]).pid);
        _exit(0);
    }
    join(pid);
}

CASE(a_process_of_the_outer_namespace_has_no_number_inside) {
    int pair[2], ready[2];
    make_pair(SOCK_STREAM, pair);
    make_pair(SOCK_STREAM, ready);
    pass_credentials(pair[0]);
    pid_t pid = first_process();
    if (pid == 0) {
        say("inside: sent by %d", sender_of(pair[0]).pid);
        say("inside: the pair was made by %d", peer_of(pair[0]).pid);
        if (geteuid() == 0)
            say("inside: of which I was told that it is me: %d", sender_of(pair[0]).pid);
        _exit(0);
    }
    send_text(pair[1], "hello");
    if (geteuid() == 0)
        CHECK(send_as(pair[1], pid, getuid(), getgid()) == 4);
    join(pid);
}

CASE(namespaces_in_each_other) {
    int pair[2];
    make_pair(SOCK_DGRAM, pair);
    pass_credentials(pair[0]);
    pass_credentials(pair[1]);
    pid_t outer = first_process();
    if (outer == 0) {
        pid_t filler = child();
        if (filler == 0)
            _exit(0);
        join(filler);
        TRY(unshare(CLONE_NEWPID));
        pid_t inner = (pid_t)TRY(fork());
        if (inner == 0) {
            alarm(WATCHDOG_SECONDS);
            CHECK(getpid() == 1);
            send_text(pair[0], "one");
            say("innermost: sent by %d", sender_of(pair[0]).pid);
            send_text(pair[0], "two");
            _exit(0);
        }
        say("middle: the innermost is %d, and sent as %d", inner, sender_of(pair[1]).pid);
        send_text(pair[1], "hello");
        join(inner);
        _exit(0);
    }
    join(outer);
    pid_t sender = sender_of(pair[1]).pid;
    CHECK(sender > 1 && kill(sender, 0) == -1 && errno == ESRCH);
    say("outside: another number, of a process that is gone");
}

static void write_file(const char *name, const char *text) {
    int fd = (int)TRY(open(name, O_WRONLY | O_CLOEXEC));
    write_fully(fd, text, strlen(text));
    close(fd);
}

static void write_map(pid_t pid, const char *which, unsigned inside, unsigned outside) {
    char name[64], text[64];
    snprintf(name, sizeof name, "/proc/%d/%s", pid, which);
    snprintf(text, sizeof text, "%u %u 1\n", inside, outside);
    write_file(name, text);
}

static void say_ids(const char *what, struct ucred who) { say("%s: uid %d gid %d", what, (int)who.uid, (int)who.gid); }

CASE(ids_in_a_user_namespace) {
    int pair[2], listener = listener_at(SOCK_STREAM, "listener", 1);
    struct gate unshared = gate(), mapped = gate();
    make_pair(SOCK_DGRAM, pair);
    pass_credentials(pair[0]);
    pass_credentials(pair[1]);
    uid_t uid = getuid();
    gid_t gid = getgid();
    pid_t pid = child();
    if (pid == 0) {
        if (uid == 0)
            TRY(setgroups(2, (gid_t[]){0, 1234}));
        TRY(unshare(CLONE_NEWUSER));
        say_ids("before the map, the listener", peer_of(connected_to(SOCK_STREAM, "listener")));
        pass(&unshared);
        await(&mapped);
        send_text(pair[1], "hello");
        RET(send_as(pair[1], getpid(), 4242, 4343), 4);
        ERR(send_as(pair[1], getpid(), 77, 4343), EINVAL);
        ERR(send_as(pair[1], getpid(), 4242, 77), EINVAL);
        say_ids("inside: peer", peer_of(connected_to(SOCK_STREAM, "listener")));
        gid_t groups[8];
        socklen_t size = sizeof groups;
        int own[2];
        make_pair(SOCK_STREAM, own);
        RET(getsockopt(own[0], SOL_SOCKET, SO_PEERGROUPS, groups, &size), 0);
        for (size_t i = 0; uid == 0 && i < size / sizeof *groups; i++)
            say("inside: group %u", groups[i]);
        struct ucred sender = sender_of(pair[1]);
        say_ids("inside: sent by", sender);
        CHECK(sender.pid == getppid());
        _exit(0);
    }
    await(&unshared);
    char setgroups_name[64];
    snprintf(setgroups_name, sizeof setgroups_name, "/proc/%d/setgroups", pid);
    write_file(setgroups_name, "deny");
    write_map(pid, "uid_map", 4242, uid);
    write_map(pid, "gid_map", 4343, gid);
    pass(&mapped);
    send_text(pair[0], "hello");
    for (int i = 0; i < 2; i++) {
        struct ucred sender = sender_of(pair[0]);
        CHECK(sender.uid == uid && sender.gid == gid && sender.pid == pid);
    }
    for (int i = 0; i < 2; i++) {
        int fd = (int)TRY(accept(listener, NULL, NULL));
        CHECK(peer_of(fd).uid == uid && peer_of(fd).gid == gid);
    }
    join(pid);
}

CASE(pids_over_a_name_of_another_mount) {
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    pid_t pid = first_process();
    if (pid == 0) {
        int listener = listener_at(SOCK_STREAM, "of-the-first", 1);
        pass(&(struct gate){{pair[0], pair[0]}});
        int fd = (int)TRY(accept(listener, NULL, NULL));
        say("inside: accepted from %d", peer_of(fd).pid);
        _exit(0);
    }
    await(&(struct gate){{pair[1], pair[1]}});
    CHECK(peer_of(connected_to(SOCK_STREAM, "of-the-first")).pid == pid);
    join(pid);
}
