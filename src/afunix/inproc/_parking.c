/* Threads that take turns with the interpreter. See parking.py, and parking_python.py for the same functions in
 * Python; what they do is said there.
 *
 * A processor that sleeps takes longer to wake than most turns take. So who waits looks out for its token for a while
 * before it sleeps, yielding the processor meanwhile. And who was given one waits for `inside` to become false before
 * it asks for the interpreter's lock: to find that taken means to sleep after all. `inside` follows the lock as far as
 * can be seen from here. It is a hint: nobody waits for it longer than it takes to sleep and be woken. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <pythread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

typedef long long nanoseconds;

enum {
    LOOKOUT = 20 * 1000,       /* ns for which a thread looks out for its token */
    PATIENCE = 50 * 1000,      /* ns for which one waits for the other to be out */
    STEP = 3 * 1000,           /* ns for which one waits for the other to come in */
    CREDIT = 16,               /* so many vain looks in a row, and only each 16th wait begins with one */
    SIGNALS = 50 * 1000 * 1000 /* ns after which it is first asked whether a signal came before the thread slept */
};
#define HOUR (3600 * 1000000000LL)

static atomic_bool inside;    /* a thread that came in here has the interpreter */
static atomic_uint entries;   /* how often one has come in */
static atomic_int credit = CREDIT;
static atomic_bool expected;  /* a thread that looks out was given its token */

static nanoseconds now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static PyThreadState *leave(void)
{
    PyThreadState *state = PyEval_SaveThread();
    atomic_store(&inside, 0);
    return state;
}

static void enter(PyThreadState *state)
{
    nanoseconds begin = 0;
    while (atomic_exchange(&inside, 1)) {
        nanoseconds time = now();
        if (!begin)
            begin = time;
        else if (time - begin > PATIENCE)
            break;
        sched_yield();
    }
    atomic_fetch_add(&entries, 1);
    PyEval_RestoreThread(state);
    atomic_store(&inside, 1);
}

static PyObject *make_way(PyObject *self, PyObject *unused)
{
    unsigned before = atomic_load(&entries);
    int soon = atomic_exchange(&expected, 0);
    PyThreadState *state = leave();
    nanoseconds begin = soon ? now() : 0;
    do
        sched_yield();
    while (soon && atomic_load(&entries) == before && now() - begin < STEP);
    enter(state);
    Py_RETURN_NONE;
}

/* -- Parker */

typedef enum { NONE, TOKEN, LOOKING, ASLEEP } State;

typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock; /* taken, but for the moment between a release and the end of a sleep */
    _Atomic State state;
    int busy;
} Parker;

