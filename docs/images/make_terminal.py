"""Draw README's picture: the path on real photographs, as a terminal shows it. Argument: the folder of the animals.

Needs what `make test` installs; writes terminal.svg beside this file.
"""

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMANDS = [
    "facectl train zoo --data zoo --quiet",
    "facectl export runs/zoo --format onnx,tflite --quantize fp32,int8 --quiet",
    "facectl verify runs/zoo/export/zoo*.onnx runs/zoo/export/zoo*.tflite",
    "facectl predict runs/zoo/export/zoo.int8.onnx zoo/llama --topk 2 | head -6",
]


def main() -> None:
    """Run the commands and draw what they print."""
    console = Console(record=True, width=132, file=io.StringIO(), force_terminal=True)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "zoo").symlink_to(Path(sys.argv[1]).resolve())
        for command in COMMANDS:
            console.print(Text(f"$ {command}", style="bold green"))
            arguments = ["/bin/bash", "-c", command]
            environment = {"PATH": path, "HOME": folder}
            done = subprocess.run(arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True)
            # The SVG drops the blanks that a line begins with, unless they are of the kind that does not break.
            console.print(Text(done.stdout.decode().replace(" ", "\N{NO-BREAK SPACE}")))
    console.save_svg(str(Path(__file__).with_name("terminal.svg")), title="facectl")


if __name__ == "__main__":
    main()
