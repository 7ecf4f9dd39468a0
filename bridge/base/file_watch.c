#include "base/file_watch.h"
#include "base/clock.h"

#include <sys/stat.h>

static int64_t ns_of (struct timespec t)
{
    return (int64_t) t.tv_sec * S_NS + t.tv_nsec;
}

static struct file_mark mark_of (const char *path)
{
    struct stat st;
    if (stat (path, &st) != 0)
        return (struct file_mark){0};
    return (struct file_mark){.dev = st.st_dev,
                              .ino = st.st_ino,
                              .size = st.st_size,
                              .mtime_ns = ns_of (st.st_mtim),
                              .ctime_ns = ns_of (st.st_ctim)};
}

static bool same (const struct file_mark *a, const struct file_mark *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns &&
           a->ctime_ns == b->ctime_ns;
}

void file_watch_init (struct file_watch *self)
{
    self->n = 0;
}

void file_watch_add (struct file_watch *self, const char *path)
{
    if (!*path)
        return;
    CHECK (self->n < FILE_WATCH_MAX);
    struct file_mark mark = mark_of (path);
    self->file[self->n].path = path;
    self->file[self->n].used = self->file[self->n].seen = mark;
    self->n++;
}

/* Nothing is read while one of them is in motion: they may belong together. */
bool file_watch_look (struct file_watch *self)
{
    bool changed = false, still = true;
    for (size_t i = 0; i < self->n; i++) {
        struct file_mark now = mark_of (self->file[i].path);
        still &= same (&now, &self->file[i].seen);
        changed |= !same (&now, &self->file[i].used);
        self->file[i].seen = now;
    }
    if (!changed || !still)
        return false;
    for (size_t i = 0; i < self->n; i++)
        self->file[i].used = self->file[i].seen;
    return true;
}
