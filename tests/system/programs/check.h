/* What every test program stands on: cases by name, checks that print what they saw, children, and helpers.
 *
 *   PROGRAM DIRECTORY [CASE]    runs one case in this process, or, without a name, each in a child of its own.
 *
 * DIRECTORY is empty and the program's own. Standard output is the transcript: the same on every run, so that a
 * run on Linux and one under `afunix run` can be compared line by line. It never holds numbers that the system is
 * free to choose (descriptors, process ids, inodes, times). A check that fails says why on standard error and ends
 * its process with status 1.
 *
 * Nothing here sleeps to let another process get somewhere: children report through pipes, and wait_blocked()
 * looks until the other one is inside the system call in question.
 */
#pragma once

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WATCHDOG_SECONDS = 15 };

static const char *directory;
static int root_pid; /* of the process that runs the case, the same in its children */

/* ---- cases ------------------------------------------------------------------------------------------------- */

struct test_case {
    const char *name;
    void (*run)(void);
};
static struct test_case test_cases[64];
static size_t test_case_count;

static inline void add_case(const char *name, void (*run)(void)) {
    assert(test_case_count < sizeof test_cases / sizeof *test_cases);
    test_cases[test_case_count++] = (struct test_case){name, run};
}

#define CASE(name)                                                                                                   \
    static void case_##name(void);                                                                                   \
    __attribute__((constructor)) static void add_##name(void) { add_case(#name, case_##name); }                      \
    static void case_##name(void)

/* ---- saying and checking ----------------------------------------------------------------------------------- */

#define say(...) (printf(__VA_ARGS__), putchar('\n'))

#define fail(...)                                                                                                    \
    (fprintf(stderr, "%s:%d: ", __FILE__, __LINE__), fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), fflush(stdout), \
     _exit(1))

#define CHECK(condition) ((condition) ? (void)0 : (void)fail("not true: %s (errno %s)", #condition, error_name(errno)))

static inline const char *error_name(int error) {
    const char *name = error ? strerrorname_np(error) : "none";
    return name ? name : "unknown";
}

static inline long checked(const char *file, int line, const char *call, long value, int error, long want) {
    if (value != want) {
        fprintf(stderr, "%s:%d: %s = %ld %s, not %ld\n", file, line, call, value, value < 0 ? error_name(error) : "", want);
        fflush(stdout);
        _exit(1);
    }
    say("%s = %ld", call, value);
    return value;
}

static inline void refused(const char *file, int line, const char *call, long value, int error, int want) {
    if (value != -1 || error != want) {
        fprintf(stderr, "%s:%d: %s = %ld %s, not -1 %s\n", file, line, call, value, value < 0 ? error_name(error) : "",
                error_name(want));
        fflush(stdout);
        _exit(1);
    }
    say("%s = -1 %s", call, error_name(want));
}

static inline long needed(const char *file, int line, const char *call, long value, int error) {
    if (value == -1) {
        fprintf(stderr, "%s:%d: %s = -1 %s\n", file, line, call, error_name(error));
        fflush(stdout);
        _exit(1);
    }
    return value;
}

/* RET: the call returns this value. ERR: it fails with this errno. Both are printed.
   TRY: the call does not fail; it is not printed, and its value is given back. */
