"""The ten people with most photographs in LFW: top-1 of the recipe and its variants, three seeds."""

from common import keep, spread, test_data, train
from facectl_runtime.output import columns

SEEDS = (0, 1, 2)
VARIANTS = {
    "plain": "InceptionV3, frozen, no copies",
    None: "InceptionV3, frozen, shifted and mirrored copies",
    "grid": "the best without weights trained on faces",
    "facenet": "FaceNet's features",
}


def main() -> None:
    """Train every variant on every seed, and print and keep the table."""
    data = test_data("lfw")
    rows = [("trained", "top-1", "spread", "n")]
    figures = {}
    for variant, what in VARIANTS.items():
        option = ("--variant", variant) if variant else ()
        results = [train("lfw10", "--data", data, *option, "--seed", seed) for seed in SEEDS]
        measured = spread([result["test"]["accuracy"] for result in results])
        figures[variant or "recipe"] = {"what": what, **measured, "n": results[0]["test"]["n"]}
        rows.append((what, f"{measured['mean']:.4f}", f"{measured['spread']:.4f}", str(results[0]["test"]["n"])))
    print(columns(rows, right=(1, 2, 3)))
    keep("lfw10", {"seeds": len(SEEDS), "variants": figures})


if __name__ == "__main__":
    main()
