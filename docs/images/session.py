"""Makes session.svg again, the picture in the READMEs: a real session, photographed.

Starts ./run.sh, set up before, in a terminal of its own, runs the very curl line that its greeting prints, and draws
what both wrote. Only the middle of the vector is left out, where the picture says so.

    .venv/bin/python docs/images/session.py
"""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[2]
TARGET = Path(__file__).with_name("session.svg")
COLUMNS = 93
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Noto Sans Mono CJK JP', monospace"
SHOWN = 4  # numbers of the vector at each end


class Terminal:
    """A program in a pseudo-terminal, and what it has written."""

    def __init__(self, *command: str) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.process = subprocess.Popen(  # noqa: S603 - the commands are in this file
            command, cwd=ROOT, env=environment, stdin=slave, stdout=slave, stderr=slave, close_fds=True
        )
        os.close(slave)
        self.written = ""

    def until(self, pattern: str) -> None:
        """Read until the output matches or the program ends."""
        pending = b""
        while not re.search(pattern, self.written):
            try:
                pending += os.read(self._master, 65536)
            except OSError:  # the program has ended
                return
            self.written, pending = self.written + pending.decode("utf-8", "ignore"), b""

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def main() -> None:
    """Write the picture. Arguments go to ./run.sh."""
    subprocess.run([ROOT / "scripts/setup", "--runtime"], check=True)  # noqa: S603 - the second start is photographed
    server = Terminal("./run.sh", *sys.argv[1:])
    try:
        server.until(r"curl .*\n")
        curl = next(line for line in _plain(server.written).splitlines() if line.strip().startswith("curl")).strip()
        greeting = server.written
        client = Terminal("bash", "-c", curl)
        client.until(r"\Z(?!)")
    finally:
        server.stop()
    TARGET.write_text(_draw(greeting, curl, client.written), "utf-8")


def _draw(greeting: str, curl: str, answer: str) -> str:
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        _prompt(console, "./run.sh")
        _raw(console, Text.from_ansi(greeting.replace("\r\n", "\n").rstrip()))
        console.print()
        _prompt(console, curl)
        _raw(console, _shortened(_plain(answer).strip()))
        svg = console.export_svg(title="sekisho", unique_id="sekisho")
    # The picture needs nothing from anywhere: no font is fetched.
    svg = re.sub(r"\s*@font-face \{.*?\n    \}", "", svg, flags=re.DOTALL)
    # Lines are cut to the height of Rich's own font, which takes the underscores off others.
    svg = re.sub(r"<clipPath .*?</clipPath>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' clip-path="[^"]*"', "", svg)
    return svg.replace("Fira Code, monospace", FONTS)


def _prompt(console: Console, command: str) -> None:
    _raw(console, Text.assemble(("$ ", "bold green"), (command, "bold")))


def _raw(console: Console, text: Text) -> None:
    """As a terminal shows it: wrapped at the last column, in the middle of a word if need be."""
    text.overflow = "fold"
    for line in text.split("\n"):
        start = 0
        while start < len(line) or start == 0:
            end = start
            while end < len(line) and line[start : end + 1].cell_len <= COLUMNS:
                end += 1
            console.print(line[start : max(end, start + 1)], soft_wrap=True)
            start = max(end, start + 1)


def _shortened(answer: str) -> Text:
    """The answer without the middle of its vector, and a note in another colour of how much is missing."""
    match = re.search(r"\[(-?\d[^\]]*)\]", answer)
    if match is None:
        raise SystemExit(f"no vector in the answer: {answer[:300]}")
    numbers = match[1].split(",")
    left_out = f", … {len(numbers) - 2 * SHOWN} more …, "
    return Text.assemble(
        answer[: match.start(1)],
        ",".join(numbers[:SHOWN]),
        (left_out, "dim italic"),
        ",".join(numbers[-SHOWN:]),
        answer[match.end(1) :],
    )


def _plain(output: str) -> str:
    return Text.from_ansi(output.replace("\r\n", "\n")).plain


if __name__ == "__main__":
    main()