#define RET(call, want)                                                                                              \
    ({ errno = 0; long value_ = (long)(call); int error_ = errno; checked(__FILE__, __LINE__, #call, value_, error_, want); })
#define ERR(call, want)                                                                                              \
    ({ errno = 0; long value_ = (long)(call); int error_ = errno; refused(__FILE__, __LINE__, #call, value_, error_, want); })
#define TRY(call)                                                                                                    \
    ({ errno = 0; long value_ = (long)(call); int error_ = errno; needed(__FILE__, __LINE__, #call, value_, error_); })

/* ---- children ---------------------------------------------------------------------------------------------- */

static inline pid_t child(void) {
    pid_t parent = getpid();
    pid_t pid = (pid_t)TRY(fork());
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        alarm(WATCHDOG_SECONDS);
    }
    return pid;
}

static inline int status_of(pid_t pid) {
    int status;
    while (waitpid(pid, &status, 0) == -1)
        CHECK(errno == EINTR);
    return status;
}

#define join(pid)                                                                                                    \
    do {                                                                                                             \
        int status_ = status_of(pid);                                                                                \
        if (status_ != 0)                                                                                            \
            fail("child ended with wait status %#x", status_);                                                       \
    } while (0)

/* A gate lets one process wait for another: pass(gate) there, await(gate) here. A dead partner opens no gate. */
struct gate {
    int fds[2];
};

static inline struct gate gate(void) {
    struct gate made;
    TRY(pipe2(made.fds, O_CLOEXEC));
    return made;
}

static inline void pass(struct gate *gate) { CHECK(write(gate->fds[1], "!", 1) == 1); }

static inline void await(struct gate *gate) {
    char byte;
    ssize_t got;
    while ((got = read(gate->fds[0], &byte, 1)) == -1 && errno == EINTR)
        ;
    CHECK(got == 1);
}

/* The number of the system call in which the task is blocked, or -1 while it is running. */
static inline long call_of_task(pid_t pid, pid_t tid) {
    char name[64], text[64];
    snprintf(name, sizeof name, "/proc/%d/task/%d/syscall", pid, tid);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        return -1;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0 || text[0] < '0' || text[0] > '9')
        return -1;
    text[size] = 0;
    return strtol(text, NULL, 10);
}

/* A socket call that does nothing. Closing a descriptor, and dying, are no socket calls, so that a supervisor of such
   calls learns of them in its own time; but what follows from them has to be seen by the next socket call, and by
   everything after it. */
static inline void settle(void) { CHECK(listen(-1, 0) == -1 && errno == EBADF); }

/* Until the task is blocked in the call: the only way to know that a call waits without a guess at how long it takes.
   Where a supervisor answers calls in the order in which they come, ours between the two looks is answered after the
   other's, which therefore has been tried. (A task that makes the same call several times must tell us before the one
   that is meant.) */
static inline void wait_task_blocked(pid_t pid, pid_t tid, long call) {
    for (int try = 0; try < 50000; try++) {
        if (call_of_task(pid, tid) == call) {
            settle();
            if (call_of_task(pid, tid) == call)
                return;
        }
        usleep(100);
    }
    fail("task %d is in call %ld, not in %ld", tid, call_of_task(pid, tid), call);
}

static inline void wait_blocked(pid_t pid, long call) { wait_task_blocked(pid, pid, call); }

static inline double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* ---- names ------------------------------------------------------------------------------------------------- */

static inline socklen_t path_name(struct sockaddr_un *address, const char *name) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    int size = snprintf(address->sun_path, sizeof address->sun_path, "%s/%s", directory, name);
    CHECK(size < (int)sizeof address->sun_path);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)size + 1);
}

/* A name that starts with '@' is abstract, told from those of other runs by the process id, in a fixed width. */
static inline socklen_t name_of(struct sockaddr_un *address, const char *name) {
    if (name[0] != '@')
        return path_name(address, name);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    int size = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "afunix-%08d-%s", root_pid, name + 1);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size);
}

static inline const char *path_of(const char *name) {
    static char path[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", directory, name);
    return path[turn];
}

static inline int new_socket(int type) { return (int)TRY(socket(AF_UNIX, type | SOCK_CLOEXEC, 0)); }

static inline int bound_at(int type, const char *name) {
    struct sockaddr_un address;
    socklen_t size = name_of(&address, name);
    int fd = new_socket(type);
    TRY(bind(fd, (struct sockaddr *)&address, size));
    return fd;
}

static inline int listener_at(int type, const char *name, int backlog) {
    int fd = bound_at(type, name);
    TRY(listen(fd, backlog));
    return fd;
}

static inline int connect_fd(int fd, const char *name) {
    struct sockaddr_un address;
    socklen_t size = name_of(&address, name);
    return connect(fd, (struct sockaddr *)&address, size);
}

static inline int connected_to(int type, const char *name) {
    int fd = new_socket(type);
    TRY(connect_fd(fd, name));
    return fd;
}

/* How many datagrams a receiver queues, less one (net.unix.max_dgram_qlen); and a sender that this stops before its own
   send buffer does, also where the limit is 512, as systemd sets it. */
static inline int queue_limit(void) {
    char text[16];
    int fd = (int)TRY(open("/proc/sys/net/unix/max_dgram_qlen", O_RDONLY | O_CLOEXEC));
    text[TRY(read(fd, text, sizeof text - 1))] = 0;
    TRY(close(fd));
    return atoi(text);
}

static inline int sender_to(const char *name) {
    int fd = connected_to(SOCK_DGRAM, name), most = 1 << 30;
    TRY(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &most, sizeof most));
    return fd;
}

static inline void make_pair(int type, int sides[2]) { TRY(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, sides)); }

static inline void hang_up(int fd) {
    TRY(close(fd));
    settle();
}

static inline void close_all(int *fds, int count) {
    for (int i = 0; i < count; i++)
        TRY(close(fds[i]));
}

/* ---- messages ---------------------------------------------------------------------------------------------- */

enum { MOST_FDS = 256 };

static inline ssize_t send_fds(int fd, const char *data, size_t size, const int *fds, int count, int flags) {
    char control[CMSG_SPACE(sizeof(int) * MOST_FDS)];
    struct iovec part = {(void *)data, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count) {
        memset(control, 0, sizeof control);
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count),
                                   .cmsg_level = SOL_SOCKET,
                                   .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(header), fds, sizeof(int) * (size_t)count);
    }
    return sendmsg(fd, &message, flags);
}

