"""Young, middle or old: the ladder of the recipe `age` and our best, three seeds."""

from common import keep, spread, test_data, train
from facectl_runtime.output import columns
from facectl_trainer.recipe import load_recipe, variants

SEEDS = (0, 1, 2)


def main() -> None:
    """Train every variant and the recipe itself on every seed, and print and keep the table."""
    data = test_data("age")
    rows = [("trained", "top-1", "spread", "n")]
    figures = {}
    for variant in (*variants("age"), None):
        option = ("--variant", variant) if variant else ()
        results = [train("age", "--data", data, *option, "--seed", seed) for seed in SEEDS]
        what = load_recipe("age", variant)[1].about
        measured = spread([result["test"]["accuracy"] for result in results])
        figures[variant or "recipe"] = {"what": what, **measured, "n": results[0]["test"]["n"]}
        rows.append((what, f"{measured['mean']:.4f}", f"{measured['spread']:.4f}", str(results[0]["test"]["n"])))
    print(columns(rows, right=(1, 2, 3)))
    keep("age", {"seeds": len(SEEDS), "variants": figures})


if __name__ == "__main__":
    main()
