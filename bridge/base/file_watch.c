#include "base/file_watch.h"

static bool same_time (struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

void file_watch_note (struct file_watch *self, const char *path)
{
    struct stat found;
    *self = (struct file_watch){0};
    if (stat (path, &found) == 0)
        *self = (struct file_watch){found.st_dev, found.st_ino, found.st_size, found.st_mtim, found.st_ctim};
}

bool file_watch_differs (const struct file_watch *self, const char *path)
{
    struct file_watch now;
    file_watch_note (&now, path);
    return now.device != self->device || now.inode != self->inode || now.size != self->size ||
           !same_time (now.modified, self->modified) || !same_time (now.changed, self->changed);
}
