"""Public sets of photographs that can be fetched: where they are, what their bytes are, and on what terms."""

from dataclasses import dataclass

from facectl_runtime.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Remote:
    """One file on a server."""

    name: str
    url: str
    sha256: str
    size: int = 0
    """In bytes; 0 where nobody has said."""


@dataclass(frozen=True)
class PublicSet:
    """Photographs in an archive that holds a folder a class."""

    name: str
    title: str
    page: str
    """Where it is described."""
    terms: str
    """The licence, or what stands in its place, and whom to name."""
    archive: Remote
    """A `.tar.gz`, or a zip with one in it."""
    top: str
    """The folder in the archive that holds the class folders."""
    images: int
    classes: int
    recipe: str
    """What `facectl train` begins with on it."""
    inner: str | None = None
    """Of a zip: the `.tar.gz` in it that holds the photographs."""
    texts: tuple[Remote, ...] = ()
    """Files put beside the class folders."""


_FIGSHARE = "https://ndownloader.figshare.com/files"

# The digests are those that scikit-learn pins, and TensorFlow Datasets for Caltech 101.
_LFW = PublicSet(
    name="lfw",
    title="Labeled Faces in the Wild, funneled (Huang, Ramesh, Berg & Learned-Miller 2007)",
    page="http://vis-www.cs.umass.edu/lfw/",
    terms="no licence is stated by the University of Massachusetts; photographs of the press, used for research by "
    "convention",
    archive=Remote(
        "lfw-funneled.tgz",
        f"{_FIGSHARE}/5976015",
        "b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a",
        243_346_528,
    ),
    top="lfw_funneled",
    images=13_233,
    classes=5_749,
    recipe="lfw10",
    texts=(
        Remote(
            "pairsDevTrain.txt",
            f"{_FIGSHARE}/5976012",
            "1d454dada7dfeca0e7eab6f65dc4e97a6312d44cf142207be28d688be92aabfa",
        ),
        Remote(
            "pairsDevTest.txt",
            f"{_FIGSHARE}/5976009",
            "7cb06600ea8b2814ac26e946201cdb304296262aad67d046a16a7ec85d0ff87c",
        ),
        Remote(
            "pairs.txt",
            f"{_FIGSHARE}/5976006",
            "ea42330c62c92989f9d7c03237ed5d591365e89b3e649747777b70e692dc1592",
        ),
    ),
)
_CALTECH101 = PublicSet(
    name="caltech101",
    title="Caltech 101: 101 kinds of objects, and a folder of anything else",
    page="https://data.caltech.edu/records/mzrjq-6wc02",
    terms="CC BY 4.0; name Li, Andreeto, Ranzato & Perona, Caltech 101 (2022), doi:10.22002/D1.20086",
    archive=Remote(
        "caltech-101.zip",
        "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip?download=1",
        "331234750fc7f77520e50d9565e8b6907b03565e30320da1401130db08c61f91",
        137_414_764,
    ),
    top="101_ObjectCategories",
    images=9_144,
    classes=102,
    recipe="zoo",
    inner="caltech-101/101_ObjectCategories.tar.gz",
)
PUBLIC_SETS = {found.name: found for found in (_LFW, _CALTECH101)}


def public_set(name: str) -> PublicSet:
    """Give the set of that name. Raises `UsageError` where there is none."""
    if name not in PUBLIC_SETS:
        meant = did_you_mean(name.lower(), PUBLIC_SETS)
        raise UsageError(f"{name!r} is no public set{meant}; there are {', '.join(PUBLIC_SETS)}")
    return PUBLIC_SETS[name]
