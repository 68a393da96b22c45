"""The numbers of a section as text."""

from sid_assets.core.quality.section import count_text, decimal_text, percent_text


def test_shares_are_exact_only_where_they_say_so():
    shares = [None, 0, 0.0001, 0.8084, 0.9999, 1]
    shown = ["–", "0.0%", "<0.1%", "80.8%", ">99.9%", "100%"]
    assert [percent_text(share) for share in shares] == shown
    assert decimal_text(0.50312) == "0.503"
    assert count_text(17472) == "17,472"
