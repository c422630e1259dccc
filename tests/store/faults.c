/* Makes the k-th change of a file below a folder fail, or kills the process there.
 *
 *     cc -shared -fPIC -O1 -o faults.so faults.c -ldl;  LD_PRELOAD=./faults.so python faults.py
 *
 * Stands between a program and the C library, so SQLite's own writes and syncs are met as well as Python's.
 * It is armed by a call, so that a process can be prepared once and forked for each trial.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum mode { COUNT = 0, KILL = 1, TEAR = 2, FAIL = 3, FAIL_ON = 4, LIE = 5 };  /* LIE: syncs do nothing */

static char prefix[PATH_MAX];
static size_t prefix_length;
static long chosen, counted;
static enum mode mode;

void faults_arm(const char *folder, int how, long which) {
    counted = 0;
    mode = (enum mode)how;
    chosen = which;
    strncpy(prefix, folder, sizeof prefix - 1);
    prefix_length = strlen(prefix);
}

long faults_counted(void) { return counted; }

static int concerns_path(const char *path) {
    return prefix_length && strncmp(path, prefix, prefix_length) == 0 && !strstr(path, "-shm");
}

static int concerns(int descriptor) {
    char link[64], path[PATH_MAX];
    if (!prefix_length) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return concerns_path(path);
}

/* Whether this call must fail. Does not return where it must kill. */
static int met(void) {
    counted++;
    if (mode == COUNT || mode == LIE || counted < chosen) return 0;
    if (mode == KILL || mode == TEAR) _exit(9);
    return mode == FAIL_ON || counted == chosen;
}

static int tears(void) { return mode == TEAR && counted + 1 == chosen; }

#define REAL(name, type) static type real; if (!real) real = (type)dlsym(RTLD_NEXT, name)

typedef ssize_t (*write_t)(int, const void *, size_t);
typedef ssize_t (*pwrite_t)(int, const void *, size_t, off64_t);
typedef int (*descriptor_t)(int);
typedef int (*path_t)(const char *);
typedef int (*paths_t)(const char *, const char *);
typedef int (*cut_t)(int, off64_t);
typedef int (*cut_path_t)(const char *, off64_t);

ssize_t write(int descriptor, const void *data, size_t size) {
    REAL("write", write_t);
    if (concerns(descriptor)) {
        if (tears()) real(descriptor, data, size / 2);
        if (met()) { errno = ENOSPC; return -1; }
    }
    return real(descriptor, data, size);
}

static ssize_t pwrite_at(pwrite_t real, int descriptor, const void *data, size_t size, off64_t place) {
    if (concerns(descriptor)) {
        if (tears()) real(descriptor, data, size / 2, place);
        if (met()) { errno = ENOSPC; return -1; }
    }
    return real(descriptor, data, size, place);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t place) {
    REAL("pwrite", pwrite_t);
    return pwrite_at(real, descriptor, data, size, place);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t place) {
    REAL("pwrite64", pwrite_t);
    return pwrite_at(real, descriptor, data, size, place);
}

#define ON_DESCRIPTOR(name, error)                                       \
    int name(int descriptor) {                                           \
        REAL(#name, descriptor_t);                                       \
        if (concerns(descriptor) && met()) { errno = error; return -1; } \
        if (mode == LIE && concerns(descriptor)) return 0;               \
        return real(descriptor);                                         \
    }
ON_DESCRIPTOR(fsync, EIO)
ON_DESCRIPTOR(fdatasync, EIO)

#define ON_CUT(name)                                                      \
    int name(int descriptor, off64_t size) {                              \
        REAL(#name, cut_t);                                               \
        if (concerns(descriptor) && met()) { errno = ENOSPC; return -1; } \
        return real(descriptor, size);                                    \
    }
ON_CUT(ftruncate)
ON_CUT(ftruncate64)

#define ON_CUT_PATH(name)                                             \
    int name(const char *path, off64_t size) {                        \
        REAL(#name, cut_path_t);                                      \
        if (concerns_path(path) && met()) { errno = EIO; return -1; } \
        return real(path, size);                                      \
    }
ON_CUT_PATH(truncate)
ON_CUT_PATH(truncate64)

#define ON_PATHS(name)                                                   \
    int name(const char *from, const char *to) {                         \
        REAL(#name, paths_t);                                            \
        if (concerns_path(to) && met()) { errno = ENOSPC; return -1; }   \
        return real(from, to);                                           \
    }
ON_PATHS(rename)
ON_PATHS(link)

int unlink(const char *path) {
    REAL("unlink", path_t);
    if (concerns_path(path) && met()) { errno = EIO; return -1; }
    return real(path);
}
