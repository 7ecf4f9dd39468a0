"""Medians, pairs, and what the tables look like."""
from .measure import Result
from .rows import Case, Figure, Row
from .table import Cell, as_data, cell_of, columns_of, group_table, markdown, number, remarks, report, show

CPU = Figure("cpu", "CPU µs", "≤ 1.2 × limit")


def results(*values, **more):
    """A result a value; None stands for a run that failed."""
    return [Result(fault="lost") if value is None else Result({"cpu": value}, **more) for value in values]


def row(name, *cases, figures=(CPU,)):
    """A row of the group main."""
    return Row("main", name, "what " + name, "events", {}, tuple(Case(case, case) for case in cases), figures)


def test_numbers_have_three_digits_that_count():
    assert [number(value) for value in (0, 0.104, 3.7, 9.999, 12.34, 99.95, 123.4, 12345.6)] \
        == ["0", "0.10", "3.70", "10.00", "12.3", "100.0", "123", "12,346"]


def test_ratios_are_taken_pair_by_pair():
    cell = cell_of(CPU, results(6.0, 9.0, 4.0), results(3.0, 3.0, 4.0))
    assert cell == Cell((6.0, 9.0, 4.0), (2.0, 3.0, 1.0), 3)
    assert show(cell) == "6.00 (2.00 ×, 1.00–3.00)"


def test_the_median_ratio_is_not_the_ratio_of_medians():
    cell = cell_of(CPU, results(1.0, 4.0, 9.0), results(1.0, 1.0, 6.0))
    assert show(cell) == "4.00 (1.50 ×, 1.00–4.00)"


def test_a_failed_run_has_no_pair():
    cell = cell_of(CPU, results(None, 9.0, 4.0), results(3.0, None, 2.0))
    assert cell == Cell((9.0, 4.0), (2.0,), 3)
    assert show(cell) == "6.50 (2.00 ×, 2.00–2.00), 1 of 3 failed"


def test_nothing_is_divided_by_nothing():
    assert cell_of(CPU, results(1.0), results(0.0)).ratios == ()


def test_the_reference_has_no_ratio():
    reference = results(1.0, 3.0)
    assert show(cell_of(CPU, reference, reference)) == "2.00"


def test_a_figure_is_shown_in_its_unit():
    assert cell_of(Figure("cpu", "ms", factor=1e-3), results(2000.0), results(1000.0)) == Cell((2.0,), (2.0,), 1)


def test_what_failed_what_cannot_and_what_is_doubted_shows():
    assert show(cell_of(CPU, results(None, None), results(1.0, 1.0))) == "failed"
    assert show(cell_of(CPU, [Result(unable=True)], results(1.0))) == "–"
    assert show(None) == "–"
    assert show(cell_of(CPU, results(2.0, doubt="slow"), results(1.0))) == "2.00 (2.00 ×, 2.00–2.00) (!)"


def test_markdown_is_laid_out():
    assert markdown(["a", "bcd"], [["12", "3"]]) == "| a  | bcd |\n| -- | --- |\n| 12 | 3   |"


def test_columns_keep_the_order_of_the_longest_row():
    assert columns_of([row("x", "limit", "bridge", "nats"), row("y", "limit", "join", "bridge", "nats")]) \
        == ["limit", "join", "bridge", "nats"]


def test_a_group_is_one_table():
    rows = [row("x", "limit", "bridge"), row("y", "bridge", figures=(Figure("cpu", "µs"),))]
    outcomes = {"x": {"limit": results(2.0), "bridge": results(3.0)}, "y": {"bridge": results(5.0)}}
    assert group_table(rows, outcomes).splitlines() == [
        "| row | what   | figure | limit | bridge                   | goal          |",
        "| --- | ------ | ------ | ----- | ------------------------ | ------------- |",
        "| x   | what x | CPU µs | 2.00  | 3.00 (1.50 ×, 1.50–1.50) | ≤ 1.2 × limit |",
        "| y   | what y | µs     | –     | 5.00                     | –             |"]


def test_what_went_wrong_is_said_below():
    rows = [row("x", "limit", "bridge")]
    outcomes = {"x": {"limit": results(2.0, None), "bridge": results(3.0, 4.0, doubt="too slow")}}
    said = ["- x, limit, repeat 2: failed: lost", "- x, bridge, repeat 1: (!) too slow", "- x, bridge, repeat 2: (!) too slow"]
    assert remarks(rows, outcomes) == said
    assert report(rows, outcomes).startswith("### Against the limit\n\n| row ")
    assert report(rows, outcomes).endswith("|\n\n" + "\n".join(said))


def test_raw_figures_are_all_there():
    data, = as_data([row("x", "limit", "bridge")], {"x": {"limit": results(2.0), "bridge": results(3.0)}})
    assert data["figures"][0]["cases"] == {"limit": {"values": (2.0,), "ratios": ()},
                                           "bridge": {"values": (3.0,), "ratios": (1.5,)}}
    assert data["runs"]["bridge"] == [{"figures": {"cpu": 3.0}, "unable": False, "fault": "", "doubt": ""}]
