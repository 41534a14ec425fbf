/* The host calls that nearly every trapped call costs, without the detour through ctypes. See trapcalls.py, which has
 * the same functions in Python for where this was not compiled; what they do is said there. Nothing here knows what a
 * socket is for.
 *
 * The interpreter's lock stays held but for the wait in `turn`: the supervisor has one thread, and nothing else here
 * waits. */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

enum { IOV_MAX_ = 1024, FILL = 2000, OTHERS = 1, ENDED = 2 };

static PyObject *failed(void)
{
    return PyErr_SetFromErrno(PyExc_OSError);
}

/* An int argument; -1 with an exception set. */
static int number(PyObject *object, long *value)
{
    *value = PyLong_AsLong(object);
    return *value == -1 && PyErr_Occurred() ? -1 : 0;
}

static int numbers(PyObject *const *args, Py_ssize_t given, long *values, Py_ssize_t wanted)
{
    if (given < wanted) {
        PyErr_SetString(PyExc_TypeError, "too few arguments");
        return -1;
    }
    for (Py_ssize_t at = 0; at < wanted; at++)
        if (number(args[at], &values[at]))
            return -1;
    return 0;
}

/* -- the listener */

/* The oldest call that nobody has received as (id, thread, number, arguments); None if it is gone again. */
static PyObject *take(int listener)
{
    struct seccomp_notif call;
    memset(&call, 0, sizeof call);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call)) {
        if (errno == ENOENT || errno == EINTR)
            Py_RETURN_NONE;
        return failed();
    }
    const unsigned long long *args = (const unsigned long long *)call.data.args;
    return Py_BuildValue("(KIi(KKKKKK))", (unsigned long long)call.id, call.pid, call.data.nr, args[0], args[1],
                         args[2], args[3], args[4], args[5]);
}

static PyObject *receive(PyObject *self, PyObject *listener)
{
    long fd;
    return number(listener, &fd) ? NULL : take((int)fd);
}

static PyObject *turn(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    long values[4];
    if (numbers(args, given, values, 4))
        return NULL;
    long listener = values[0], others = values[1], timeout = values[2], most = values[3];
    struct pollfd polled[2] = {{(int)listener, POLLIN, 0}, {(int)others, POLLIN, 0}};
    PyObject *calls = PyList_New(0);
    if (calls == NULL)
        return NULL;
    int what = 0, ready;
    for (;;) {
        if (timeout) {
            Py_BEGIN_ALLOW_THREADS
            ready = poll(polled, 2, (int)timeout);
            Py_END_ALLOW_THREADS
        } else {
            ready = poll(polled, 2, 0);
        }
        if (ready < 0) {
            if (errno != EINTR)
                failed();
            else if (!PyErr_CheckSignals() && timeout < 0)
                continue;
            if (PyErr_Occurred()) {
                Py_DECREF(calls);
                return NULL;
            }
            break;
        }
        if (polled[1].revents)
            what |= OTHERS;
        if (polled[0].revents & POLLIN) {
            PyObject *call = take((int)listener);
            int received = call != NULL && call != Py_None;
            int failure = call == NULL || (received && PyList_Append(calls, call));
            Py_XDECREF(call);
            if (failure) {
                Py_DECREF(calls);
                return NULL;
            }
            if (received && PyList_GET_SIZE(calls) < most) {
                timeout = 0;
                continue;
            }
        } else if (polled[0].revents & POLLHUP && PyList_GET_SIZE(calls) == 0) {
            what |= ENDED;
        }
        break;
    }
    return Py_BuildValue("(iN)", what, calls);
}

static PyObject *answer(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    struct seccomp_notif_resp response = {0};
    long listener, error, flags;
    if (given != 5) {
        PyErr_SetString(PyExc_TypeError, "answer takes five arguments");
        return NULL;
    }
    response.id = PyLong_AsUnsignedLongLong(args[1]);
    response.val = PyLong_AsLongLong(args[2]);
    if (number(args[0], &listener) || number(args[3], &error) || number(args[4], &flags) || PyErr_Occurred())
        return NULL;
    response.error = (int)-error;
    response.flags = (uint32_t)flags;
    while (ioctl((int)listener, SECCOMP_IOCTL_NOTIF_SEND, &response)) {
        if (errno == ENOENT)
            Py_RETURN_FALSE;
        if (errno != EINTR)
            return failed();
    }
    Py_RETURN_TRUE;
}

