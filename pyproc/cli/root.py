"""The group of all commands; each command's file is read when it is asked for."""

from __future__ import annotations

import importlib
import json
import sys
import traceback

import click

from pyproc import errors
from pyproc.cli import common
from pyproc.cli.common import Exit, Stop, code_of

#: A command -> the file it lives in, in the order of the help.
COMMANDS = {
    "init": "project",
    "call": "calls",
    "bench": "calls",
    "serve": "daemon",
    "ps": "watch",
    "top": "watch",
    "stats": "watch",
    "events": "watch",
    "dump": "manage",
    "drain": "manage",
    "reload": "manage",
    "resize": "manage",
    "isolate": "manage",
    "release": "manage",
    "kill": "manage",
    "audit": "audit",
    "access": "access",
    "config": "config",
    "replay": "replay",
    "worker": "calls",
    "learn": "learn",
    "doctor": "doctor",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        home = COMMANDS.get(cmd_name)
        if home is None:
            return None
        module = importlib.import_module(f"pyproc.cli.{home}")
        found = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from pyproc._toml import nearest

            raise click.UsageError(f"there is no command {args[0]!r}; {nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pyproc-native", prog_name="pyproc")
def cli() -> None:
    """Python functions in isolated, limited and supervised processes.

    Exit codes: 0 done, 1 the answer is no, 2 something given is wrong, 3 nothing answers, 4 access
    denied, 5 the call ended without an answer, 6 not installed, 130 interrupted.
    """


def run(words: list[str]) -> int:
    """Runs a command line; every error is one sentence."""
    try:
        code = cli.main(words, prog_name="pyproc", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else common.DONE
    except Exit as ended:
        return ended.code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return common.WRONG
    except click.ClickException as error:
        return _say(error.format_message(), common.WRONG, words)
    except (click.Abort, KeyboardInterrupt):
        return common.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # `pyproc ... | head`: nobody reads any more
        return common.DONE
    except (errors.Error, Stop, OSError, ValueError, TypeError, LookupError) as error:
        return _say(str(error) or type(error).__name__, code_of(error), words)
    except Exception as error:
        traceback.print_exc()
        return _say(f"{type(error).__name__}: {error}", common.BUG, words)


def _say(sentence: str, code: int, words: list[str]) -> int:
    if "--json" in words:
        click.echo(json.dumps({"error": sentence, "exit": code}))
    else:
        click.echo(f"pyproc: {sentence}", err=True)
    return code
