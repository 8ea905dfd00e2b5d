"""`facectl inspect`."""

import typer

from facectl_runtime.cli.options import JsonOption, ModelArgument


def inspect(model: ModelArgument, json: JsonOption = False) -> None:
    """Show what a model says of itself."""
    import msgspec

    from facectl_runtime.engines import format_of
    from facectl_runtime.output import columns
    from facectl_runtime.spec import summary

    spec = format_of(model).read_spec(model)
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(summary(spec))).decode())
        return
    resize = msgspec.to_builtins(spec.input.resize)
    details = ", ".join(f"{key} {value}" for key, value in resize.items() if key != "kind")
    rows = [
        ("name", f"{spec.name}, {spec.task}, {spec.precision}"),
        (
            "input",
            f"uint8 RGB {spec.input.width} × {spec.input.height}, {resize['kind']}"
            + (f" ({details})" if details else ""),
        ),
        ("output", f"{spec.output.kind}, {spec.output.size}"),
    ]
    if spec.labels:
        rows.append(("labels", ", ".join(spec.labels)))
    if spec.metrics:
        low, high = spec.metrics.interval
        rows.append(
            ("accuracy", f"{spec.metrics.accuracy:.3f} on {spec.metrics.n} test images (95 %: {low:.3f} to {high:.3f})")
        )
    if spec.threshold:
        rule = spec.threshold
        rates = f"false accepts {rule.false_accept_rate:.2%}, false rejects {rule.false_reject_rate:.2%}"
        rows.append(("threshold", f"{rule.score} {rule.value:.3f} ({rates})"))
    if spec.golden:
        rows.append(("golden", f"{len(spec.golden.images)} images, tolerance {spec.golden.tolerance:g}"))
    source = spec.provenance
    rows += [
        ("recipe", f"{source.recipe}, seed {source.seed}, {source.created}"),
        (
            "backbone",
            source.backbone
            + (f", weights {source.weights_sha256[:12]} ({source.weights_licence})" if source.weights_sha256 else ""),
        ),
        ("data", source.data_fingerprint[:12]),
        ("packages", ", ".join(f"{name} {version}" for name, version in source.packages.items())),
    ]
    typer.echo(columns(rows))
