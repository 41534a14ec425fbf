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
#include <limits.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { OTHERS = 1, ENDED = 2, NO_SOCKETS = 2, TELLING = -2, NOWHERE = -3 };
enum { RANGES = 1024, PASSED = 64, LONG = 100000, LONGEST_PAUSE = 1 << 14 };

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

/* The oldest call that nobody has received: 1; 0: it is gone again; -1: an exception. */
static int take(int listener, struct seccomp_notif *call)
{
    memset(call, 0, sizeof *call);
    if (!ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, call))
        return 1;
    if (errno == ENOENT || errno == EINTR)
        return 0;
    failed();
    return -1;
}

static PyObject *as_tuple(const struct seccomp_notif *call, PyObject *found)
{
    const unsigned long long *args = (const unsigned long long *)call->data.args;
    return Py_BuildValue("(KIi(KKKKKK)O)", (unsigned long long)call->id, call->pid, call->data.nr, args[0], args[1],
                         args[2], args[3], args[4], args[5], found);
}

static PyObject *receive(PyObject *self, PyObject *listener)
{
    struct seccomp_notif call;
    long fd;
    if (number(listener, &fd))
        return NULL;
    int received = take((int)fd, &call);
    return received > 0 ? as_tuple(&call, Py_None) : received ? NULL : Py_NewRef(Py_None);
}

/* 1: the call ends so; 0: nobody is in it; -1: an exception. */
static int respond(int listener, uint64_t id, int64_t value, int error, uint32_t flags)
{
    struct seccomp_notif_resp response = {.id = id, .val = value, .error = error, .flags = flags};
    while (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response)) {
        if (errno == ENOENT)
            return 0;
        if (errno != EINTR) {
            failed();
            return -1;
        }
    }
    return 1;
}

/* The number of the socket that a link in /proc/TID/fd leads to; -1, TELLING: to something else; NOWHERE, errno. */
static long long socket_at(int handle)
{
    static const char prefix[] = "socket:[", list[] = "/net/unix";
    enum { PREFIX = sizeof prefix - 1, LIST = sizeof list - 1 };
    char link[PATH_MAX];
    ssize_t length = readlinkat(handle, "", link, sizeof link - 1);
    if (length < 0)
        return NOWHERE;
    link[length] = '\0';
    if (strncmp(link, prefix, PREFIX) == 0)
        return strtoll(link + PREFIX, NULL, 10);
    if (length >= LIST && memcmp(link + length - LIST, list, LIST) == 0)
        return TELLING;
    return strstr(link, "/fdinfo/") ? TELLING : -1;
}

static PyObject *inode(PyObject *self, PyObject *handle)
{
    long fd;
    if (number(handle, &fd))
        return NULL;
    long long value = socket_at((int)fd);
    return value == NOWHERE ? failed() : PyLong_FromLongLong(value);
}

/* An item of a dictionary by a number: borrowed; NULL without an exception where there is none. */
static PyObject *item(PyObject *dictionary, unsigned long long key)
{
    PyObject *object = PyLong_FromUnsignedLongLong(key);
    PyObject *value = object == NULL ? NULL : PyDict_GetItemWithError(dictionary, object);
    Py_XDECREF(object);
    return value;
}

/* What `sockets` has for the first argument of a call, borrowed. None: it can't be told here. NULL without an
 * exception: the call is to go on natively. */
static PyObject *whose(const struct seccomp_notif *call, PyObject *links, PyObject *sockets, int passing)
{
    PyObject *handles = item(links, call->pid);
    PyObject *handle = handles == NULL ? NULL : item(handles, call->data.args[0] & 0xFFFFFFFF);
    if (handle == NULL)
        return PyErr_Occurred() ? NULL : Py_None;
    long fd = PyLong_AsLong(handle);
    long long value = fd < 0 ? NOWHERE : socket_at((int)fd);
    if (value < 0)
        return value == -1 ? NULL : Py_None;
    PyObject *found = item(sockets, (unsigned long long)value);
    return found == NULL && !PyErr_Occurred() && passing == NO_SOCKETS ? Py_None : found;
}

/* Whoever runs on this processor next may be about to make a call that goes well with the one received (0010). Where
 * yielding to them took long, or brought nothing, it is not done for a while. */
static unsigned pause_left, pause_length;

