"""What answers at once must import nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numpy", "torch", "open_clip", "PIL", "sklearn", "safetensors", "huggingface_hub")
PROBE = f"""
import sys, atexit
atexit.register(lambda: print("HEAVY", [m for m in {HEAVY} if m in sys.modules]))
from promptctl.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--help"], {}),
        (["--version"], {}),
        (["list"], {}),
        (["operations"], {}),
        (["undo"], {}),
        (["sort", "--help"], {}),
        (["skill"], {}),
        (["learn", "--help"], {}),
        (["show", "nothing"], {}),
        (["learn", "nowhere", "--name", "../x"], {}),
        (["import", "nowhere", "--name", "../x"], {}),
        (["export", "nothing", "out", "--as", "coop"], {}),
        (["push", "nothing", "you/birds"], {}),
        (["pull", "nowhere"], {}),
        ([], {"_PROMPTCTL_COMPLETE": "complete_bash", "COMP_WORDS": "promptctl show ", "COMP_CWORD": "2"}),
    ],
)
def test_quick_commands_import_nothing_heavy(arguments, environment, home):
    code = PROBE.replace("import sys, atexit", f"import sys, atexit; sys.argv = ['promptctl', *{arguments!r}]")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PROMPTCTL_HOME": str(home), "PATH": "/usr/bin", **environment},
    )
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stdout + done.stderr


def test_the_shell_completes_context_names(home):
    from test_context import make

    from promptctl.store.store import Store

    Store().save("birds", make().to_bytes(), new=True)
    Store().save("bears", make().to_bytes(), new=True)
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['promptctl']; from promptctl.cli.main import main; main()"],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PROMPTCTL_HOME": str(home),
            "PATH": "/usr/bin",
            "_PROMPTCTL_COMPLETE": "complete_bash",
            "COMP_WORDS": "promptctl show bi",
            "COMP_CWORD": "2",
        },
    )
    assert done.stdout.split() == ["birds"]


def test_the_public_names_exist():
    import promptctl

    for name in promptctl.__all__:
        assert getattr(promptctl, name) is not None
    with pytest.raises(AttributeError):
        _ = promptctl.nothing
