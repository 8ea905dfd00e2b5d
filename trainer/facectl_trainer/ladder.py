"""The ladder: every variant of a recipe, one after the other."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from facectl_runtime.errors import UsageError
from facectl_trainer.framework import forget_graphs
from facectl_trainer.run import SPEC, read_run
from facectl_trainer.train import Job, check, train
from facectl_trainer.unfinished import can_resume


def climb(jobs: Sequence[Job], quiet: bool, verbose: bool) -> None:
    """Train each job.

    With `resume`, runs that are whole are kept and the first that is not is continued. Raises `UsageError` where the
    recipe has no variants.
    """
    if not jobs:
        raise UsageError("--ladder trains a recipe's variants, and this recipe has none; leave it out")
    left = [job for job in jobs if not (job.resume and _is_whole(job))]
    for job in left:
        if (job.out / SPEC).is_file() and not job.force:
            raise UsageError(
                f"{job.out}: already there; --resume keeps it and trains what is missing, --force all anew"
            )
        check(job)
    for job in left:
        if not quiet:
            print(f"{job.name}: rung {jobs.index(job) + 1} of {len(jobs)}", file=sys.stderr)
        train(replace(job, resume=job.resume and can_resume(job.out)), quiet, verbose)
        forget_graphs()


def _is_whole(job: Job) -> bool:
    """Say whether a job's run is there. Raises `UsageError` where it is the run of another job."""
    if not (job.out / SPEC).is_file():
        return False
    run = read_run(job.out)
    made = run.spec.provenance
    if (made.recipe, made.seed) != (job.name, job.seed) or run.recipe.stages != job.recipe.stages:
        raise UsageError(
            f"{job.out}: was trained by {made.recipe} with seed {made.seed}, or by other stages; give another --out, "
            "or --force to train all anew"
        )
    return True
