"""The README's picture: the verbs run on real photos at a terminal, what they print drawn as an SVG.

    python tests/benchmarks/picture.py FOLDER docs/birds.svg

FOLDER holds photos/ and test/ (class folders) and unsorted/ (images).
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS, ROWS = 112, 60
COMMANDS = (
    "promptctl learn ./photos --name birds --shots 4",
    "promptctl evaluate birds ./test",
    "promptctl classify ./unsorted --prompt birds",
)
# rich's own drawing, without the fonts it would fetch from the network
SVG = """<svg viewBox="0 0 {terminal_width} {terminal_height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px;
line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
<rect fill="#292929" width="{terminal_width}" height="{terminal_height}" rx="8"/>
<g transform="translate(9, 9)" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""


def typed(command: str, folder: Path, home: str) -> str:
    """What a command leaves on a terminal, with its colours, bars and cursor moves gone by."""
    child, terminal = pty.fork()
    if not child:
        os.chdir(folder)
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "PROMPTCTL_HOME": home}
        os.execlp("sh", "sh", "-c", command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    seen = b""
    try:
        while part := os.read(terminal, 65536):
            seen += part
    except OSError:  # Linux says so when the child has closed its side
        pass
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"{command} failed, and nothing was drawn:\n{seen.decode()}")
    return (
        seen.decode().rpartition("\x1b[2K")[2].replace("\r\n", "\n").replace(home, "/home/you/.local/share/promptctl")
    )


def main(folder: Path, target: Path) -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    with tempfile.TemporaryDirectory() as home:
        for command in COMMANDS:
            console.print(Text(f"$ {command}", "bold green"))
            console.print(Text.from_ansi(typed(command, folder, home)))
    console.save_svg(str(target), theme=MONOKAI, code_format=SVG, unique_id="birds")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
