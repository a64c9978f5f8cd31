/* reply.h - fills the public reply of a call; what it holds is copied and its own.
 * Any thread, one at a time a reply. */
#ifndef PP_EVENT_REPLY_H
#define PP_EVENT_REPLY_H

#include "include/pyproc.h"
#include "wire/message.h"

/* Empty: end VALUE, nothing held. The inline bytes stay as they are. */
void pp_reply_init(struct pyproc_reply *reply);

/* Memory that lives as long as the reply; NULL when out. */
void *pp_reply_alloc(struct pyproc_reply *reply, size_t n);

/* Each fills `reply` (as after init). Out of memory turns the end into TOO_LARGE with
 * a text that says so: a call always ends. */
void pp_reply_value(struct pyproc_reply *reply, int codec, const void *bytes, size_t n,
                    uint32_t count);
void pp_reply_failure(struct pyproc_reply *reply, const struct pp_message_failure *failure);
/* `text` is copied; NULL is fine. */
void pp_reply_end(struct pyproc_reply *reply, enum pyproc_end end, const char *text);
/* Gives `n` references, at most 64, to the reply of a value. */
void pp_reply_memories(struct pyproc_reply *reply, struct pyproc_memory *const *memories, size_t n);
/* Adds what is known of a worker's death. */
void pp_reply_death(struct pyproc_reply *reply, const struct pyproc_death *death);
/* A deep copy. */
void pp_reply_copy(struct pyproc_reply *to, const struct pyproc_reply *from);

#endif
