"""The `facectl` command: finds the command asked for, runs it, and turns errors into one line and an exit code.

A command is a module loaded only when it is called. Other packages add theirs by entry points of the group
`facectl.commands`, looked up only when a name is not runtime's own, or when help lists them all.
"""

import atexit
import gc
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from facectl_runtime import __version__
from facectl_runtime.errors import FacectlError, one_line
from facectl_runtime.handed_in import EntryPoint, entry_points

INTERRUPTED = 130
_GARBAGE = 20_000  # new objects until old ones are looked for: modules leave none, and the default of 700 costs 10 ms
OWN = ("predict", "evaluate", "verify", "benchmark", "inspect", "faces", "doctor")
# Its own commands multiply no matrices by numpy, whose threads would spin while the engine starts, but for one.
_ONE_BLAS_THREAD, _MULTIPLIES = ("OPENBLAS_NUM_THREADS", "1"), "faces"


class _OnDemand(TyperGroup):
    """A group that loads a command when it is asked for, so that one command pays for no other's imports."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return [*OWN, *sorted(_handed_in())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name in OWN:
            if cmd_name != _MULTIPLIES:
                os.environ.setdefault(*_ONE_BLAS_THREAD)
            found = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        elif entry := _handed_in().get(cmd_name):
            found = entry.load()
        else:
            return None
        return _as_command(found, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if not args[0].startswith("-") and args[0] not in OWN:
            self.commands = dict.fromkeys(self.list_commands(ctx))  # type: ignore[assignment]  # names to suggest from
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:  # who read stdout has had enough: nothing went wrong
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return result


def _handed_in() -> dict[str, EntryPoint]:
    return entry_points("facectl.commands")


def _as_command(found: Any, name: str) -> Any:
    """Make a Typer command of a function, or a group of a Typer app."""
    if isinstance(found, typer.Typer):
        group = typer.main.get_command(found)
        group.name = name
        return group
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(name)(found)
    return typer.main.get_command(single)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"facectl {__version__}")
        raise typer.Exit


def _app() -> Any:
    app = typer.Typer(
        cls=_OnDemand,
        name="facectl",
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def facectl(
        version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
    ) -> None:
        """From a folder of photographs to a small model that gives the same answer everywhere.

        The path: facectl train zoo --data PHOTOS; facectl export runs/zoo; facectl predict runs/zoo/export/zoo.onnx
        IMAGE. Without photographs: facectl demo.
        """

    return typer.main.get_command(app)


def run(arguments: list[str]) -> int:
    """Run one command line and give its exit code; errors are printed on stderr, one line each."""
    try:
        result = _app()(arguments, prog_name="facectl", standalone_mode=False)
    except FacectlError as error:
        return _say(one_line(str(error)), error.exit_code)
    except typer.TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # Typer's way to show help where a command is missing
            print(error.format_message(), file=sys.stderr)
            return error.exit_code
        return _say(_usage(error), error.exit_code)
    except OSError as error:  # a full disk, a folder that may not be written
        what = error.filename or "what was to be written"
        return _say(one_line(f"{what}: {error.strerror or error}"), FacectlError.exit_code)
    except MemoryError:
        return _say("out of memory; use a smaller model, or fewer or smaller images", FacectlError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except SystemExit as ended:  # Typer's way to end when it has said what a shell asked for
        result = ended.code
    if result == INTERRUPTED:
        return _say("interrupted", INTERRUPTED)
    return result if isinstance(result, int) else 0


def main() -> None:
    """Run the command line that the process was given, and exit.

    The process ends at once: everything is written by now, and the interpreter would spend a quarter of the time of one
    prediction on taking its modules down one by one. What libraries left to do then is done: TensorFlow and coremltools
    remove their temporary files.
    """
    gc.set_threshold(_GARBAGE)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended either way, nothing half-written stays behind
    _settle_streams()
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # a second one, while the first was said
        code = INTERRUPTED
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    atexit._run_exitfuncs()
    os._exit(code)


def _settle_streams() -> None:
    """Make the output UTF-8 in any locale, names in it that are no text escaped, and open what came closed."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # for the whole process
        else:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _usage(error: typer.TyperException) -> str:
    """Say a usage error in one line, with where to read more."""
    message = error.format_message()
    if message.startswith("No such option: -") and not message.startswith("No such option: --"):
        message += " (a file whose name begins with a dash goes after --)"
    if (context := getattr(error, "ctx", None)) is None:
        return message
    return one_line(f"{message.rstrip('.') + '.' * (message[-1] != '?')} See: {context.command_path} --help")


def _say(message: str, code: int) -> int:
    print(f"facectl: {message}", file=sys.stderr)
    return code
