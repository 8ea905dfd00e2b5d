"""The ladder: every variant of a recipe, one after the other, and a page that compares them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from facectl_runtime.errors import UsageError
from facectl_trainer.run import SPEC
from facectl_trainer.train import Job, train


def climb(jobs: Sequence[Job], out: Path, quiet: bool, verbose: bool) -> Path:
    """Train each job, and write and give `out`/compare.html.

    With `resume`, runs that are whole are kept and the first that is not is continued. Raises `UsageError` where the
    recipe has no variants.
    """
    from facectl_trainer.reports.compare import write_compare

    if not jobs:
        raise UsageError("--ladder trains a recipe's variants, and this recipe has none; leave it out")
    for job in jobs:
        whole = (job.out / SPEC).is_file()
        if job.resume and whole:
            continue
        begun = (job.out.parent / f"{job.out.name}.unfinished").exists()
        train(replace(job, resume=job.resume and begun), quiet, verbose)
    page = out / "compare.html"
    write_compare([job.out for job in jobs], page, force=True)
    return page
