"""A bar on standard error for work of a known number of steps."""

from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def counting_bar(wanted: bool | None, title: str, total: int) -> Generator[Callable[[str], None]]:
    """tell(note) after each step; wanted None: on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, force_terminal=wanted or None)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal or wanted is False) as bar:
        task = bar.add_task(title, total=total)

        def tell(note: str) -> None:
            bar.update(task, advance=1, description=f"{title}, {note}")

        yield tell
