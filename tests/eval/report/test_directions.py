"""Reports of texts that run from right to left."""

from eval.report.blocks import Document, Sample, Samples, Section
from eval.report.html import html_page
from eval.report.markdown import markdown


def test_texts_from_right_to_left_have_their_direction_and_are_isolated_in_lines() -> None:
    parts = (
        ("Source", "uig_Arab", "\u0626\u06c7 %s"),
        ("Output", "ar", "\u0645 x"),
        ("Reference text", "zh", "\u5929"),
    )
    sample = Sample("a:1", parts, "Cosine")
    document = Document("t", "v", (), (Section("s", (Samples((sample,)),)),))
    page = html_page(document)
    assert '<dd lang="ug-Arab" dir="rtl">\u0626\u06c7 %s</dd>' in page and '<dd lang="ar" dir="rtl">' in page
    assert '<dd lang="zh-Hans" dir="auto">\u5929</dd>' in page
    text = markdown(document)
    assert "\u2068\u0626\u06c7 %s\u2069" in text and "\u2068\u5929" not in text
