/* The host calls that placeholders cost, without an object and a detour for each. See endcalls.py, which has the same
 * functions in Python for where this was not compiled; what they do is said there.
 *
 * The interpreter's lock stays held: the supervisor has one thread, and nothing here waits. */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif

enum { FILL = 2000, MOST = 253, PATIENCE = 10 /* ms */, TRIES = 100 };

static PyObject *failed(void)
{
    return PyErr_SetFromErrno(PyExc_OSError);
}

/* So many int arguments, and no others: -1 with an exception set if they are not. */
static int numbers(PyObject *const *args, Py_ssize_t given, Py_ssize_t wanted, long *values, Py_ssize_t count)
{
    if (given != wanted) {
        PyErr_SetString(PyExc_TypeError, "wrong number of arguments");
        return -1;
    }
    for (Py_ssize_t at = 0; at < count; at++) {
        values[at] = PyLong_AsLong(args[at]);
        if (values[at] == -1 && PyErr_Occurred())
            return -1;
    }
    return 0;
}

/* The inode number of a socket; 0 of anything else. */
static unsigned long long socket_inode(int fd)
{
    struct stat status;
    return !fstat(fd, &status) && S_ISSOCK(status.st_mode) ? status.st_ino : 0;
}

/* Close what was made, for the error in errno. */
static PyObject *undone(int one, int other)
{
    int error = errno;
    close(one);
    if (other >= 0)
        close(other);
    errno = error;
    return failed();
}

static int watch(long epoll, long events, int fd)
{
    struct epoll_event event = {.events = (uint32_t)events, .data.u64 = (uint32_t)fd};
    return epoll_ctl((int)epoll, EPOLL_CTL_ADD, fd, &event);
}

static void shrink(int fd)
{
    static const int least = 0;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least);
}

static PyObject *loose(PyObject *self, PyObject *nothing)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? failed() : Py_BuildValue("iK", fd, socket_inode(fd));
}

static PyObject *pair(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    long values[2];
    int ends[2];
    if (numbers(args, given, 2, values, 2))
        return NULL;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return failed();
    shrink(ends[1]);
    if (watch(values[0], values[1], ends[0]))
        return undone(ends[0], ends[1]);
    return Py_BuildValue("iiK", ends[1], ends[0], socket_inode(ends[1]));
}

/* A copy of a thread's descriptor if it is the socket with this inode number; else -1. */
static int copy_of(long pidfd, long number, unsigned long long inode)
{
    int fd = (int)syscall(SYS_pidfd_getfd, (int)pidfd, (int)number, 0);
    if (fd < 0 || socket_inode(fd) == inode)
        return fd;
    close(fd);
    return -1;
}

/* Connect P. The listener's name is open to everyone on the host, who may have filled its queue: those are sent away. */
static int connect_there(int mine, int listener, const struct sockaddr_un *address, socklen_t length)
{
    const struct timeval patience = {.tv_usec = 1000 * PATIENCE}, none = {0};
    setsockopt(mine, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    for (int tries = 0; tries < TRIES; tries++) {
        struct pollfd waiting = {.fd = listener, .events = POLLIN};
        if (!connect(mine, (const struct sockaddr *)address, length)) {
            setsockopt(mine, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none);
            return 0;
        }
        if (errno != EAGAIN)
            return -1;
        while (poll(&waiting, 1, 0) == 1) {
            int stranger = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (stranger < 0)
                return -1;
            close(stranger);
        }
    }
    errno = EAGAIN;
    return -1;
}

static PyObject *join(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    long values[6];
    struct sockaddr_un address;
    if (numbers(args, given, 7, values, 6))
        return NULL;
    if (!PyBytes_Check(args[6]) || PyBytes_GET_SIZE(args[6]) > (Py_ssize_t)sizeof address) {
        PyErr_SetString(PyExc_TypeError, "no address");
        return NULL;
    }
    socklen_t length = (socklen_t)PyBytes_GET_SIZE(args[6]);
    memcpy(&address, PyBytes_AS_STRING(args[6]), length);
    int mine = copy_of(values[0], values[1], (unsigned long long)values[2]), end;
    if (mine < 0)
        return PyLong_FromLong(-1);
    shrink(mine);
    if (connect_there(mine, (int)values[3], &address, length))
        return undone(mine, -1);
    /* Now, so that there is a number to accept with: nobody may be left waiting, to be taken for the next. */
    close(mine);
    for (;;) {
        struct ucred peer = {0};
        socklen_t size = sizeof peer;
        end = accept4((int)values[3], NULL, NULL, SOCK_CLOEXEC);
        if (end < 0)
            return failed();
        if (!getsockopt(end, SOL_SOCKET, SO_PEERCRED, &peer, &size) && peer.pid == getpid())
            break;
        close(end);
    }
    return watch(values[4], values[5], end) ? undone(end, -1) : PyLong_FromLong(end);
}

/* Room for the most descriptors that one message carries. */
union control {
    struct cmsghdr align;
    char space[CMSG_SPACE(MOST * sizeof(int))];
};

static PyObject *push(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    long values[2];
    int fds[MOST];
    union control control;
    char byte = 'x';
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (numbers(args, given, 3, values, 2))
        return NULL;
    if (!PyList_Check(args[2]) || PyList_GET_SIZE(args[2]) > MOST) {
        PyErr_SetString(PyExc_TypeError, "descriptors are a list, at most as many as one message carries");
        return NULL;
    }
    size_t count = (size_t)PyList_GET_SIZE(args[2]);
    for (size_t at = 0; at < count; at++) {
        long fd = PyLong_AsLong(PyList_GET_ITEM(args[2], (Py_ssize_t)at));
        if (fd < 0 || fd > INT_MAX) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_OverflowError, "no descriptor"); /* another one would be closed */
            return NULL;
        }
        fds[at] = (int)fd;
    }
    if (count) {
        control.align = (struct cmsghdr){CMSG_LEN(count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.align), fds, count * sizeof(int));
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    }
    if (sendmsg((int)values[0], &message, MSG_DONTWAIT | MSG_NOSIGNAL | (values[1] ? MSG_OOB : 0)) < 0)
        Py_RETURN_FALSE;
    for (size_t at = 0; at < count; at++)
        close(fds[at]);
    Py_RETURN_TRUE;
}

