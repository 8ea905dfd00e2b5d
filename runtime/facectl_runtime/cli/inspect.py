"""`facectl inspect`."""

from typing import TYPE_CHECKING

import typer

from facectl_runtime.cli.options import JsonOption, ModelArgument
from facectl_runtime.errors import ModelError

if TYPE_CHECKING:
    from facectl_runtime.spec import ModelSpec


def inspect(model: ModelArgument, json: JsonOption = False) -> int:
    """Show what a model says of itself. Exit code 4 where it is not the file that said so."""
    import msgspec

    from facectl_runtime.engines import format_of
    from facectl_runtime.output import columns
    from facectl_runtime.sources import display_name
    from facectl_runtime.spec import summary

    reader = format_of(model)
    spec = reader.read_spec(model)
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(summary(spec))).decode())
    else:
        typer.echo(columns(_rows(spec)))
    if not reader.intact(model, spec):
        what = "this is not the file that its spec was written into: damaged, or edited since; copy or export it again"
        typer.echo(f"facectl: {display_name(model)}: {what}", err=True)
        return ModelError.exit_code
    return 0


def _rows(spec: "ModelSpec") -> list[tuple[str, str]]:
    """Say each part of a spec that is there, by name."""
    source, metrics, rule = spec.provenance, spec.metrics, spec.threshold
    rows = [
        ("name", f"{spec.name}, {spec.task}, {spec.precision}{_gate(spec)}"),
        ("input", f"uint8 RGB {spec.input.width} × {spec.input.height}, {_resize(spec)}"),
        ("output", f"{spec.output.kind}, {spec.output.size}"),
    ]
    if spec.labels:
        rows.append(("labels", ", ".join(spec.labels)))
    if metrics:
        low, high = metrics.interval
        rows.append(("accuracy", f"{metrics.accuracy:.3f} on {metrics.n} test images (95 %: {low:.3f} to {high:.3f})"))
    if rule:
        rates = f"false accepts {rule.false_accept_rate:.2%}, false rejects {rule.false_reject_rate:.2%}"
        rows.append(("threshold", f"{rule.score} {rule.value:.3f} ({rates})"))
    if spec.golden:
        rows.append(("golden", f"{len(spec.golden.images)} images, tolerance {spec.golden.tolerance:g}"))
    weights = f", weights {source.weights_sha256[:12]} ({source.weights_licence})" if source.weights_sha256 else ""
    return [
        *rows,
        ("recipe", f"{source.recipe}, seed {source.seed}, {source.created}"),
        ("backbone", source.backbone + weights),
        ("data", source.data_fingerprint[:12]),
        ("packages", ", ".join(f"{name} {version}" for name, version in source.packages.items())),
    ]


def _gate(spec: "ModelSpec") -> str:
    said = {
        "degraded": "; degraded: it does not answer as the trained model does",
        "unverified": "; unverified: it was never run where it was exported",
    }
    return said.get(spec.gate or "", "")


def _resize(spec: "ModelSpec") -> str:
    import msgspec

    parameters = msgspec.to_builtins(spec.input.resize)
    kind = parameters.pop("kind")
    details = ", ".join(f"{key} {value}" for key, value in parameters.items())
    return f"{kind} ({details})" if details else str(kind)
