/* Has a file changed since it was read? Compares what stat(2) says of the path, behind all symbolic links: Kubernetes
 * puts new secrets in place by turning a link. */
#ifndef BASE_FILE_WATCH_H
#define BASE_FILE_WATCH_H

#include <stdbool.h>
#include <sys/stat.h>

/* What was there when the file was last noted; all zero when there was none. */
struct file_watch {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
};

/* Remember what is there. Before the file is read: a change meanwhile is then seen the next time. */
void file_watch_note (struct file_watch *self, const char *path);

/* Is something else there than what was noted? A file that has come or gone is. */
bool file_watch_differs (const struct file_watch *self, const char *path);

#endif
