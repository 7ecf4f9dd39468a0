/* Intrusive doubly linked list: a head and the links inside the members. No allocation, O(1) everywhere. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev; /* of a head: first and last; of a link outside any list: itself */
};

static inline void list_init (struct list *self)
{
    self->next = self->prev = self;
}

static inline bool list_empty (const struct list *self)
{
    return self->next == self;
}

static inline void list_append (struct list *head, struct list *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

/* Harmless on a link that is in no list. */
static inline void list_remove (struct list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init (link);
}

static inline struct list *list_pop (struct list *head)
{
    if (list_empty (head))
        return NULL;
    struct list *first = head->next;
    list_remove (first);
    return first;
}

/* Everything of `from` goes to the end of `to`; `from` is empty afterwards. */
static inline void list_move_all (struct list *to, struct list *from)
{
    if (list_empty (from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init (from);
}

#define LIST_ENTRY(link, type, member) CONTAINER_OF (link, type, member)

/* The body may remove `it` (a struct list *), but no other member. */
#define LIST_FOREACH(head, it)                                                                                         \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head); it = it##_next, it##_next = it->next)

#endif