static int let_others_run(void)
{
    struct timespec before, after;
    if (pause_left) {
        pause_left--;
        return 0;
    }
    clock_gettime(CLOCK_MONOTONIC, &before);
    sched_yield();
    clock_gettime(CLOCK_MONOTONIC, &after);
    if ((after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec < LONG)
        return 1;
    pause_length = pause_length < LONGEST_PAUSE / 2 ? 2 * pause_length + 64 : LONGEST_PAUSE;
    pause_left = pause_length;
    return 0;
}

static void note_following(int followed)
{
    pause_length = followed ? 0 : pause_length < 64 ? pause_length + 1 : pause_length / 2;
    pause_left = pause_length;
}

static PyObject *turn(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    long values[4];
    if (given != 7 || !PyDict_Check(args[4]) || !PyDict_Check(args[5]) || !PyBytes_Check(args[6])) {
        PyErr_SetString(PyExc_TypeError, "turn takes four numbers, two dictionaries and bytes");
        return NULL;
    }
    if (numbers(args, given, values, 4))
        return NULL;
    int listener = (int)values[0], timeout = (int)values[2], ready, what = 0, may_follow = 0;
    const char *about = PyBytes_AS_STRING(args[6]);
    Py_ssize_t known = PyBytes_GET_SIZE(args[6]);
    struct pollfd polled[2] = {{listener, POLLIN, 0}, {(int)values[1], POLLIN, 0}};
    PyObject *calls = PyList_New(0);
    if (calls == NULL)
        return NULL;
    for (int passed = 0; passed < PASSED;) {
        if (timeout) {
            Py_BEGIN_ALLOW_THREADS
            ready = poll(polled, 2, timeout);
            Py_END_ALLOW_THREADS
        } else {
            ready = poll(polled, 2, 0);
        }
        if (ready < 0) {
            if (errno != EINTR)
                failed();
            else if (!PyErr_CheckSignals() && timeout < 0)
                continue;
            if (PyErr_Occurred())
                goto error;
            break;
        }
        if (polled[1].revents)
            what |= OTHERS;
        if (!(polled[0].revents & POLLIN)) {
            if (polled[0].revents & POLLHUP && PyList_GET_SIZE(calls) == 0)
                what |= ENDED;
            break;
        }
        struct seccomp_notif call;
        int received = take(listener, &call);
        if (received < 0)
            goto error;
        if (!received)
            break;
        PyObject *found = Py_None;
        if (call.data.nr >= 0 && call.data.nr < known && about[call.data.nr]) {
            found = whose(&call, args[4], args[5], about[call.data.nr]);
            if (found == NULL) {
                if (PyErr_Occurred() || respond(listener, call.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE) < 0)
                    goto error;
                passed++;
                if (what || timeout > 0)
                    break; /* how long to wait must be asked anew */
                continue;
            }
        }
        PyObject *tuple = as_tuple(&call, found);
        int failure = tuple == NULL || PyList_Append(calls, tuple);
        Py_XDECREF(tuple);
        if (failure)
            goto error;
        if (PyList_GET_SIZE(calls) >= values[3])
            break;
        timeout = 0;
        if (PyList_GET_SIZE(calls) == 1)
            may_follow = let_others_run();
    }
    if (may_follow)
        note_following(PyList_GET_SIZE(calls) > 1);
    return Py_BuildValue("(iN)", what, calls);
error:
    Py_DECREF(calls);
    return NULL;
}

static PyObject *answer(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
    long listener, error, flags;
    if (given != 5) {
        PyErr_SetString(PyExc_TypeError, "answer takes five arguments");
        return NULL;
    }
    unsigned long long id = PyLong_AsUnsignedLongLong(args[1]);
    long long value = PyLong_AsLongLong(args[2]);
    if (number(args[0], &listener) || number(args[3], &error) || number(args[4], &flags) || PyErr_Occurred())
        return NULL;
    int answered = respond((int)listener, id, value, (int)-error, (uint32_t)flags);
    return answered < 0 ? NULL : PyBool_FromLong(answered);
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
    if (count > RANGES) {
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
    struct iovec remote[RANGES];
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
    struct iovec remote[RANGES];
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

static PyMethodDef methods[] = {
    {"turn", (PyCFunction)(void (*)(void))turn, METH_FASTCALL, NULL},
    {"receive", receive, METH_O, NULL},
    {"answer", (PyCFunction)(void (*)(void))answer, METH_FASTCALL, NULL},
    {"inode", inode, METH_O, NULL},
    {"vm_read", (PyCFunction)(void (*)(void))vm_read, METH_FASTCALL, NULL},
    {"vm_write", (PyCFunction)(void (*)(void))vm_write, METH_FASTCALL, NULL},
    {"vm_readv", (PyCFunction)(void (*)(void))vm_readv, METH_FASTCALL, NULL},
    {"vm_writev", (PyCFunction)(void (*)(void))vm_writev, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_trapcalls", "The functions of trapcalls, compiled.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__trapcalls(void)
{
    PyObject *made = PyModule_Create(&module);
    if (made != NULL && PyModule_AddIntConstant(made, "TELLING", TELLING)) {
        Py_DECREF(made);
        return NULL;
    }
    return made;
}