/* -- who has which socket */

static PyObject *inode(PyObject *self, PyObject *handle)
{
    static const char prefix[] = "socket:[";
    char link[64];
    long fd;
    if (number(handle, &fd))
        return NULL;
    ssize_t length = readlinkat((int)fd, "", link, sizeof link);
    if (length < 0)
        return failed();
    if (length < (ssize_t)sizeof prefix || memcmp(link, prefix, sizeof prefix - 1))
        return PyLong_FromLong(-1);
    unsigned long long value = 0;
    for (const char *digit = link + sizeof prefix - 1; digit < link + length && *digit != ']'; digit++)
        value = value * 10 + (unsigned)(*digit - '0');
    return PyLong_FromUnsignedLongLong(value);
}

/* -- memory */

static PyObject *vm_read(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    long values[3];
    if (numbers(args, given, values, 3))
        return NULL;
    PyObject *data = PyBytes_FromStringAndSize(NULL, values[2]);
    if (data == NULL)
        return NULL;
    struct iovec local = {PyBytes_AS_STRING(data), (size_t)values[2]};
    struct iovec remote = {(void *)values[1], (size_t)values[2]};
    ssize_t copied = process_vm_readv((pid_t)values[0], &local, 1, &remote, 1, 0);
    if (copied == values[2])
        return data;
    Py_DECREF(data);
    return copied < 0 ? failed() : Py_NewRef(Py_None);
}

static PyObject *vm_write(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    long values[2];
    Py_buffer data;
    if (numbers(args, given, values, 2) || PyObject_GetBuffer(args[2], &data, PyBUF_SIMPLE))
        return NULL;
    struct iovec local = {data.buf, (size_t)data.len}, remote = {(void *)values[1], (size_t)data.len};
    ssize_t copied = process_vm_writev((pid_t)values[0], &local, 1, &remote, 1, 0);
    PyBuffer_Release(&data);
    return copied < 0 ? failed() : PyLong_FromSsize_t(copied);
}

/* Ranges [(address, length), ...] as iovecs; their number, or -1 with an exception. */
static Py_ssize_t ranges(PyObject *sequence, struct iovec *vectors)
{
    PyObject *fast = PySequence_Fast(sequence, "ranges are a sequence");
    if (fast == NULL)
        return -1;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(fast);
    if (count > IOV_MAX_) {
        PyErr_SetString(PyExc_ValueError, "more than IOV_MAX ranges");
        count = -1;
    }
    for (Py_ssize_t at = 0; at < count; at++) {
        PyObject *pair = PySequence_Fast_GET_ITEM(fast, at);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
            PyErr_SetString(PyExc_TypeError, "a range is (address, length)");
            count = -1;
            break;
        }
        vectors[at].iov_base = (void *)PyLong_AsUnsignedLong(PyTuple_GET_ITEM(pair, 0));
        vectors[at].iov_len = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(pair, 1));
    }
    Py_DECREF(fast);
    return PyErr_Occurred() ? -1 : count;
}

static PyObject *vm_readv(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    struct iovec remote[IOV_MAX_];
    long tid, size;
    if (given != 3) {
        PyErr_SetString(PyExc_TypeError, "vm_readv takes three arguments");
        return NULL;
    }
    if (number(args[0], &tid) || number(args[2], &size))
        return NULL;
    Py_ssize_t count = ranges(args[1], remote);
    PyObject *data = count < 0 ? NULL : PyBytes_FromStringAndSize(NULL, size);
    if (data == NULL)
        return NULL;
    struct iovec local = {PyBytes_AS_STRING(data), (size_t)size};
    ssize_t copied = process_vm_readv((pid_t)tid, &local, 1, remote, (unsigned long)count, 0);
    if (copied == size)
        return data;
    Py_DECREF(data);
    return copied < 0 ? failed() : Py_NewRef(Py_None);
}

