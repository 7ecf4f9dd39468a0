"""A JUnit report: one test case a row."""
import xml.etree.ElementTree as ElementTree


def faults_of(row, outcome):
    """What was wrong in a row, as text."""
    return "\n".join(f"{case.name}: {result.fault}" for case in row.cases for result in outcome[case.name] if result.fault)


def write(path, rows, outcomes, seconds):
    """seconds: {row name: how long it took}."""
    suite = ElementTree.Element("testsuite", name="bench", tests=str(len(rows)))
    for row in rows:
        case = ElementTree.SubElement(suite, "testcase", classname="bench." + row.group, name=row.name,
                                      time=f"{seconds[row.name]:.2f}")
        faults = faults_of(row, outcomes[row.name])
        if faults:
            ElementTree.SubElement(case, "failure", message=faults.splitlines()[0]).text = faults
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(suite).write(path, encoding="unicode", xml_declaration=True)