/* Receives bytes and up to *count descriptors, sets *count to those that came; *flags goes in and comes back. */
static inline ssize_t recv_fds(int fd, char *data, size_t size, int *fds, int *count, int *flags) {
    char control[CMSG_SPACE(sizeof(int) * MOST_FDS)];
    struct iovec part = {data, size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = *count ? control : NULL,
                             .msg_controllen = *count ? CMSG_LEN(sizeof(int) * (size_t)*count) : 0};
    ssize_t got = recvmsg(fd, &message, *flags);
    *count = 0;
    if (got == -1)
        return got;
    *flags = message.msg_flags;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        CHECK(header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS);
        int came = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds + *count, CMSG_DATA(header), sizeof(int) * (size_t)came);
        *count += came;
    }
    return got;
}

static inline int recv_fd(int fd) {
    char data[16];
    int fds[MOST_FDS], count = 1, flags = MSG_CMSG_CLOEXEC;
    CHECK(recv_fds(fd, data, sizeof data, fds, &count, &flags) > 0);
    CHECK(count == 1);
    return fds[0];
}

static inline void send_text(int fd, const char *text) { CHECK(send(fd, text, strlen(text), 0) == (ssize_t)strlen(text)); }

/* Reads one message, or what a stream holds, and says it. */
static inline void say_received(const char *who, int fd) {
    char data[256];
    ssize_t got = TRY(recv(fd, data, sizeof data - 1, 0));
    data[got] = 0;
    say("%s received %zd: \"%s\"", who, got, data);
}

