"""The one writer of an audit log: appends lines, keeps the head record, rotates and prunes.

A lock file keeps other processes out; inside one process all who open the same path share one
writer. Any thread may write. A forked child's copy writes nothing. `rotate` may be called by a
signal handler: it only leaves a note, which the next line or the syncing thread takes.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets
import threading
import time
from dataclasses import astuple
from typing import Any

from pyproc.audit import AuditOptions, chain, files, redact
from pyproc.audit.chain import Key, Mark
from pyproc.config import parse_size
from pyproc.errors import AuditError

_writers: dict[str, Writer] = {}
_writers_lock = threading.Lock()
#: Seconds between two tries when a line could not be written.
RETRY_SECONDS = 1.0


def open_writer(options: AuditOptions) -> Writer:
    """The writer of that path, once more; each is given back by its `close`. AuditError."""
    place = os.path.realpath(options.path)
    with _writers_lock:
        writer = _writers.get(place)
        if writer is not None and writer.owner == os.getpid():
            if astuple(writer.options) != astuple(options):
                raise AuditError(
                    f"audit log {options.path!r} is open in this process with other options"
                )
            writer.users += 1
            return writer
        writer = Writer(options, place)
        _writers[place] = writer
        return writer


class Writer:
    """See the module."""

    def __init__(self, options: AuditOptions, place: str) -> None:
        self.options, self.place = options, place
        self.owner = os.getpid()
        self.users = 1
        self.written = self.dropped = 0
        #: Why the last line could not be written; None: it was.
        self.error: str | None = None
        self.key: Key = chain.read_key(options.key_file)
        self._sealer = None
        if options.recipient_file is not None:
            from pyproc.audit.box import Sealer

            self._sealer = Sealer(options.recipient_file)
        self._max = None if options.max_size is None else parse_size(options.max_size, "max_size")
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._dirty_since: float | None = None
        self._rotate_due = self._stopped = False
        self._retry_at = 0.0
        self._missing = 0
        self._thread: threading.Thread | None = None
        self._fd = self._head_fd = self._lock_fd = -1
        try:
            self._lock_fd = files.take_lock(place)
            self._head_fd = files.open_private(options.head or place + ".head")
            with self._lock:
                self._open()
        except OSError as error:
            self._close_all()
            raise AuditError(
                f"audit log {options.path!r} cannot be opened: {error.strerror or error}"
            ) from None
        except BaseException:
            self._close_all()
            raise

    # ---- opening ----

    def _open(self) -> None:
        self._fd = files.open_private(self.place)
        torn = files.cut_torn(self._fd)
        head, wrong = chain.parse_head(os.pread(self._head_fd, 4 * chain.SLOT, 0), self.key)
        if wrong:
            raise AuditError(
                f"audit log {self.options.path!r}: {wrong[0]}; is this its key? `pyproc audit "
                "verify` says more; move log and head away to begin a new one"
            )
        last = files.last_line(self.place, self.key)
        notes: list[tuple[str, dict[str, Any]]] = []
        if last is None and head is None:
            self._mark = Mark(secrets.token_hex(8), 0, chain.GENESIS)
        else:
            self._mark = self._resume(last, head, torn, notes)
        self._size = os.fstat(self._fd).st_size
        self._note("log.start", algorithm=self.key.algorithm, key_id=self.key.id, pid=self.owner,
                   uid=os.geteuid(), version=str(chain.VERSION))  # fmt: skip
        for event, fields in notes:
            self._note(event, **fields)

    def _resume(
        self,
        last: Mark | None,
        head: Mark | None,
        torn: int,
        notes: list[tuple[str, dict[str, Any]]],
    ) -> Mark:
        """Where the chain goes on. What is missing stays visible in it for ever."""
        if torn:
            notes.append(("log.recovered", {"bytes": torn, "reason": "the last line was torn"}))
        if head is None and last is not None:
            notes.append(("log.gap", {"first": last.seq, "reason": "the head record is missing"}))
            return last
        if head is not None and (last is None or last.seq < head.seq):
            first = 1 if last is None else last.seq + 1
            notes.append(("log.gap", {"first": first, "last": head.seq,
                                      "reason": "the head record says more"}))  # fmt: skip
            return head
        if head is None or last is None:
            raise AssertionError("one of them is there")
        if last.seq > head.seq:
            notes.append(("log.recovered", {"first": head.seq + 1, "last": last.seq,
                                            "reason": "the head record was behind"}))  # fmt: skip
        return last

    # ---- writing ----

    def write(self, event: str, **fields: object) -> int:
        """Appends one event and answers its number; 0 when it was dropped.

        AuditError when it cannot be written and the options say `deny`. ValueError for an event or
        a field that the schema does not know. After a fork the child writes nothing.
        """
        cleaned = redact.clean(event, fields)
        if os.getpid() != self.owner:
            return 0
        with self._lock:
            if self._fd < 0:
                return 0
            if self._rotate_due:
                self._try(self._rotate)
            self._report_missing()
            if not self._try(lambda: self._append(event, cleaned)):
                self.dropped += 1
                self._missing += 1
                if self.options.on_full == "deny":
                    raise AuditError(f"the audit log cannot be written: {self.error}")
                return 0
            if self._max is not None and self._size >= self._max:
                self._try(self._rotate)
            return self._mark.seq

    def check(self) -> None:
        """Raises AuditError while lines cannot be written and the options say `deny`; tries again
        once a second."""
        if self.error is None or self.options.on_full != "deny" or os.getpid() != self.owner:
            return
        with self._lock:
            if self.error is not None and time.monotonic() >= self._retry_at and self._fd >= 0:
                self._retry_at = time.monotonic() + RETRY_SECONDS
                self._report_missing()
            if self.error is not None:
                raise AuditError(f"no call is made while the audit log is not: {self.error}")

    def _report_missing(self) -> None:
        missing = self._missing
        if missing and self._try(lambda: self._append("log.dropped", {"count": missing})):
            self._missing = 0

    def _try(self, step: Any) -> bool:
        try:
            step()
        except OSError as error:
            self.error = error.strerror or str(error)
            return False
        self.error = None
        return True

    def _note(self, event: str, **fields: Any) -> None:
        self._append(event, redact.clean(event, fields))

    def _append(self, event: str, fields: dict[str, Any]) -> None:
        seq = self._mark.seq + 1
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        said = {"time": now.replace("+00:00", "Z"), "event": event, **fields}
        if self._sealer is not None:
            said = self._sealer.seal(self._mark.log, seq, said)
        head = {"v": chain.VERSION, "log": self._mark.log, "seq": seq}
        line, seal = chain.make_line(self.key, head | said, self._mark.hash)
        at = self._size
        try:
            done = os.pwrite(self._fd, line, at)
            if done != len(line):
                raise OSError(28, "no space is left for a whole line")
            if self.options.fsync == "always":
                os.fdatasync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, at)
            raise
        self._size = at + len(line)
        self._mark = Mark(self._mark.log, seq, seal)
        self.written += 1
        self._write_head()
        if self.options.fsync == "interval" and self._dirty_since is None:
            self._dirty_since = time.monotonic()
            self._wake_syncer()

    def _write_head(self) -> None:
        """In turn to two places: one that is torn leaves the other. The file has its size from the
        first line on, so that a full disk does not keep the head behind."""
        packed = self._mark.pack(self.key, chain.HEAD, chain.SLOT)
        os.pwrite(self._head_fd, packed, (self._mark.seq % 2) * chain.SLOT)
        if self.options.fsync == "always":
            os.fdatasync(self._head_fd)

    # ---- to the disk ----

    def _wake_syncer(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._sync_loop, name="pyproc-audit", daemon=True
            )
            self._thread.start()
        self._wake.notify()

    def _sync_loop(self) -> None:
        """Sleeps while nothing is dirty: an idle log costs nothing."""
        with self._lock:
            while not self._stopped:
                if self._dirty_since is None:
                    self._wake.wait()
                    continue
                left = self._dirty_since + self.options.interval - time.monotonic()
                if left > 0:
                    self._wake.wait(left)
                    continue
                self._try(self._sync)
                if self._rotate_due:
                    self._try(self._rotate)

    def _sync(self) -> None:
        self._dirty_since = None
        os.fdatasync(self._fd)
        os.fdatasync(self._head_fd)

    def stats(self) -> dict[str, float]:
        """audit_written, audit_dropped, audit_lag (seconds that the oldest line waits for the
        disk) and audit_failing."""
        since = self._dirty_since
        return {
            "audit_written": self.written,
            "audit_dropped": self.dropped,
            "audit_lag": 0.0 if since is None else max(0.0, time.monotonic() - since),
            "audit_failing": int(self.error is not None),
        }

    # ---- files ----

    def rotate(self) -> None:
        """A new file from the next line on; for SIGHUP. A file that somebody has moved away is
        left alone, as logrotate expects."""
        self._rotate_due = True

    def _rotate(self) -> None:
        self._rotate_due = False
        if self._size == 0:
            return
        os.fdatasync(self._fd)
        files.set_aside(self.place, self._fd)
        fresh = files.open_private(self.place)
        old, self._fd, self._size = self._fd, fresh, os.fstat(fresh).st_size
        os.close(old)
        self._note("log.rotate", algorithm=self.key.algorithm, key_id=self.key.id)
        if self.options.keep is not None:
            self._prune(self.options.keep)

    def _prune(self, keep: int) -> None:
        gone = files.prune(self.place, self.key, files.beyond(self.place, keep))
        if gone is not None:
            self._note("log.prune", last=gone.seq, reason=f"keep={keep}")

    def prune(self, names: list[str]) -> int:
        """Removes these old files; answers the number of the last line that went, 0: none did."""
        with self._lock:
            gone = files.prune(self.place, self.key, names)
            if gone is None:
                return 0
            self._note("log.prune", last=gone.seq, reason="on request")
            return gone.seq

    # ---- the end ----

    def close(self) -> None:
        """Gives the writer back; the last one closes the files."""
        with _writers_lock:
            self.users -= 1
            if self.users > 0:
                return
            if _writers.get(self.place) is self:
                del _writers[self.place]
        if os.getpid() != self.owner:
            self._close_all()
            return
        with self._lock:
            self._report_missing()
            self._try(lambda: self._note("log.stop", pid=self.owner))
            if self.options.fsync != "never":
                self._try(self._sync)
            self._stopped = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        self._close_all()

    def after_fork(self) -> None:
        """In a forked child: its copies go, or the lock would outlive the parent."""
        self._close_all()

    def _close_all(self) -> None:
        for name in ("_fd", "_head_fd", "_lock_fd"):
            fd = getattr(self, name)
            setattr(self, name, -1)
            if fd >= 0:
                os.close(fd)


def take_lock_briefly(place: str) -> int:
    """For maintenance without a writer: the lock, or -1 while somebody writes."""
    try:
        return files.take_lock(place)
    except AuditError:
        return -1
