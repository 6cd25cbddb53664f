/* Loaded before libc's own functions: fails the n-th disk call below a folder, or records every one.
 *
 * fault_arm(folder, n, error, persistent): the n-th call from now fails with `error`, and all after it where
 * `persistent` is set; n = 0 only counts. fault_count() tells how many there were.
 * trace_start(folder, file): append every successful call to `file`, for replay with what was not synced lost.
 * trace_mark(text): append a note.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long fail_at, calls;
static int fail_error, fail_always, trace_fd = -1;
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

void fault_arm(const char *path, long n, int error, int always) {
    pthread_mutex_lock(&lock);
    snprintf(folder, sizeof folder, "%s", path);
    fail_at = n; fail_error = error; fail_always = always; calls = 0;
    pthread_mutex_unlock(&lock);
}

long fault_count(void) { return calls; }

static ssize_t real_write(int fd, const void *data, size_t size) {
    REAL(write);
    return real(fd, data, size);
}

static void record(char kind, const char *path, uint64_t at, const void *data, uint64_t size) {
    uint32_t length = strlen(path);
    if (trace_fd < 0) return;
    real_write(trace_fd, &kind, 1);
    real_write(trace_fd, &length, 4);
    real_write(trace_fd, path, length);
    real_write(trace_fd, &at, 8);
    real_write(trace_fd, &size, 8);
    if (data) real_write(trace_fd, data, size);
}

void trace_start(const char *path, const char *file) {
    fault_arm(path, 0, 0, 0);
    trace_fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0644);
}

void trace_mark(const char *text) {
    pthread_mutex_lock(&lock);
    record('M', text, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
}

static int below(const char *path) { return folder[0] && strncmp(path, folder, strlen(folder)) == 0; }

/* SQLite's shared-memory file is rebuilt from the log after a crash. */
static int counts(const char *path) { size_t n = strlen(path); return below(path) && !(n > 4 && !strcmp(path + n - 4, "-shm")); }

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    path[n < 0 ? 0 : n] = 0;
    char *deleted = n > 10 ? strstr(path, " (deleted)") : NULL;
    if (deleted) path[0] = 0;
    return n > 0 && counts(path);
}

static int fails(void) {
    calls++;
    if (!fail_at || !(calls == fail_at || (fail_always && calls > fail_at))) return 0;
    errno = fail_error;
    return 1;
}

#define ENTER(condition) pthread_mutex_lock(&lock); int ours = (condition); \
    if (ours && fails()) { int kept = errno; pthread_mutex_unlock(&lock); errno = kept; return -1; }
#define LEAVE(result) int kept = errno; pthread_mutex_unlock(&lock); errno = kept; return result

ssize_t write(int fd, const void *data, size_t size) {
    char path[PATH_MAX];
    if (fd == trace_fd) return real_write(fd, data, size);
    ENTER(folder[0] && path_of(fd, path))
    ssize_t done = real_write(fd, data, size);
    if (ours && done > 0) record('W', path, (uint64_t)(lseek(fd, 0, SEEK_CUR) - done), data, done);
    LEAVE(done);
}

#define PWRITE(name, offset_type) \
ssize_t name(int fd, const void *data, size_t size, offset_type at) { \
    char path[PATH_MAX]; \
    REAL(name); \
    ENTER(folder[0] && path_of(fd, path)) \
    ssize_t done = real(fd, data, size, at); \
    if (ours && done > 0) record('W', path, at, data, done); \
    LEAVE(done); \
}
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define SYNC(name) \
int name(int fd) { \
    char path[PATH_MAX]; \
    REAL(name); \
    ENTER(folder[0] && path_of(fd, path)) \
    int done = real(fd); \
    if (ours && done == 0) record('S', path, 0, NULL, 0); \
    LEAVE(done); \
}
SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(name, offset_type) \
int name(int fd, offset_type size) { \
    char path[PATH_MAX]; \
    REAL(name); \
    ENTER(folder[0] && path_of(fd, path)) \
    int done = real(fd, size); \
    if (ours && done == 0) record('T', path, size, NULL, 0); \
    LEAVE(done); \
}
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

int rename(const char *from, const char *to) {
    REAL(rename);
    ENTER(folder[0] && counts(to))
    int done = real(from, to);
    if (ours && done == 0) record('R', from, 0, to, strlen(to));
    LEAVE(done);
}

int unlink(const char *path) {
    REAL(unlink);
    ENTER(folder[0] && counts(path))
    int done = real(path);
    if (ours && done == 0) record('U', path, 0, NULL, 0);
    LEAVE(done);
}

#define OPEN(name) \
int name(const char *path, int flags, ...) { \
    REAL(name); \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    ENTER(folder[0] && (flags & O_CREAT) && counts(path) && access(path, F_OK) != 0) \
    int done = real(path, flags, mode); \
    if (ours && done >= 0) record('C', path, 0, NULL, 0); \
    LEAVE(done); \
}
OPEN(open)
OPEN(open64)
