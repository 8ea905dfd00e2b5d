"""`facectl doctor`."""

import typer

from facectl_runtime.cli.options import JsonOption


def doctor(json: JsonOption = False) -> int:
    """Say what is installed, whether it starts, which devices there are, and the command that brings what is missing.

    Exit code 1 where something is broken; what is missing breaks nothing.
    """
    import msgspec

    from facectl_runtime.doctor import examine
    from facectl_runtime.errors import FacectlError, one_line
    from facectl_runtime.output import columns

    report = examine()
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report.fields())).decode())
    else:
        rows = [
            (finding.state, finding.what, f"{finding.detail}: {finding.cure}" if finding.cure else finding.detail)
            for finding in report.findings
        ]
        typer.echo(columns([tuple(map(one_line, row)) for row in rows]))
    return 0 if report.consistent else FacectlError.exit_code
