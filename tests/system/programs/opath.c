/* Descriptors opened with O_PATH, which only the receiving thread itself can be given: how they arrive, and what is left
   of registers, signals, memory and descriptor numbers around that. SIOCUNIXFILE makes one without a message. */
#include "check.h"

#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE (SIOCPROTOPRIVATE + 0)
#endif

static const int three_types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};

static int path_fd(void) { return (int)TRY(open(directory, O_PATH | O_CLOEXEC)); }

static bool same_file(int one, int two) {
    struct stat first, second;
    TRY(fstat(one, &first));
    TRY(fstat(two, &second));
    return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

static bool is_path(int fd) {
    int path = path_fd();
    bool same = fcntl(fd, F_GETFL) & O_PATH && same_file(fd, path);
    TRY(close(path));
    return same;
}

/* Among others, in their order, under the lowest free numbers. */
CASE(among_others) {
    for (int i = 0; i < 3; i++) {
        int sides[2], came[4];
        char byte;
        make_pair(three_types[i], sides);
        int file = (int)TRY(open("/dev/null", O_RDONLY | O_CLOEXEC)), path = path_fd();
        int sent[] = {file, path, sides[0], path};
        RET(send_fds(sides[0], "x", 1, sent, 4, 0), 1);
        int hole = (int)TRY(dup(0)), above = (int)TRY(dup(0)), lowest[4];
        TRY(close(hole));
        for (int k = 0; k < 4; k++)
            lowest[k] = (int)TRY(dup(0));
        close_all(lowest, 4);
        int count = 4, flags = i == 0 ? 0 : MSG_CMSG_CLOEXEC;
        RET(recv_fds(sides[1], &byte, 1, came, &count, &flags), 1);
        RET(count, 4);
        RET(flags, i == 0 ? 0 : MSG_CMSG_CLOEXEC);
        for (int k = 0; k < 4; k++) {
            RET(came[k] == lowest[k], 1);
            RET(fcntl(came[k], F_GETFD), i == 0 ? 0 : FD_CLOEXEC);
            RET(same_file(came[k], sent[k]), 1);
            RET(!!(fcntl(came[k], F_GETFL) & O_PATH), k % 2);
        }
        close_all(came, 4);
        int next = (int)TRY(dup(0));
        RET(next == lowest[0], 1);
        close_all((int[]){sides[0], sides[1], file, path, above, next}, 6);
    }
}

/* With the sender's address and credentials, and data over several buffers. */
CASE(with_all_that_a_message_has) {
    for (int i = 1; i < 3; i++) {
        int on = 1, server, client, receiver;
        if (three_types[i] == SOCK_DGRAM) {
            receiver = server = bound_at(SOCK_DGRAM, "server");
            client = bound_at(SOCK_DGRAM, "client");
            TRY(connect_fd(client, "server"));
        } else {
            server = listener_at(three_types[i], "server2", 1);
            client = bound_at(three_types[i], "client2");
            TRY(connect_fd(client, "server2"));
            receiver = (int)TRY(accept4(server, NULL, NULL, SOCK_CLOEXEC));
        }
        TRY(setsockopt(receiver, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
        int path = path_fd();
        RET(send_fds(client, "abcdef", 6, &path, 1, 0), 6);
        for (int turn = 0; turn < 2; turn++) {
            struct sockaddr_un from;
            char one[3], two[5], control[256];
            struct iovec parts[] = {{one, 3}, {two, 5}};
            struct msghdr message = {&from, sizeof from, parts, 2, control, sizeof control, 0};
            RET(recvmsg(receiver, &message, turn ? 0 : MSG_PEEK), 6);
            say("%.3s %.3s flags %x, address of %d, control of %zu", one, two, message.msg_flags,
                (int)message.msg_namelen - (int)strlen(directory), message.msg_controllen);
            for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
                say("type %d", header->cmsg_type);
                if (header->cmsg_type == SCM_CREDENTIALS) {
                    struct ucred *who = (struct ucred *)CMSG_DATA(header);
                    RET(who->pid == getpid() && who->uid == getuid() && who->gid == getgid(), 1);
                } else {
                    RET(is_path(*(int *)CMSG_DATA(header)), 1);
                }
            }
        }
        char byte;
        ERR(recv(receiver, &byte, 1, MSG_DONTWAIT), EAGAIN);
    }
}

/* A receive that waits. */
CASE(waited_for) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t other = child();
    if (other == 0) {
        int came = recv_fd(sides[1]);
        _exit(is_path(came) ? 0 : 1);
    }
    wait_blocked(other, SYS_recvmsg);
    int path = path_fd();
    RET(send_fds(sides[0], "x", 1, &path, 1, 0), 1);
    join(other);
}

/* A process that may have no more descriptors gets as many as there is room for. */
CASE(no_number_left) {
    int sides[2], came[3];
    char byte;
    make_pair(SOCK_STREAM, sides);
    int path = path_fd(), file = (int)TRY(dup(0)), sent[] = {path, file, path};
    RET(send_fds(sides[0], "x", 1, sent, 3, 0), 1);
    struct rlimit limit = {.rlim_cur = (rlim_t)file + 1, .rlim_max = 4096};
    TRY(setrlimit(RLIMIT_NOFILE, &limit));
    int count = 3, flags = 0;
    RET(recv_fds(sides[1], &byte, 1, came, &count, &flags), 1);
    RET(count, 0);
    RET(flags, MSG_CTRUNC);
}

/* recvmmsg. */
CASE(several_messages) {
    int sides[2], path = path_fd();
    make_pair(SOCK_DGRAM, sides);
    struct mmsghdr messages[3];
    struct iovec parts[3];
    char data[3][4], control[3][64];
    for (int i = 0; i < 3; i++) {
        RET(send_fds(sides[0], "abc", 3, &path, i == 1 ? 0 : 1, 0), 3);
        parts[i] = (struct iovec){data[i], 4};
        messages[i].msg_hdr = (struct msghdr){NULL, 0, &parts[i], 1, control[i], sizeof control[i], 0};
    }
    RET(recvmmsg(sides[1], messages, 3, MSG_WAITFORONE, NULL), 3);
    for (int i = 0; i < 3; i++) {
        RET(messages[i].msg_len, 3);
        RET(messages[i].msg_hdr.msg_controllen, i == 1 ? 0 : CMSG_SPACE(sizeof(int)));
    }
    RET(is_path(*(int *)CMSG_DATA((struct cmsghdr *)control[2])), 1);
}

/* ---- signals, other threads, and the end ---------------------------------------------------------------------- */

static volatile int alarms;

static void on_alarm(int number) {
    (void)number;
    alarms++;
}

static void storm(int flags) {
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = flags};
    struct itimerval often = {{0, 500}, {0, 500}};
    TRY(sigaction(SIGALRM, &action, NULL));
    TRY(setitimer(ITIMER_REAL, &often, NULL));
}