/* What SCM_RIGHTS brought, as a list. */
static PyObject *descriptors(struct msghdr *message)
{
    PyObject *found = PyList_New(0);
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part && found; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t at = 0; at < count; at++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + at * sizeof fd, sizeof fd);
            PyObject *number = PyLong_FromLong(fd);
            if (number == NULL || PyList_Append(found, number))
                Py_CLEAR(found);
            Py_XDECREF(number);
            if (found == NULL)
                return NULL;
        }
    }
    return found;
}

static PyObject *fetch(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    long values[3];
    union control control;
    char byte;
    struct iovec data = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (numbers(args, given, 3, values, 3))
        return NULL;
    int mine = copy_of(values[0], values[1], (unsigned long long)values[2]);
    if (mine < 0)
        Py_RETURN_NONE;
    ssize_t got = recvmsg(mine, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    close(mine);
    if (got < 1)
        Py_RETURN_NONE;
    return descriptors(&message);
}

static PyObject *take(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    long values[2];
    if (numbers(args, given, 2, values, 2))
        return NULL;
    int fd = (int)syscall(SYS_pidfd_getfd, (int)values[0], (int)values[1], 0);
    if (fd < 0)
        return failed();
    int flags = fcntl(fd, F_GETFL), path_only = flags >= 0 && flags & O_PATH;
    /* An O_PATH one of a socket is of a name, whose inode number is that of another filesystem. */
    return Py_BuildValue("iKN", fd, path_only ? 0 : socket_inode(fd), PyBool_FromLong(path_only));
}

static PyObject *drain(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    char bytes[256];
    long values[4];
    if (numbers(args, given, 4, values, 4))
        return NULL;
    if (values[3] < 0) {
        PyErr_SetString(PyExc_ValueError, "a negative number of bytes");
        return NULL;
    }
    int fd = copy_of(values[0], values[1], (unsigned long long)values[2]);
    if (fd < 0)
        return PyLong_FromLong(-1);
    ssize_t got = recv(fd, bytes, values[3] < (long)sizeof bytes ? (size_t)values[3] : sizeof bytes, MSG_DONTWAIT);
    close(fd);
    return PyLong_FromSsize_t(got < 0 ? 0 : got);
}

static PyObject *fill(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    static const char bytes[FILL];
    long values[3];
    if (numbers(args, given, 3, values, 3))
        return NULL;
    int fd = copy_of(values[0], values[1], (unsigned long long)values[2]);
    if (fd < 0)
        return PyLong_FromLong(-1);
    ssize_t sent = send(fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    close(fd);
    return PyLong_FromLong(sent > 0);
}

/* -- path names */

static PyObject *find(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    long values[1];
    struct stat status;
    if (numbers(args, given, 2, values, 1))
        return NULL;
    const char *path = PyBytes_AsString(args[1]); /* at most 108 bytes of an address, without a NUL */
    if (path == NULL)
        return NULL;
    int absolute = path[0] == '/';
    if (!absolute && strstr(path, ".."))
        Py_RETURN_NONE; /* its root may be on the way, which '..' does not leave */
    int start = openat((int)values[0], absolute ? "root" : "cwd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (start < 0)
        Py_RETURN_NONE;
    struct open_how how = {
        .flags = O_PATH | O_CLOEXEC,
        .resolve = absolute ? RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT : RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH,
    };
    int fd = (int)syscall(SYS_openat2, start, path, &how, sizeof how);
    close(start);
    if (fd < 0)
        Py_RETURN_NONE;
    if (!fstat(fd, &status) && S_ISSOCK(status.st_mode) &&
        !syscall(SYS_faccessat2, fd, "", W_OK, AT_EMPTY_PATH | AT_EACCESS))
        return Py_BuildValue("iKKI", fd, (unsigned long long)status.st_dev, (unsigned long long)status.st_ino,
                             status.st_mode);
    close(fd);
    Py_RETURN_NONE;
}

#define FAST(name) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, NULL}

static PyMethodDef methods[] = {
    {"loose", loose, METH_NOARGS, NULL},
    FAST(pair),
    FAST(join),
    FAST(push),
    FAST(fetch),
    FAST(take),
    FAST(drain),
    FAST(fill),
    FAST(find),
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_endcalls", "The functions of endcalls, compiled.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__endcalls(void)
{
    return PyModule_Create(&module);
}
