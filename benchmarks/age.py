"""Young, middle or old: the ladder of the recipe `age` and our best, three seeds."""

from common import test_data, variants_over_seeds
from facectl_trainer.recipe import load_recipe, variants

SEEDS = (0, 1, 2)


def main() -> None:
    """Train every variant and the recipe itself on every seed, and print and keep the table."""
    ladder = {variant: load_recipe("age", variant)[1].about for variant in (*variants("age"), None)}
    variants_over_seeds("age", test_data("age"), ladder, SEEDS)


if __name__ == "__main__":
    main()
