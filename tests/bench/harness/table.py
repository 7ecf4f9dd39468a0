"""Figures from results, and tables from figures. Nothing here judges: goals stand beside what was measured."""
import dataclasses
import statistics

HEADS = {"main": "Against the limit", "more": "Sizes and storms", "variants": "The bridge, and the bridge changed in one thing",
         "growth": "Growth", "fairness": "Fairness", "emitting": "Runtimes that emit"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One figure of one case over all repeats; `ratios` are to the row's first case, pair by pair."""
    values: tuple
    ratios: tuple
    runs: int
    doubted: bool = False


def cell_of(figure, results, reference):
    """`results` and `reference`: of one case and of the first, one a repeat, in the same order. None: it cannot."""
    if all(result.unable for result in results):
        return None
    pairs = [(result.figures[figure.key] * figure.factor, base.figures.get(figure.key, 0) * figure.factor)
             for result, base in zip(results, reference) if result.figures]
    ratios = () if results is reference else tuple(value / base for value, base in pairs if base > 0)
    return Cell(tuple(value for value, _ in pairs), ratios, len(results), any(result.doubt for result in results))


def number(value):
    """Three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def show(cell):
    """The median, the median ratio and its spread: `4.91 (1.33 ×, 1.28–1.39)`."""
    if cell is None:
        return "–"
    if not cell.values:
        return "failed"
    text = number(statistics.median(cell.values))
    if cell.ratios:
        text += f" ({statistics.median(cell.ratios):.2f} ×, {min(cell.ratios):.2f}–{max(cell.ratios):.2f})"
    if cell.doubted:
        text += " (!)"
    failed = cell.runs - len(cell.values)
    return text + (f", {failed} of {cell.runs} failed" if failed else "")


def markdown(head, lines):
    """A Markdown table, its columns as wide as they need."""
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    rows = [head, ["-" * width for width in widths], *lines]
    return "\n".join("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |" for row in rows)


def columns_of(rows):
    """The names of all cases, in the order of the rows that have most."""
    longest_first = sorted(rows, key=lambda row: -len(row.cases))
    return list(dict.fromkeys(case.name for row in longest_first for case in row.cases))


def cells_of(row, figure, outcome):
    """{case name: Cell}."""
    reference = outcome[row.cases[0].name]
    return {case.name: cell_of(figure, outcome[case.name], reference) for case in row.cases}


def group_table(rows, outcomes):
    """The table of the rows of one group; outcomes: {row name: {case name: [Result]}}."""
    columns = columns_of(rows)
    lines = []
    for row in rows:
        for figure in row.figures:
            cells = cells_of(row, figure, outcomes[row.name])
            lines.append([row.name, row.what, figure.title, *(show(cells.get(name)) for name in columns), figure.goal or "–"])
    return markdown(["row", "what", "figure", *columns, "goal"], lines)


def remarks(rows, outcomes):
    """What failed and what is in doubt, one line each."""
    return [f"- {row.name}, {case.name}, repeat {i + 1}: {'failed: ' if result.fault else '(!) '}{result.fault or result.doubt}"
            for row in rows for case in row.cases for i, result in enumerate(outcomes[row.name][case.name])
            if result.fault or result.doubt]


def report(rows, outcomes):
    """All tables, and the remarks."""
    parts = []
    for group, head in HEADS.items():
        mine = [row for row in rows if row.group == group]
        if mine:
            parts.append(f"### {head}\n\n{group_table(mine, outcomes)}")
    said = remarks(rows, outcomes)
    return "\n\n".join(parts + (["\n".join(said)] if said else []))


def as_data(rows, outcomes):
    """The same for --json, with every run's raw figures."""
    return [{"group": row.group, "name": row.name, "what": row.what,
             "figures": [{**dataclasses.asdict(figure),
                          "cases": {name: {"values": cell.values, "ratios": cell.ratios}
                                    for name, cell in cells_of(row, figure, outcomes[row.name]).items() if cell}}
                         for figure in row.figures],
             "runs": {name: [dataclasses.asdict(result) for result in results]
                      for name, results in outcomes[row.name].items()}}
            for row in rows]
