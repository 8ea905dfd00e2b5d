"""`facectl predict`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from facectl_runtime.cli.options import (
    ChannelsOption,
    CsvOption,
    DeclaredTypesOption,
    DeviceOption,
    DrawOption,
    EndOption,
    EngineOption,
    EveryOption,
    ExcludeOption,
    ForceDrawOption,
    JsonlOption,
    JsonOption,
    LabelsOption,
    MeanOption,
    ModelArgument,
    OnChangeOption,
    OutputOption,
    QuietOption,
    ResizeOption,
    RetriesOption,
    SaveBytesOption,
    SaveLabelOption,
    SaveMostOption,
    SaveOption,
    ScaleOption,
    SizeOption,
    SourceArgument,
    StartOption,
    StdOption,
    ThreadsOption,
    TimeoutOption,
    engine_asked,
)

if TYPE_CHECKING:
    from facectl_runtime.description import Description
    from facectl_runtime.reading import Reading
    from facectl_runtime.spec import ModelSpec


def predict(
    model: ModelArgument,
    source: SourceArgument,
    topk: Annotated[int, typer.Option(min=1, help="How many labels an image.")] = 1,
    faces: Annotated[
        bool, typer.Option("--faces", help="Find the faces in each picture, and answer each of them.")
    ] = False,
    exclude: ExcludeOption = None,
    every: EveryOption = None,
    start: StartOption = None,
    end: EndOption = None,
    retries: RetriesOption = None,
    timeout: TimeoutOption = None,
    on_change: OnChangeOption = False,
    save: SaveOption = None,
    save_label: SaveLabelOption = None,
    save_most: SaveMostOption = None,
    save_bytes: SaveBytesOption = None,
    draw: DrawOption = None,
    force: ForceDrawOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    engine: EngineOption = "auto",
    declared_types: DeclaredTypesOption = False,
    labels: LabelsOption = None,
    resize: ResizeOption = None,
    size: SizeOption = None,
    scale: ScaleOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    channels: ChannelsOption = None,
    output: OutputOption = None,
    json: JsonOption = False,
    jsonl: JsonlOption = False,
    csv: CsvOption = False,
    quiet: QuietOption = False,
) -> int:
    """Name what is in images, videos, and what cameras see.

    Every image and frame gives a row, in the order of the sources; one that cannot be read gives a row with its error,
    and the exit code is then 3. Of a camera or a stream the newest frame is answered, until Ctrl-C. A file whose name
    begins with a dash goes after --.
    """
    from facectl_runtime.classifier import read_spec
    from facectl_runtime.cli.answering import Answering, Options, answer
    from facectl_runtime.devices import parse_device
    from facectl_runtime.errors import one_line
    from facectl_runtime.spec import FaceAlign

    asked, by = parse_device(device, threads), engine_asked(engine, declared_types)
    spec = read_spec(model, _described(labels, resize, size, scale, mean, std, channels, output))
    options = Options(
        exclude=exclude,
        every=every,
        start=start,
        end=end,
        retries=retries,
        timeout=timeout,
        on_change=on_change,
        save=save,
        save_label=save_label,
        save_most=save_most,
        save_bytes=save_bytes,
        draw=draw,
        force=force,
        json=json,
        jsonl=jsonl,
        csv=csv,
        quiet=quiet,
    )
    least = spec.threshold
    if faces and least and not isinstance(spec.input.resize, FaceAlign) and not quiet:
        said = "its threshold was measured on whole pictures, and faces are cut out otherwise: its rates are others"
        typer.echo(one_line(f"facectl: {model}: {said}"), err=True)
    reading = _reading(spec, topk, faces=faces)
    more = {"threshold": least.value, "threshold_score": least.score} if least else {}
    answering = Answering(model, spec, asked, by, reading, spec.labels, least is not None, topk, faces=faces, more=more)
    return answer(answering, source, options)


def _reading(spec: "ModelSpec", topk: int, *, faces: bool) -> "Reading[Any, Any]":
    if faces:
        from facectl_runtime.faces.read import by_labels, faces_in

        return faces_in(spec.input, by_labels(spec, topk))
    from facectl_runtime.classifier import whole

    return whole(spec, topk)


def _described(*words: Any) -> "Description | None":
    """Read what is said of a model of others, which hardly ever anything is."""
    if words.count(None) == len(words):
        return None
    from facectl_runtime.description import description_of

    return description_of(*words)