static PyObject *vm_writev(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    struct iovec remote[IOV_MAX_];
    Py_buffer data;
    long tid;
    if (given != 3) {
        PyErr_SetString(PyExc_TypeError, "vm_writev takes three arguments");
        return NULL;
    }
    if (number(args[0], &tid))
        return NULL;
    Py_ssize_t count = ranges(args[1], remote);
    if (count < 0 || PyObject_GetBuffer(args[2], &data, PyBUF_SIMPLE))
        return NULL;
    struct iovec local = {data.buf, (size_t)data.len};
    ssize_t copied = process_vm_writev((pid_t)tid, &local, 1, remote, (unsigned long)count, 0);
    PyBuffer_Release(&data);
    return copied < 0 ? failed() : PyLong_FromSsize_t(copied);
}

/* -- a program's end of a placeholder */

/* A copy of a program's descriptor if it is the socket with this cookie; else -1, with errno, 0 if it is another. */
static int copy_of(PyObject *const *args, Py_ssize_t given, Py_ssize_t wanted)
{
    long values[2];
    uint64_t cookie, theirs = 0;
    socklen_t length = sizeof theirs;
    if (given != wanted) {
        PyErr_SetString(PyExc_TypeError, "wrong number of arguments");
        return -1;
    }
    cookie = PyLong_AsUnsignedLongLong(args[2]);
    if (numbers(args, given, values, 2) || PyErr_Occurred())
        return -1;
    int fd = (int)syscall(SYS_pidfd_getfd, (int)values[0], (int)values[1], 0);
    if (fd < 0)
        return -1;
    if (!getsockopt(fd, SOL_SOCKET, SO_COOKIE, &theirs, &length) && theirs == cookie)
        return fd;
    close(fd);
    errno = 0;
    return -1;
}

static PyObject *no_copy(void)
{
    return PyErr_Occurred() ? NULL : PyLong_FromLong(-1);
}

static PyObject *drain(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    char bytes[256];
    long most;
    int fd = copy_of(args, given, 4);
    if (fd < 0)
        return no_copy();
    if (number(args[3], &most)) {
        close(fd);
        return NULL;
    }
    if (most > (long)sizeof bytes)
        most = sizeof bytes;
    ssize_t got = recv(fd, bytes, (size_t)most, MSG_DONTWAIT);
    close(fd);
    return PyLong_FromSsize_t(got < 0 ? 0 : got);
}

static PyObject *fill(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    static const char bytes[FILL];
    int fd = copy_of(args, given, 3);
    if (fd < 0)
        return no_copy();
    ssize_t sent = send(fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    close(fd);
    return PyLong_FromLong(sent > 0);
}

static PyMethodDef methods[] = {
    {"turn", (PyCFunction)(void (*)(void))turn, METH_FASTCALL, NULL},
    {"receive", receive, METH_O, NULL},
    {"answer", (PyCFunction)(void (*)(void))answer, METH_FASTCALL, NULL},
    {"inode", inode, METH_O, NULL},
    {"vm_read", (PyCFunction)(void (*)(void))vm_read, METH_FASTCALL, NULL},
    {"vm_write", (PyCFunction)(void (*)(void))vm_write, METH_FASTCALL, NULL},
    {"vm_readv", (PyCFunction)(void (*)(void))vm_readv, METH_FASTCALL, NULL},
    {"vm_writev", (PyCFunction)(void (*)(void))vm_writev, METH_FASTCALL, NULL},
    {"drain", (PyCFunction)(void (*)(void))drain, METH_FASTCALL, NULL},
    {"fill", (PyCFunction)(void (*)(void))fill, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_trapcalls", "The functions of trapcalls, compiled.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__trapcalls(void)
{
    return PyModule_Create(&module);
}
