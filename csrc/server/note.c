/* note.c - events as JSON objects, for whoever keeps an audit log.
 *
 * What a client said is hostile text: it is escaped to ASCII and cut. A note that does not fit
 * its buffer loses its last fields and says so.
 */
#include "server/server.h"

#include "event/queue.h"
#include "event/reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TAIL = 32 }; /* room for the mark of a cut and the closing brace */

void pp_note_begin(struct pp_note *note)
{
    note->n = 0;
    note->cut = false;
}

__attribute__((format(printf, 2, 3))) static void add(struct pp_note *note, const char *form, ...)
{
    size_t room = sizeof note->text - TAIL - note->n;
    va_list list;
    int n;

    va_start(list, form);
    n = vsnprintf(note->text + note->n, room, form, list);
    va_end(list);
    if (n < 0 || (size_t)n >= room) {
        note->text[note->n] = '\0';
        note->cut = true;
        return;
    }
    note->n += (size_t)n;
}

static void add_name(struct pp_note *note, const char *name)
{
    add(note, "%c\"%s\":", note->n ? ',' : '{', name);
}

/* Bytes above ASCII become \u00xx of Latin-1: what is shown is what came, byte by byte. */
void pp_note_text(struct pp_note *note, const char *name, const void *text, size_t n, size_t most)
{
    const unsigned char *at = text;
    size_t before = note->n;

    if (note->cut)
        return;
    add_name(note, name);
    add(note, "\"");
    for (size_t i = 0; i < n && i < most && !note->cut; i++) {
        if (at[i] == '"' || at[i] == '\\')
            add(note, "\\%c", at[i]);
        else if (at[i] < 0x20 || at[i] >= 0x7f)
            add(note, "\\u%04x", at[i]);
        else
            add(note, "%c", at[i]);
    }
    add(note, n > most ? "...\"" : "\"");
    if (note->cut)
        note->n = before; /* the whole field goes */
}

void pp_note_word(struct pp_note *note, const char *name, const char *word)
{
    pp_note_text(note, name, word, strlen(word), 512);
}

void pp_note_number(struct pp_note *note, const char *name, int64_t number)
{
    size_t before = note->n;

    if (note->cut)
        return;
    add_name(note, name);
    add(note, "%lld", (long long)number);
    if (note->cut)
        note->n = before;
}

void pp_note_conn(struct pp_note *note, const struct pp_conn *conn)
{
    pp_note_number(note, "client", (int64_t)conn->number);
    pp_note_number(note, "uid", conn->peer.uid);
    pp_note_number(note, "gid", conn->peer.gid);
    pp_note_number(note, "pid", conn->peer.pid);
    if (conn->key[0]) {
        pp_note_word(note, "key", conn->key);
        pp_note_number(note, "proved", conn->is_proved);
    }
    if (conn->profile)
        pp_note_word(note, "role",
                     pp_access_profile_name(conn->server->rules->access, conn->profile));
}

static struct pyproc_item *make_item(const char *kind, const struct pp_note *note)
{
    struct pyproc_item *item = pp_item_new(PYPROC_ITEM_EVENT);
    char *text = item ? pp_reply_alloc(&item->reply, note->n + 1) : NULL;
    struct timespec now;

    if (!text) {
        pyproc_item_free(item);
        return NULL;
    }
    memcpy(text, note->text, note->n + 1);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    item->text = (struct pyproc_bytes){kind, strlen(kind)};
    item->extra = (struct pyproc_bytes){text, note->n};
    item->created = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    return item;
}

void pp_note_send(struct pyproc_server *server, const char *kind, struct pp_note *note)
{
    struct pyproc_item *item;

    if (!server->events)
        return;
    note->n += (size_t)snprintf(note->text + note->n, sizeof note->text - note->n, "%s}",
                                note->n == 0 ? "{"
                                : note->cut  ? ",\"cut\":true"
                                             : "");
    item = make_item(kind, note);
    if (!item || pp_queue_put_record(server->events, item) != 0)
        server->stats.events_dropped++;
}

void pp_correlation(struct pyproc_server *server, char id[PP_CORRELATION])
{
    (void)snprintf(id, PP_CORRELATION, "%08x-%llx", (unsigned)server->run,
                   (unsigned long long)++server->next_correlation);
}