/* Exactly this much, over as many calls as it takes; false at end of file. */
static inline bool read_fully(int fd, void *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t got = read(fd, (char *)data + done, size - done);
        if (got == -1 && errno == EINTR)
            continue;
        if (got == -1)
            fail("read: %s", error_name(errno));
        if (got == 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

static inline void write_fully(int fd, const void *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t put = write(fd, (const char *)data + done, size - done);
        if (put == -1 && errno == EINTR)
            continue;
        if (put <= 0)
            fail("write: %s", error_name(errno));
        done += (size_t)put;
    }
}

static inline bool is_closed(int reading_end_of_pipe) {
    struct pollfd item = {reading_end_of_pipe, POLLIN, 0};
    CHECK(poll(&item, 1, 0) >= 0);
    return item.revents & POLLHUP;
}

/* A pipe whose writing end tells by its closing when the last holder of a descriptor is gone. */
static inline void expect_closed(int reading_end_of_pipe) {
    struct pollfd item = {reading_end_of_pipe, 0, 0};
    CHECK(poll(&item, 1, 5000) == 1 && item.revents == POLLHUP);
}

static inline void nonblocking(int fd, bool on) {
    int flags = (int)TRY(fcntl(fd, F_GETFL));
    TRY(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

/* ---- readiness --------------------------------------------------------------------------------------------- */

#define MASK_BITS                                                                                                    \
    (POLLIN | POLLPRI | POLLOUT | POLLERR | POLLHUP | POLLNVAL | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND | POLLRDHUP)

static inline const char *mask_text(int mask) {
    static const struct {
        int bit;
        const char *name;
    } bits[] = {{POLLIN, "IN"},         {POLLPRI, "PRI"},       {POLLOUT, "OUT"},       {POLLERR, "ERR"},
                {POLLHUP, "HUP"},       {POLLRDHUP, "RDHUP"},   {POLLNVAL, "NVAL"},     {POLLRDNORM, "RDNORM"},
                {POLLRDBAND, "RDBAND"}, {POLLWRNORM, "WRNORM"}, {POLLWRBAND, "WRBAND"}, {(int)EPOLLMSG, "MSG"}};
    static char text[128];
    text[0] = 0;
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
        if (mask & bits[i].bit)
            strcat(strcat(text, text[0] ? "|" : ""), bits[i].name);
    return text[0] ? text : "0";
}

static inline int poll_mask(int fd) {
    struct pollfd item = {fd, (short)MASK_BITS, 0};
    CHECK(poll(&item, 1, 0) >= 0);
    return item.revents;
}

static inline int epoll_mask(int fd) {
    int set = (int)TRY(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event event = {.events = MASK_BITS};
    TRY(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    int count = (int)TRY(epoll_wait(set, &event, 1, 0));
    close(set);
    return count ? (int)event.events : 0;
}

/* select()'s three sets as poll bits: 1 readable, 2 writable, 4 exceptional. */
static inline int select_sets(int fd) {
    fd_set reading, writing, urgent;
    FD_ZERO(&reading);
    FD_ZERO(&writing);
    FD_ZERO(&urgent);
    FD_SET(fd, &reading);
    FD_SET(fd, &writing);
    FD_SET(fd, &urgent);
    struct timeval none = {0, 0};
    CHECK(select(fd + 1, &reading, &writing, &urgent, &none) >= 0);
    return (FD_ISSET(fd, &reading) ? 1 : 0) | (FD_ISSET(fd, &writing) ? 2 : 0) | (FD_ISSET(fd, &urgent) ? 4 : 0);
}

static inline void check_mask(const char *file, int line, const char *state, int fd, int want) {
    enum { CORE = POLLIN | POLLPRI | POLLOUT | POLLERR | POLLHUP | POLLRDHUP | POLLNVAL };
    int mask = poll_mask(fd);
    if ((mask & CORE) != want) {
        fprintf(stderr, "%s:%d: %s: poll says %s, ", file, line, state, mask_text(mask));
        fprintf(stderr, "not %s\n", mask_text(want));
        fflush(stdout);
        _exit(1);
    }
    int other = epoll_mask(fd);
    if (other != mask) {
        fprintf(stderr, "%s:%d: %s: epoll says %s, ", file, line, state, mask_text(other));
        fprintf(stderr, "but poll %s\n", mask_text(mask));
        fflush(stdout);
        _exit(1);
    }
    int sets = select_sets(fd), derived = (mask & (POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR) ? 1 : 0) |
                                          (mask & (POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR) ? 2 : 0) |
                                          (mask & POLLPRI ? 4 : 0);
    if (sets != derived) {
        fprintf(stderr, "%s:%d: %s: select says %d, but poll %s\n", file, line, state, sets, mask_text(mask));
        fflush(stdout);
        _exit(1);
    }
    say("%s: %s", state, mask_text(mask));
}

/* poll, select and a level-triggered epoll agree on this mask. */
#define MASK(state, fd, want) check_mask(__FILE__, __LINE__, state, fd, want)

/* ---- running ----------------------------------------------------------------------------------------------- */

static inline int run_case(const struct test_case *test) {
    alarm(WATCHDOG_SECONDS);
    root_pid = getpid();
    test->run();
    say("ok %s", test->name);
    return 0;
}

/* What the program does when it is executed again with --reexecuted, for programs that do that. */
__attribute__((weak)) int reexecuted(int argc, char **argv);

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1 && strcmp(argv[1], "--reexecuted") == 0 && reexecuted)
        return reexecuted(argc - 2, argv + 2);
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s DIRECTORY [CASE]\n", argv[0]);
        return 2;
    }
    directory = argv[1];
    int failed = 0;
    const char *left_out = getenv("LEAVE_OUT"); /* names between commas, for a run of all cases */
    for (size_t i = 0; i < test_case_count; i++) {
        char between[128];
        snprintf(between, sizeof between, ",%s,", test_cases[i].name);
        if (argc == 2 && left_out && strstr(left_out, between))
            continue;
        if (argc == 3 && strcmp(argv[2], test_cases[i].name) == 0)
            return run_case(&test_cases[i]);
        if (argc == 2) {
            pid_t pid = child();
            if (pid == 0) {
                setvbuf(stdout, NULL, _IOLBF, 0);
                char own[128];
                snprintf(own, sizeof own, "%s/%zu", argv[1], i);
                TRY(mkdir(own, 0755));
                directory = own;
                _exit(run_case(&test_cases[i]));
            }
            int status = status_of(pid);
            if (status != 0) {
                fprintf(stderr, "case %s ended with wait status %#x\n", test_cases[i].name, status);
                failed++;
            }
        }
    }
    if (argc == 3) {
        fprintf(stderr, "%s has no case %s\n", argv[0], argv[2]);
        return 2;
    }
    return failed ? 1 : 0;
}
