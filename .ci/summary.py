#!/usr/bin/python3
"""Add up JUnit reports: prints passed, failed and skipped test cases of all files given."""

import sys
import xml.etree.ElementTree as ElementTree


def outcome(case):
    kinds = {child.tag: child.get("message", "") for child in case}
    status = case.get("status")  # ctest's
    not_started = status == "notrun" and not kinds.get("skipped", "").startswith("SKIP_")
    if {"failure", "error"} & set(kinds) or status == "fail" or not_started:
        return "failed"
    return "skipped" if "skipped" in kinds or status == "disabled" else "passed"


outcomes = [outcome(case) for path in sys.argv[1:] for case in ElementTree.parse(path).iter("testcase")]
print(*(outcomes.count(kind) for kind in ("passed", "failed", "skipped")))
