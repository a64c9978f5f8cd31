/* stock.h - what memory.c and stock.c share; nobody else includes it. Any thread. */
#ifndef PP_IPC_STOCK_H
#define PP_IPC_STOCK_H

#include "ipc/memory.h"

/* Takes memory that nobody has a reference to: keeps or frees it. */
void pp_stock_put(struct pp_stock *stock, struct pyproc_memory *memory);
/* Frees memory that nobody has a reference to, and that has no stock. */
void pp_memory_free(struct pyproc_memory *memory);

#endif
