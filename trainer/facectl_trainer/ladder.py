"""The ladder: every variant of a recipe, one after the other."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from facectl_runtime.errors import UsageError
from facectl_trainer.framework import forget_graphs
from facectl_trainer.job import Job, Trained
from facectl_trainer.recipe import Recipe
from facectl_trainer.reports.results import read_metrics
from facectl_trainer.run import SPEC, read_run
from facectl_trainer.train import check, train
from facectl_trainer.unfinished import can_resume


def climb(jobs: Sequence[Job], quiet: bool, verbose: bool) -> list[Trained]:
    """Train each job, and give what was done of those that were not whole already.

    With `resume`, runs that are whole are kept and the first that is not is continued. Raises `UsageError` where the
    recipe has no variants.
    """
    if not jobs:
        raise UsageError("--ladder trains a recipe's variants, and this recipe has none; leave it out")
    for folder in {job.out.parent for job in jobs}:
        if (folder / SPEC).is_file():
            raise UsageError(f"{folder}: is a run folder, and the rungs' folders would lie in it; give another --out")
    left = [job for job in jobs if not (job.resume and _is_whole(job))]
    for job in left:
        if (job.out / SPEC).is_file() and not job.force:
            raise UsageError(
                f"{job.out}: already there; --resume keeps it and trains what is missing, --force all anew"
            )
        check(job)
    trained = []
    for job in left:
        if not quiet:
            print(f"{job.name}: rung {jobs.index(job) + 1} of {len(jobs)}", file=sys.stderr)
        trained.append(train(replace(job, resume=job.resume and can_resume(job.out)), quiet, verbose))
        forget_graphs()
    return trained


def _is_whole(job: Job) -> bool:
    """Say whether a job's run is there. Raises `UsageError` where it is the run of another job."""
    if not (job.out / SPEC).is_file():
        return False
    run = read_run(job.out)
    made, metrics = run.spec.provenance, read_metrics(job.out, run.spec.labels)
    keys = [key for key in Recipe.__struct_fields__ if key != "about" and (key != "weights" or job.recipe.weights)]
    begun_from = metrics.begun_from and metrics.begun_from.rpartition(", ")[0]
    facts = {
        "recipe": (made.recipe, job.name),
        "seed": (made.seed, job.seed),
        "fold": (metrics.fold, job.fold and str(job.fold)),
        "run to begin from": (begun_from, job.start and str(job.start)),
        "data folder": (run.split.root, str(job.data.resolve())),
        **{f"recipe's {key}": (getattr(run.recipe, key), getattr(job.recipe, key)) for key in keys},
    }
    if other := [name for name, (before, now) in facts.items() if before != now]:
        raise UsageError(
            f"{job.out}: was trained with another {', '.join(other)}; give what was given then, another --out, or "
            "--force in place of --resume to train all anew"
        )
    return True
