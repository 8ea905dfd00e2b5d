"""Fonts: Pillow's own, and where a text has characters that it lacks, one of the system's."""

from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Of Linux, macOS and Windows: the alphabets of Europe and the Near East first, then those with the most characters.
_NAMES = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "segoeui.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "DroidSansFallbackFull.ttf",
    "DroidSansFallback.ttf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "Hiragino Sans GB.ttc",
    "msyh.ttc",
    "meiryo.ttc",
    "malgun.ttf",
    "Nirmala.ttf",
    "LeelawUI.ttf",
)
_NEVER = "\uffff"  # no character, so that every font shows what it shows for one that it lacks
_LOOKED_AT = 24  # pixels


@lru_cache(maxsize=256)
def fitting(text: str, size: int) -> tuple[Font, str]:
    """Give a font of `size` pixels that has the characters of `text`, and `text`, with `?` for what none has."""
    best, lacking = "", _lacking("", text)
    for name in _NAMES:
        if not lacking:
            break
        if _opened(name, _LOOKED_AT) is not None and len(fewer := _lacking(name, text)) < len(lacking):
            best, lacking = name, fewer
    font = _opened(best, size)
    assert font is not None
    return font, "".join("?" if character in lacking else character for character in text)


def _lacking(name: str, text: str) -> set[str]:
    return {character for character in text if _lacks(name, character)}


@lru_cache(maxsize=64)
def _opened(name: str, size: int) -> Font | None:
    """Open a font of the system by the name of its file, or Pillow's own (an empty name); None where it is not here."""
    if not name:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _lacks(name: str, character: str) -> bool:
    font = _opened(name, _LOOKED_AT)
    assert font is not None
    shown, never = font.getmask(character), font.getmask(_NEVER)
    return not character.isspace() and shown.size == never.size and bytes(shown) == bytes(never)
