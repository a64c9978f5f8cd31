"""Progress of a map, shown by a function, tqdm or rich; both are imported only when asked for."""

from __future__ import annotations

from collections.abc import Callable


def reporter(
    progress: Callable[[int, int | None], object] | bool | str | None, total: int | None
) -> tuple[Callable[[int, int | None], object] | None, Callable[[], None]]:
    """What to tell (done, total), or None, and what to call at the end."""
    if progress is None or progress is False:
        return None, lambda: None
    if callable(progress):
        return progress, lambda: None
    if progress == "rich":
        from rich.progress import Progress

        bar = Progress(transient=False)
        task = bar.add_task("", total=total)
        bar.start()
        return lambda done, _: bar.update(task, completed=done), bar.stop
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    line = tqdm(total=total, disable=None)
    return lambda done, _: line.update(done - line.n), line.close
