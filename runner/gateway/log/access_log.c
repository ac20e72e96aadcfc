/*
 * access_log.c: see access_log.h.
 *
 * A ring has one writer (its worker) and one reader (the log's thread), which share two positions: `head` only grows by the writer, `tail` only by the reader. A worker wakes the thread with the first line that it puts into
 * an empty house (`asleep`), not with every one: on a busy gateway that is one system call in BATCH_NS, and none a request.
 *
 * The file is the thread's. Who sets another one leaves it in `next` (or, where one that was not taken lies there, in its place), and the thread takes it when the rings are empty.
 */
#include "access_log.h"

#include "clock.h"
#include "fd.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define RING_BYTES (256U * 1024) /* about a thousand lines; a power of two */
#define BATCH_NS   (20 * NS_PER_MS)
#define NO_FILE    (-1)
#define NOT_SET    (-2)

struct ring {
    _Alignas(64) _Atomic uint64_t head;
    _Atomic uint64_t lost;
    _Alignas(64) _Atomic uint64_t tail;
    _Atomic(char *) data; /* made by its worker when it is needed first */
};

struct access_log {
    _Atomic bool on, asleep, ends;
    _Atomic int form;
    _Atomic int next; /* a file that the thread has not taken yet, NO_FILE, NOT_SET */
    bool running;
    pthread_t thread;
    int wake_fd, fd;
    unsigned workers;
    struct ring rings[];
};

struct access_log *access_log_new(unsigned workers)
{
    struct access_log *log = aligned_alloc(64, sizeof(*log) + workers * sizeof(struct ring));

    if (!log)
        return NULL;
    memset(log, 0, sizeof(*log) + workers * sizeof(struct ring));
    log->workers = workers;
    log->wake_fd = log->fd = -1;
    log->next = NOT_SET;
    return log;
}

static void wake(struct access_log *log)
{
    const uint64_t one = 1;

    if (atomic_exchange(&log->asleep, false) && write(log->wake_fd, &one, sizeof(one)) < 0)
        atomic_store(&log->asleep, true); /* EAGAIN only: it is being woken already */
}

/* What a full disk does not take is lost; the next line is tried again. */
static void write_out(struct access_log *log, struct ring *r, const char *data, size_t len)
{
    if (log->fd >= 0 && fd_write_all(log->fd, data, len) < 0)
        atomic_fetch_add_explicit(&r->lost, 1, memory_order_relaxed);
}

static bool drain(struct access_log *log, struct ring *r)
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed), head = atomic_load_explicit(&r->head, memory_order_acquire);
    const char *data = atomic_load_explicit(&r->data, memory_order_acquire);

    if (tail == head)
        return false;
    while (tail < head) {
        size_t at = tail % RING_BYTES, n = head - tail < RING_BYTES - at ? (size_t)(head - tail) : RING_BYTES - at;

        write_out(log, r, data + at, n);
        tail += n;
    }
    atomic_store_explicit(&r->tail, tail, memory_order_release);
    return true;
}

static bool drain_all(struct access_log *log)
{
    bool some = false;

    for (unsigned i = 0; i < log->workers; i++)
        some |= drain(log, &log->rings[i]);
    return some;
}

static void take_file(struct access_log *log)
{
    int fd = atomic_exchange(&log->next, NOT_SET);

    if (fd == NOT_SET)
        return;
    fd_close(log->fd);
    log->fd = fd;
}

static bool has_work(struct access_log *log)
{
    for (unsigned i = 0; i < log->workers; i++)
        if (atomic_load(&log->rings[i].head) != atomic_load(&log->rings[i].tail))
            return true;
    return atomic_load(&log->next) != NOT_SET || atomic_load(&log->ends);
}

static void *run(void *arg)
{
    const struct timespec batch = {.tv_nsec = BATCH_NS};
    struct access_log *log = arg;
    uint64_t count;

    for (;;) {
        bool ends = atomic_load(&log->ends);

        if (log->fd < 0)
            take_file(log);
        drain_all(log);
        take_file(log);
        if (ends)
            return NULL;
        atomic_store(&log->asleep, true);
        if (has_work(log)) { /* it came while we went to sleep, and its author may have seen us awake */
            atomic_store(&log->asleep, false);
        } else if (read(log->wake_fd, &count, sizeof(count)) < 0 && errno != EINTR) {
            return NULL;
        }
        nanosleep(&batch, NULL);
    }
}

static int start(struct access_log *log)
{
    sigset_t all, old;
    int r;

    log->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (log->wake_fd < 0)
        return -errno;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are for the workers' thread */
    r = pthread_create(&log->thread, NULL, run, log);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r != 0) {
        log->wake_fd = fd_close(log->wake_fd);
        return -r;
    }
    log->running = true;
    return 0;
}

int access_log_set(struct access_log *log, int fd, enum access_form form)
{
    int r, old;

    if (fd < 0 && !log->running)
        return 0;
    r = log->running ? 0 : start(log);
    if (r < 0) {
        fd_close(fd);
        return r;
    }
    atomic_store(&log->form, (int)form);
    old = atomic_exchange(&log->next, fd < 0 ? NO_FILE : fd);
    if (old >= 0)
        fd_close(old);
    atomic_store(&log->on, fd >= 0);
    wake(log);
    return 0;
}

bool access_log_is_on(const struct access_log *log)
{
    return log && atomic_load_explicit(&log->on, memory_order_relaxed);
}

enum access_form access_log_form(const struct access_log *log)
{
    return (enum access_form)atomic_load_explicit(&log->form, memory_order_relaxed);
}

static char *data_of(struct ring *r)
{
    char *data = atomic_load_explicit(&r->data, memory_order_relaxed);

    if (!data) {
        data = malloc(RING_BYTES);
        atomic_store_explicit(&r->data, data, memory_order_release);
    }
    return data;
}

void access_log_put(struct access_log *log, unsigned worker, const char *line, size_t len)
{
    struct ring *r = &log->rings[worker];
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed), tail = atomic_load_explicit(&r->tail, memory_order_acquire);
    char *data = data_of(r);
    size_t at = head % RING_BYTES, first = len < RING_BYTES - at ? len : RING_BYTES - at;

    if (!data || RING_BYTES - (head - tail) < len) {
        atomic_fetch_add_explicit(&r->lost, 1, memory_order_relaxed);
        return;
    }
    memcpy(data + at, line, first);
    memcpy(data, line + first, len - first);
    atomic_store(&r->head, head + len); /* before `asleep` is looked at, in the one order of all threads */
    if (atomic_load(&log->asleep))
        wake(log);
}

uint64_t access_log_lost(const struct access_log *log)
{
    uint64_t sum = 0;

    for (unsigned i = 0; log && i < log->workers; i++)
        sum += atomic_load_explicit(&log->rings[i].lost, memory_order_relaxed);
    return sum;
}

/* The thread may hang in a write to a disk that has gone: then it is left behind, with all that it uses. */
static bool join(struct access_log *log)
{
    struct timespec until;

    atomic_store(&log->ends, true);
    wake(log);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    return pthread_timedjoin_np(log->thread, NULL, &until) == 0;
}

void access_log_free(struct access_log *log)
{
    if (!log || (log->running && !join(log)))
        return;
    if (log->next >= 0)
        fd_close(log->next);
    fd_close(log->fd);
    fd_close(log->wake_fd);
    for (unsigned i = 0; i < log->workers; i++)
        free(log->rings[i].data);
    free(log);
}