static PyObject *parker_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    if (PyTuple_GET_SIZE(args) || (keywords && PyDict_GET_SIZE(keywords))) {
        PyErr_SetString(PyExc_TypeError, "Parker() takes no arguments");
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Parker *self = (Parker *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    atomic_init(&self->state, NONE);
    self->lock = PyThread_allocate_lock();
    if (self->lock == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    PyThread_acquire_lock(self->lock, NOWAIT_LOCK);
    return (PyObject *)self;
}

static void parker_dealloc(Parker *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->lock != NULL) {
        PyThread_release_lock(self->lock);
        PyThread_free_lock(self->lock);
    }
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static int taken(Parker *self)
{
    State state = TOKEN;
    return atomic_compare_exchange_strong(&self->state, &state, NONE);
}

/* Wait for the token without sleeping. */
static void look_out(Parker *self)
{
    State state = NONE;
    if (!atomic_compare_exchange_strong(&self->state, &state, LOOKING))
        return;
    int left = atomic_load(&credit);
    if (left <= 0 && left > -CREDIT) {
        atomic_store(&credit, left - 1);
        sched_yield();
        return;
    }
    nanoseconds begin = now();
    do {
        sched_yield();
        if (atomic_load(&self->state) == TOKEN) {
            atomic_store(&credit, left < 0 ? 2 : left < CREDIT ? left + 2 : left);
            return;
        }
    } while (now() - begin < LOOKOUT);
    atomic_store(&credit, left < 0 ? 0 : left - 1);
}

/* Sleep until there is a token, the time is over, or a signal came. */
static PyLockStatus sleep_for(Parker *self, nanoseconds time)
{
    State state = LOOKING;
    if (!atomic_compare_exchange_strong(&self->state, &state, ASLEEP)) {
        state = NONE;
        if (!atomic_compare_exchange_strong(&self->state, &state, ASLEEP))
            return PY_LOCK_ACQUIRED; /* it has come */
    }
    PyLockStatus status = PyThread_acquire_lock_timed(self->lock, (PY_TIMEOUT_T)((time + 999) / 1000), 1);
    if (status == PY_LOCK_ACQUIRED)
        return status;
    state = ASLEEP;
    if (atomic_compare_exchange_strong(&self->state, &state, NONE))
        return status;
    PyThread_acquire_lock(self->lock, WAIT_LOCK); /* it has come in this moment */
    return PY_LOCK_ACQUIRED;
}

static PyObject *park_until(Parker *self, nanoseconds until)
{
    PyThreadState *thread = leave();
    look_out(self);
    nanoseconds most = SIGNALS;
    for (;;) {
        nanoseconds left = until < 0 ? most : until - now();
        if (left > most)
            left = most;
        PyLockStatus status = sleep_for(self, left > 0 ? left : 0);
        if (status == PY_LOCK_ACQUIRED) {
            enter(thread);
            atomic_store(&self->state, NONE);
            Py_RETURN_TRUE;
        }
        int over = until >= 0 && now() >= until;
        enter(thread);
        if (PyErr_CheckSignals())
            return NULL;
        if (taken(self))
            Py_RETURN_TRUE;
        if (over)
            Py_RETURN_FALSE;
        /* A signal that comes before it sleeps again is found at the end of the sleep: so late at most as it has
         * already waited. */
        most = status == PY_LOCK_INTR ? SIGNALS : most < HOUR ? 2 * most : HOUR;
        thread = leave();
    }
}

static PyObject *park(Parker *self, PyObject *const *args, Py_ssize_t given)
{
    nanoseconds until = -1;
    if (given > 1) {
        PyErr_SetString(PyExc_TypeError, "park() takes at most one argument");
        return NULL;
    }
    if (taken(self))
        Py_RETURN_TRUE;
    if (given && args[0] != Py_None) {
        double timeout = PyFloat_AsDouble(args[0]);
        if (timeout == -1 && PyErr_Occurred())
            return NULL;
        if (!(timeout > 0))
            Py_RETURN_FALSE;
        if (timeout < 1e9) /* years are as good as for ever */
            until = now() + (nanoseconds)ceil(timeout * 1e9);
    }
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "another thread is parked here");
        return NULL;
    }
    self->busy = 1;
    PyObject *result = park_until(self, until);
    self->busy = 0;
    return result;
}

static PyObject *unpark(Parker *self, PyObject *unused)
{
    State before = atomic_exchange(&self->state, TOKEN);
    atomic_store(&inside, 1); /* this thread is, however it came in */
    if (before == ASLEEP)
        PyThread_release_lock(self->lock);
    else if (before == LOOKING)
        atomic_store(&expected, 1);
    return PyBool_FromLong(before != TOKEN);
}

static PyMethodDef parker_methods[] = {
    {"park", (PyCFunction)(void (*)(void))park, METH_FASTCALL, NULL},
    {"unpark", (PyCFunction)unpark, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot parker_slots[] = {
    {Py_tp_doc, "A place where one thread sleeps until another gives it a token."},
    {Py_tp_new, parker_new},
    {Py_tp_dealloc, parker_dealloc},
    {Py_tp_methods, parker_methods},
    {0, NULL},
};

static PyType_Spec parker = {"afunix.inproc._parking.Parker", sizeof(Parker), 0, Py_TPFLAGS_DEFAULT, parker_slots};

static PyMethodDef functions[] = {
    {"make_way", make_way, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_parking", "The functions of parking, compiled.", -1, functions, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__parking(void)
{
    PyObject *made = PyModule_Create(&module);
    PyObject *type = made ? PyType_FromSpec(&parker) : NULL;
    if (type == NULL || PyModule_AddObject(made, "Parker", type)) {
        Py_XDECREF(type);
        Py_XDECREF(made);
        return NULL;
    }
    return made;
}
