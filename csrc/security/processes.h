/* processes.h - no new processes from now on: Limits(processes=0).
 *
 * RLIMIT_NPROC would stop threads too, and counts whatever runs under the same user. A filter of
 * system calls tells the two apart. It stands beside those of a sandbox: the strictest counts.
 */
#ifndef PP_SECURITY_PROCESSES_H
#define PP_SECURITY_PROCESSES_H

/* For every thread of this process and for good: fork(2), vfork(2) and a clone(2) without
 * CLONE_THREAD answer EPERM. Needs no_new_privs. 0, -ENOSYS on a machine whose numbers are not
 * known here, or a negative errno. */
int pp_processes_refuse(void);

#endif
