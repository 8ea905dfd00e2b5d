"""The ten people with most photographs in LFW: top-1 of the recipe and its variants, three seeds."""

from common import test_data, variants_over_seeds

SEEDS = (0, 1, 2)
VARIANTS: dict[str | None, str] = {
    "plain": "InceptionV3, frozen, no copies",
    None: "InceptionV3, frozen, shifted and mirrored copies",
    "grid": "the best without weights trained on faces",
    "facenet": "FaceNet's features",
}


def main() -> None:
    """Train every variant on every seed, and print and keep the table."""
    variants_over_seeds("lfw10", test_data("lfw"), VARIANTS, SEEDS)


if __name__ == "__main__":
    main()
