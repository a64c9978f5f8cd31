/* doomed.c - a hash set with linear probing, half empty, forgotten by counting on. */
#include "keeper/doomed.h"

static size_t slot_of(const struct pp_doomed *doomed, pid_t pid)
{
    size_t mask = sizeof(doomed->slots) / sizeof(doomed->slots[0]) - 1;
    size_t i = (size_t)pid & mask;

    while (doomed->slots[i].walk == doomed->walk && doomed->slots[i].pid != pid)
        i = (i + 1) & mask;
    return i;
}

void pp_doomed_clear(struct pp_doomed *doomed)
{
    doomed->walk++;
    doomed->n = 0;
    if (doomed->walk != 0)
        return;
    for (size_t i = 0; i < sizeof(doomed->slots) / sizeof(doomed->slots[0]); i++)
        doomed->slots[i].walk = 0; /* after 2^32 walks old entries would count again */
    doomed->walk = 1;
}

void pp_doomed_add(struct pp_doomed *doomed, const struct pp_proc *proc)
{
    size_t i = slot_of(doomed, proc->pid);

    if (doomed->slots[i].walk != doomed->walk) {
        if (doomed->n == PP_DOOMED)
            return;
        doomed->n++;
    }
    doomed->slots[i].walk = doomed->walk;
    doomed->slots[i].pid = proc->pid;
    doomed->slots[i].start = proc->start;
}

bool pp_doomed_find(const struct pp_doomed *doomed, pid_t pid, uint64_t *startp)
{
    size_t i = slot_of(doomed, pid);

    if (doomed->slots[i].walk != doomed->walk)
        return false;
    *startp = doomed->slots[i].start;
    return true;
}
