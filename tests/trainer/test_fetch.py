"""A public set comes whole, with the right digest and within bounds, or not at all."""

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from facectl_trainer import transfer
from facectl_trainer.data import fetch as fetching
from facectl_trainer.data import public_sets
from facectl_trainer.data.public_sets import PublicSet, Remote
from facectl_trainer.data.unpack import Bounds
from loopback import serve

pytest.importorskip("requests")

JPEG = b"\xff\xd8\xff photograph "
PAIRS = b"1\t2\nAda\t1\t2\n"
MEMBERS = {
    "top/Ada/Ada_0001.jpg": JPEG + b"1",
    "top/Ada/Ada_0002.JPG": JPEG + b"2",
    "top/Bob/Bob_0001.jpg": JPEG + os.urandom(100_000),
}


def entry(name, **changes):
    info = tarfile.TarInfo(name)
    for key, value in changes.items():
        setattr(info, key, value)
    return info


def tgz(members, *special):
    """Pack files, and then entries of other kinds, each with its content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in members.items():
            tar.addfile(entry(name, size=len(content)), io.BytesIO(content))
        for info in special:
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return file.getvalue()


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, content in members.items():
            pack.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def site():
    with serve() as site:
        yield site


@pytest.fixture
def offer(site, monkeypatch):
    """Give a function that puts an archive on the server as a set of the name given."""

    def offer(archive, name="lfw", inner=None, size=None, texts=(), url=None):
        def remote(file, content, size=0):
            return Remote(file, url or site.put(f"/{file}", content), hashlib.sha256(content).hexdigest(), size)

        files = tuple(remote(file, content) for file, content in texts)
        packed = remote("set.tgz", archive, len(archive) if size is None else size)
        wanted = PublicSet(name, "Faces", "http://page", "CC BY 4.0", packed, "top", 3, 2, "zoo", inner, files)
        monkeypatch.setitem(public_sets.PUBLIC_SETS, name, wanted)
        return wanted

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    return offer


@pytest.fixture
def refused(facectl, tmp_path):
    """Give a function that fetches in vain, and gives the line said after the terms; nothing may stand at the place."""

    def refused(code=1, to="lfw", name="lfw", left=()):
        ran = facectl("data", "fetch", name, "--to", tmp_path / to, "--quiet")
        assert (ran.code, ran.out) == (code, "")
        assert "Traceback" not in ran.err
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(left)
        return ran.err.splitlines()[-1].removeprefix("facectl: ")

    return refused


def test_a_set_is_fetched_ready_for_training(facectl, offer, tmp_path, tree):
    extra = {
        "top/Ada/notes.txt": b"no",
        "top/pairs_01.txt": b"no",
        "top/Ada/.hidden.jpg": b"no",
        "else/Eve/1.jpg": b"no",
    }
    folders = [entry("top/Ada", type=tarfile.DIRTYPE), entry("top", type=tarfile.DIRTYPE)]
    offer(tgz(MEMBERS | extra, *folders), texts=[("pairs.txt", PAIRS)])
    to = tmp_path / "a b" / "lfw"
    ran = facectl("data", "fetch", "lfw", "--to", to)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [
        f"{to}: 3 photographs in 2 folders, one a class",
        f"next: facectl train zoo --data '{to}'",
    ]
    assert ran.err.startswith("Faces\n  source: http://page\n  terms: CC BY 4.0\n")
    assert "unpacking: 3 in" in ran.err
    assert tree(to) == {name.removeprefix("top/"): content for name, content in MEMBERS.items()} | {"pairs.txt": PAIRS}
    assert [path.name for path in to.parent.iterdir()] == ["lfw"]


def test_a_tar_within_a_zip(facectl, offer, tmp_path, tree):
    pack = zipped({"in/set.tar.gz": tgz(MEMBERS), "../evil.jpg": JPEG, "in/Annotations.tar": b"not wanted"})
    offer(pack, "caltech101", inner="in/set.tar.gz")
    ran = facectl("data", "fetch", "caltech101", "--to", tmp_path / "c", "--quiet", "--json")
    assert ran.code == 0
    assert (ran.json()["images"], ran.json()["classes"], ran.json()["to"]) == (3, 2, str(tmp_path / "c"))
    assert ran.err == "Faces\n  source: http://page\n  terms: CC BY 4.0\n"  # --quiet does not hide them
    assert list(tree(tmp_path)) == ["c/" + name.removeprefix("top/") for name in MEMBERS]


def test_the_sets_there_are(facectl):
    ran = facectl("data", "fetch", "--list")
    assert (ran.code, ran.err) == (0, "")
    assert "CC BY 4.0" in ran.out
    rows = facectl("data", "fetch", "--list", "--json").json()
    assert [(row["set"], row["images"]) for row in rows] == [("lfw", 13233), ("caltech101", 9144)]
    assert all(len(row["sha256"]) == 64 and row["terms"] for row in rows)


def test_a_download_that_broke_off_goes_on(refused, facectl, offer, site, tmp_path):
    offer(tgz(MEMBERS | {"top/Bob/long.jpg": JPEG + os.urandom(1_000_000)}))
    site.cuts = [500_000, 0, 0]
    assert "the connection broke after" in refused(left=["lfw.set.tgz.part", "lfw.set.tgz.part.tag"])
    ran = facectl("data", "fetch", "lfw", "--to", tmp_path / "lfw", "--quiet")
    assert ran.code == 0
    assert site.asked[-1][1].startswith("bytes=4")
    assert [path.name for path in tmp_path.iterdir()] == ["lfw"]


def test_a_wrong_digest(refused, offer, site):
    archive = tgz(MEMBERS)
    wanted = offer(archive)
    site.files["/set.tgz"] = archive[:-1] + b"!"
    said = refused()
    assert wanted.archive.sha256 in said
    assert "127.0.0.1: sent another set.tgz" in said


def test_a_wrong_digest_of_a_text(refused, offer, site):
    offer(tgz(MEMBERS), texts=[("pairs.txt", PAIRS)])
    site.files["/pairs.txt"] = b"other"
    assert "sent another pairs.txt" in refused()
    assert [path for path, _ in site.asked] == ["/pairs.txt"]


def link(kind, name="top/Ada/Ada_0003.jpg"):
    return entry(name, type=kind, linkname="/etc/passwd")


EVIL = [
    (tgz(MEMBERS, entry("top/../../evil.jpg")), "no path below it"),
    (tgz(MEMBERS, entry("/tmp/evil.jpg")), "no path below it"),
    (tgz(MEMBERS, entry("top\\..\\evil.jpg")), "no path below it"),
    (tgz(MEMBERS, entry("top/Ada/a\nb.jpg")), r"'top/Ada/a\\nb.jpg' in the archive is no path"),
    (tgz(MEMBERS, link(tarfile.SYMTYPE)), "is a link or a device"),
    (tgz(MEMBERS, link(tarfile.SYMTYPE, "elsewhere")), "is a link or a device"),
    (tgz(MEMBERS, link(tarfile.LNKTYPE)), "is a link or a device"),
    (tgz(MEMBERS, link(tarfile.CHRTYPE)), "is a link or a device"),
    (tgz(MEMBERS, link(tarfile.FIFOTYPE)), "is a link or a device"),
    (tgz(MEMBERS, entry("top/Ada/big.jpg", size=300_000)), "big.jpg' in the archive has 300000 bytes; 200000 are"),
    (tgz(MEMBERS, entry("else/big", size=300_000)), "has 300000 bytes"),
    (tgz(MEMBERS, *[entry(f"top/Ada/{n}.jpg", size=190_000) for n in range(3)]), "more than the 500000 bytes"),
    (tgz(MEMBERS, *[entry(f"top/Ada/{n}.jpg") for n in range(20)]), "more than the 20 entries"),
    (tgz(MEMBERS, entry("top/Ada/Ada_0001.jpg")), "'Ada/Ada_0001.jpg' is in the archive twice"),
    (tgz({"top/" + "x" * 2_000_000: b""}), "a header of 2000384 bytes"),
    (tgz({"top/notes.txt": b""}), "no images in folders below top"),
    (tgz(MEMBERS)[:-50_000], "damaged"),
    (b"neither tar nor zip", "damaged"),
    (b"", "damaged"),
]


@pytest.mark.parametrize(("archive", "words"), EVIL, ids=[words for _, words in EVIL])
@pytest.mark.parametrize("inner", [None, "set.tar.gz"])
def test_an_archive_that_is_not_what_it_should_be(refused, offer, monkeypatch, archive, words, inner):
    monkeypatch.setattr(fetching, "BOUNDS", Bounds(entries=20, file_bytes=200_000, total_bytes=500_000))
    offer(zipped({inner: archive}) if inner else archive, inner=inner)
    said = refused()
    assert words in said
    assert "its page is http://page" in said


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (zipped({"other": b""}), "the archive has no set.tar.gz"),
        (zipped({"set.tar.gz": bytes(3_000_000)}), "set.tar.gz has 3000000 bytes; at most 2000000"),
        (zipped({"set.tar.gz": tgz(MEMBERS)})[:-100], "damaged"),
        (tgz(MEMBERS), "damaged"),
    ],
)
def test_a_zip_that_is_not_what_it_should_be(refused, offer, monkeypatch, archive, words):
    monkeypatch.setattr(fetching, "BOUNDS", Bounds(total_bytes=2_000_000))
    offer(archive, inner="set.tar.gz")
    assert words in refused()


def test_a_server_that_is_down(refused, offer):
    offer(tgz(MEMBERS), url="http://127.0.0.1:9/set.tgz")
    assert refused().endswith("127.0.0.1: cannot be reached; run it again, which goes on where it broke off")


def test_a_server_that_has_lost_it(refused, offer, site):
    offer(tgz(MEMBERS))
    site.files.clear()
    assert refused() == "lfw was not fetched: 127.0.0.1: answers 404 Not Found; its page is http://page"


def test_what_is_there_is_left_alone(refused, facectl, offer, site, tmp_path):
    offer(tgz(MEMBERS))
    (tmp_path / "lfw").mkdir()
    (tmp_path / "lfw" / "mine.txt").write_text("precious")
    assert "already there; give another --to" in refused(2, left=["lfw"])
    assert facectl("data", "fetch", "lfw", "--to", tmp_path / "lfw").error()  # and nothing else
    assert site.asked == []
    assert (tmp_path / "lfw" / "mine.txt").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_may_not_be_written(refused, offer, site, tmp_path):
    offer(tgz(MEMBERS))
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "cannot be written" in refused(1, to="closed/lfw", left=["closed"])
    assert site.asked == []


def test_a_place_below_a_file(refused, offer, site, tmp_path):
    offer(tgz(MEMBERS))
    (tmp_path / "file").touch()
    assert "cannot be written" in refused(1, to="file/lfw", left=["file"])
    assert site.asked == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["LFV", "--to", "x"], "'LFV' is no public set; did you mean 'lfw'?; there are lfw, caltech101"),
        (["lfw"], "--to is missing: give the folder to make, such as --to photos/lfw"),
        (["--to", "x"], "which set? there are lfw, caltech101; --list shows their terms"),
    ],
)
def test_what_is_asked_for_wrongly(facectl, words, said):
    ran = facectl("data", "fetch", *words)
    assert ran.code == 2
    assert ran.error() == said


def test_interrupted_while_unpacking(refused, facectl, offer, site, monkeypatch, tmp_path):
    offer(tgz(MEMBERS))

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetching, "unpack", interrupt)
        assert refused(130, left=["lfw.set.tgz.part", "lfw.set.tgz.part.tag"]) == "interrupted"
    assert facectl("data", "fetch", "lfw", "--to", tmp_path / "lfw", "--quiet").code == 0
    assert len(site.asked) == 1  # the archive was whole


def test_two_at_once(offer, site, tmp_path):
    wanted = offer(tgz(MEMBERS))
    site.pause = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(fetching.fetch, wanted, tmp_path / "lfw", quiet=True)
        while not site.asked:
            assert not first.done(), first.result()
        second = pool.submit(fetching.fetch, wanted, tmp_path / "lfw", quiet=True)
        with pytest.raises(TimeoutError):
            second.result(0.2)
        site.pause.set()
        assert first.result(30) == second.result(30) == fetching.Fetched(3, 2)
    assert len(site.asked) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["lfw"]


def test_a_full_disk_while_unpacking(refused, offer, monkeypatch):
    import facectl_trainer.data.unpack as unpacking

    def full(_file, path, _chunk):
        raise transfer.unwritable(path, OSError(28, "No space left on device"))

    offer(tgz(MEMBERS))
    monkeypatch.setattr(unpacking, "write", full)
    said = refused(1, left=["lfw.set.tgz.part", "lfw.set.tgz.part.tag"])
    assert "cannot be written (No space left on device); make room, or give another folder with --to" in said


def test_the_pins_are_those_of_scikit_learn():
    lfw = pytest.importorskip("sklearn.datasets._lfw")
    found = public_sets.PUBLIC_SETS["lfw"]
    pinned = {(file.filename, file.url, file.checksum) for file in (lfw.FUNNELED_ARCHIVE, *lfw.TARGETS)}
    assert {(file.name, file.url, file.sha256) for file in (found.archive, *found.texts)} == pinned