/* Registers that the compiler keeps values in, and the mask of signals, are what they were. */
static void pass_around(int sides[2], int turns) {
    sigset_t before, after;
    TRY(pthread_sigmask(SIG_SETMASK, NULL, &before));
    for (int turn = 0; turn < turns; turn++) {
        int path = path_fd(), count = 1, flags = MSG_CMSG_CLOEXEC, came;
        char byte = (char)turn, got;
        double sum = turn * 0.5;
        while (send_fds(sides[0], &byte, 1, &path, 1, 0) == -1)
            CHECK(errno == EINTR);
        count = 1, flags = MSG_CMSG_CLOEXEC;
        while (recv_fds(sides[1], &got, 1, &came, &count, &flags) == -1) {
            CHECK(errno == EINTR);
            count = 1, flags = MSG_CMSG_CLOEXEC;
        }
        CHECK(got == byte && count == 1 && fcntl(came, F_GETFL) & O_PATH);
        CHECK(sum == turn * 0.5);
        TRY(close(came));
        TRY(close(path));
    }
    TRY(pthread_sigmask(SIG_SETMASK, NULL, &after));
    for (int number = 1; number < NSIG; number++)
        CHECK(sigismember(&before, number) == sigismember(&after, number));
}

CASE(under_signals) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    storm(SA_RESTART);
    pass_around(sides, 200);
    CHECK(alarms > 0);
    signal(SIGALRM, SIG_IGN);
    RET((int)TRY(dup(0)) - sides[1], 1);
}

static void *passing(void *start) {
    int sides[2];
    (void)start;
    make_pair(SOCK_STREAM, sides);
    pass_around(sides, 60);
    close_all(sides, 2);
    return NULL;
}

