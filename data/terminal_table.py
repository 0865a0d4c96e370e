"""The table of data/live_table.py on a real terminal. A terminal that goes away never ends a run."""

import os
import sys
import time
from contextlib import suppress

from rich.console import Console
from rich.live import Live
from rich.table import Table

REDRAW = 0.1  # seconds between two drawings of what changes often


class Screen(Console):
    """Standard error. A terminal that is gone is an OSError, as everywhere."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class TerminalTable:
    """Rows of three columns: a label, what it is now, and what there is to say of it."""

    def __init__(self, is_transient: bool) -> None:
        self.rows: dict[str, tuple[str, str]] = {}
        self.is_gone = False
        self.draw_time = 0.0
        screen = Screen(
            file=sys.stderr,
            force_terminal=True,
            force_interactive=True,
            markup=False,
            emoji=False,
            highlight=False,
        )
        self.live = Live(
            console=screen,
            get_renderable=self.grid,
            auto_refresh=False,
            transient=is_transient,
            redirect_stdout=sys.stdout.isatty(),
        )

    def put(self, label: str, value: str, remark: str = "") -> None:
        """Set a row; a new one comes last."""
        self.rows[label] = (value, remark)

    def draw_soon(self) -> None:
        """Draw the table, unless it was drawn a moment ago."""
        if time.monotonic() - self.draw_time > REDRAW:
            self.draw()

    def draw(self) -> None:
        """Draw the table as it is now."""
        if self.is_gone:
            return
        try:
            if not self.live.is_started:
                self.live.start()
                self.live.console.show_cursor()  # which a process that is killed could not bring back
            self.live.refresh()
        except OSError:
            self.is_gone = True
            self.close()
            sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        self.draw_time = time.monotonic()

    def close(self) -> None:
        """End the table: its last state remains, and what is printed goes the usual way again."""
        with suppress(OSError):
            self.live.stop()

    def grid(self) -> Table:
        """What is drawn; where a terminal is narrow, the ends of texts are left out."""
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, style="bold")
        grid.add_column(no_wrap=True, style="dim")
        for label, (value, remark) in self.rows.items():
            grid.add_row(label, value, remark)
        return grid
