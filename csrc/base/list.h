/* list.h - a doubly linked ring whose links live in the things linked.
 * Not locked: the list's owner says which thread or lock guards it. */
#ifndef PP_BASE_LIST_H
#define PP_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct pp_list {
    struct pp_list *next;
    struct pp_list *prev;
};

#define pp_container(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void pp_list_init(struct pp_list *list)
{
    list->next = list->prev = list;
}

static inline bool pp_list_empty(const struct pp_list *list)
{
    return list->next == list;
}

static inline void pp_list_insert(struct pp_list *before, struct pp_list *link)
{
    link->prev = before->prev;
    link->next = before;
    before->prev->next = link;
    before->prev = link;
}

static inline void pp_list_push_back(struct pp_list *list, struct pp_list *link)
{
    pp_list_insert(list, link);
}

static inline void pp_list_push_front(struct pp_list *list, struct pp_list *link)
{
    pp_list_insert(list->next, link);
}

/* Unlinks; the link is then a ring of its own, so unlinking twice is harmless. */
static inline void pp_list_remove(struct pp_list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    pp_list_init(link);
}

/* NULL when empty. */
static inline struct pp_list *pp_list_pop_front(struct pp_list *list)
{
    struct pp_list *link = list->next;

    if (link == list)
        return NULL;
    pp_list_remove(link);
    return link;
}

#endif