CASE(in_several_threads) {
    pthread_t threads[4];
    storm(SA_RESTART);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, passing, NULL) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    signal(SIGALRM, SIG_IGN);
    RET((int)TRY(dup(0)), 3);
}

/* A handler that was due while the message was taken runs afterwards, and sees the result in place. */
CASE(stopped_and_continued) {
    int sides[2];
    make_pair(SOCK_STREAM, sides);
    pid_t other = child();
    if (other == 0) {
        pass_around(sides, 150);
        _exit(0);
    }
    for (int i = 0; i < 60; i++) {
        kill(other, SIGSTOP);
        usleep(300);
        kill(other, SIGCONT);
        usleep(300);
    }
    join(other);
    say("went on");
}

/* At any moment. What it had sent to us is there or not, and nobody else notices. */
CASE(killed) {
    int kept[2];
    make_pair(SOCK_STREAM, kept);
    for (int turn = 0; turn < 40; turn++) {
        int sides[2];
        make_pair(SOCK_STREAM, sides);
        pid_t other = child();
        if (other == 0) {
            signal(SIGCHLD, SIG_DFL);
            pass_around(sides, 1 << 30);
        }
        usleep((useconds_t)(turn * 97));
        kill(other, SIGKILL);
        CHECK(WTERMSIG(status_of(other)) == SIGKILL);
        close_all(sides, 2);
        pass_around(kept, 1);
    }
    say("still there");
}

static void *wait_for_death(void *start) {
    pass_around((int *)start, 1 << 30);
    return NULL;
}

/* execve of another thread ends the one that receives. */
CASE(another_thread_executes) {
    for (int turn = 0; turn < 10; turn++) {
        pid_t other = child();
        if (other == 0) {
            int sides[2];
            pthread_t thread;
            make_pair(SOCK_STREAM, sides);
            CHECK(pthread_create(&thread, NULL, wait_for_death, sides) == 0);
            usleep((useconds_t)(turn * 500));
            execl("/bin/true", "true", NULL);
            _exit(1);
        }
        join(other);
    }
    say("executed");
}

/* ---- SIOCUNIXFILE --------------------------------------------------------------------------------------------- */

CASE(inode_of_a_socket) {
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "s%d", i);
        int fd = new_socket(three_types[i]);
        ERR(ioctl(fd, SIOCUNIXFILE), ENOENT);
        TRY(close(fd));
        fd = bound_at(three_types[i], "@abstract");
        ERR(ioctl(fd, SIOCUNIXFILE), ENOENT);
        TRY(close(fd));
        fd = bound_at(three_types[i], name);
        int inode = (int)TRY(ioctl(fd, SIOCUNIXFILE)), direct = (int)TRY(open(path_of(name), O_PATH | O_CLOEXEC));
        RET(inode - fd, 1);
        RET(direct - fd, 2);
        RET(same_file(inode, direct), 1);
        RET(fcntl(inode, F_GETFD), FD_CLOEXEC);
        RET(!!(fcntl(inode, F_GETFL) & O_PATH), 1);
        TRY(rename(path_of(name), path_of("moved")));
        int again = (int)TRY(ioctl(fd, SIOCUNIXFILE));
        RET(same_file(inode, again), 1);
        TRY(unlink(path_of("moved")));
        again = (int)TRY(ioctl(fd, SIOCUNIXFILE));
        RET(same_file(inode, again), 1);
        close_all((int[]){fd, inode, direct}, 3);
    }
}

CASE(inode_without_privilege) {
    int fd = bound_at(SOCK_STREAM, "s");
    TRY(setresuid(1000, 1000, 1000));
    ERR(ioctl(fd, SIOCUNIXFILE), EPERM);
}

CASE(inode_under_signals) {
    int fd = bound_at(SOCK_STREAM, "s"), first = (int)TRY(open(path_of("s"), O_PATH | O_CLOEXEC));
    storm(SA_RESTART);
    for (int turn = 0; turn < 300; turn++) {
        int inode = (int)TRY(ioctl(fd, SIOCUNIXFILE));
        CHECK(inode == first + 1 && fcntl(inode, F_GETFL) & O_PATH);
        TRY(close(inode));
    }
    signal(SIGALRM, SIG_IGN);
    say("the same each time");
}

