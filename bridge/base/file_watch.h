/* Have files changed? Told by what stat(2) says of the file at the end of every link, as a Kubernetes volume swaps the
 * link `..data`, and others write in place or rename. A change counts once it has stood still from one look to the
 * next, so that nothing is read while it is being written. No events of the kernel: they know nothing of links on the
 * way. */
#ifndef BASE_FILE_WATCH_H
#define BASE_FILE_WATCH_H

#include "base/check.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FILE_WATCH_MAX 8

/* All zero: there is no such file. */
struct file_mark {
    dev_t dev;
    ino_t ino;
    off_t size;
    int64_t mtime_ns, ctime_ns;
};

struct file_watch {
    size_t n;
    struct {
        const char *path;            /* borrowed */
        struct file_mark used, seen; /* when it was read, and at the last look */
    } file[FILE_WATCH_MAX];
};

void file_watch_init (struct file_watch *self);

/* Add a file (the path is borrowed; "" is none) as it is now. Call it before the file is read. */
void file_watch_add (struct file_watch *self, const char *path);

/* Look: is any file another one than was read? True once for each change. */
bool file_watch_look (struct file_watch *self);

#endif
