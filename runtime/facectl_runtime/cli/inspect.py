"""`facectl inspect`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facectl_runtime.cli.options import (
    ChannelsOption,
    JsonOption,
    LabelsOption,
    MeanOption,
    ModelArgument,
    OutputOption,
    ResizeOption,
    ScaleOption,
    SizeOption,
    StdOption,
)
from facectl_runtime.errors import ModelError, UsageError

if TYPE_CHECKING:
    from facectl_runtime.spec import Adapter, ModelSpec


def inspect(
    model: ModelArgument,
    labels: LabelsOption = None,
    resize: ResizeOption = None,
    size: SizeOption = None,
    scale: ScaleOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    channels: ChannelsOption = None,
    output: OutputOption = None,
    write_spec: Annotated[
        Path | None,
        typer.Option("--write-spec", metavar="COPY", help="Of a model of others: write a copy that says all this."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a copy that is there.")] = False,
    json: JsonOption = False,
) -> int:
    """Show what a model says of itself. Exit code 4 where it is not the file that said so.

    A model of others, an .onnx or .tflite file, says nothing: --labels and the options after it do so for it, and
    --write-spec makes a copy that every command takes without them.
    """
    from facectl_runtime.description import description_of
    from facectl_runtime.engines.base import NoSpecError

    if force and not write_spec:
        raise UsageError("--force does nothing without --write-spec COPY; give that too, or leave it out")
    description = description_of(labels, resize, size, scale, mean, std, channels, output)
    if description.asked:
        from facectl_runtime.foreign import describe, write_copy

        spec = describe(model, description)
        _show(write_copy(model, spec, write_spec, force) if write_spec else spec, json)
        return 0
    if write_spec:
        raise UsageError("--write-spec writes what --labels and the options after it say; give them too")
    try:
        return _own(model, json)
    except NoSpecError:
        _bare(model, json)
        raise


def _own(model: Path, json: bool) -> int:
    """Show what a file of facectl's says of itself."""
    from facectl_runtime.engines import format_of
    from facectl_runtime.sources import display_name

    reader = format_of(model)
    spec = reader.read_spec(model)
    _show(spec, json)
    if not reader.intact(model, spec):
        what = "this is not the file that its spec was written into: damaged, or edited since; copy or export it again"
        typer.echo(f"facectl: {display_name(model)}: {what}", err=True)
        return ModelError.exit_code
    return 0


def _bare(model: Path, json: bool) -> None:
    """Show what is in a file of others, where anything here reads it."""
    from facectl_runtime.engines import format_of
    from facectl_runtime.foreign import contents
    from facectl_runtime.output import columns

    if format_of(model).inside is None:
        return
    found = contents(model)
    if json:
        _print_json(found)
        return
    rows = [("takes", f"{one.name}: {one}") for one in found.inputs]
    rows += [("gives", f"{one.name}: {one}") for one in found.outputs]
    weights = (f"{size:,} bytes of {name}" for name, size in found.weights.items())
    typer.echo(columns([*rows, ("weights", ", ".join(weights)), ("metadata", ", ".join(found.metadata) or "none")]))


def _show(spec: "ModelSpec", json: bool) -> None:
    from facectl_runtime.output import columns
    from facectl_runtime.spec import summary

    if json:
        _print_json(summary(spec))
    else:
        typer.echo(columns(_rows(spec)))


def _print_json(value: object) -> None:
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def _rows(spec: "ModelSpec") -> list[tuple[str, str]]:
    """Say each part of a spec that is there, by name."""
    metrics, rule = spec.metrics, spec.threshold
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
        accepts = _rate(rule.false_accept_rate, rule.false_accept_interval)
        rates = f"false accepts {accepts}, false rejects {_rate(rule.false_reject_rate, rule.false_reject_interval)}"
        rows.append(("threshold", f"{rule.score} {rule.value:.3f} ({rates})"))
    if spec.golden:
        rows.append(("golden", f"{len(spec.golden.images)} images, tolerance {spec.golden.tolerance:g}"))
    if spec.adapter:
        rows.append(("adapter", _adapter(spec.adapter)))
    return rows + _origin(spec)


def _adapter(adapter: "Adapter") -> str:
    """Say what the graph of a model of others is given, and what it gives."""
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (adapter.mean, adapter.std))
    takes = f"(pixel / {adapter.scale:g} - mean) / std, {adapter.layout}, {adapter.channels}"
    return f"{takes}; mean {mean}; std {std}; it gives {adapter.output}"


def _origin(spec: "ModelSpec") -> list[tuple[str, str]]:
    """Say where a model comes from, as far as it is known."""
    source = spec.provenance
    packages = ", ".join(f"{name} {version}" for name, version in source.packages.items())
    if source.data_fingerprint is None:
        file = f", of a file with SHA-256 {source.weights_sha256[:12]}" if source.weights_sha256 else ""
        return [("origin", f"a model of others, described {source.created}{file}"), ("packages", packages)]
    weights = f", weights {source.weights_sha256[:12]} ({source.weights_licence})" if source.weights_sha256 else ""
    return [
        ("recipe", f"{source.recipe}, seed {source.seed}, {source.created}"),
        ("backbone", source.backbone + weights),
        ("data", source.data_fingerprint[:12]),
        ("packages", packages),
    ]


def _rate(rate: float, interval: tuple[float, float] | None) -> str:
    return f"{rate:.2%}" + (f" [{interval[0]:.2%}, {interval[1]:.2%}]" if interval else "")


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
