"""Gates: the answer as pass or fail, in the forms that build servers show."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.errors import SimulatorError
from simulator.files import write_file
from simulator.planning.sure import chosen
from simulator.results.assurance import SURE
from simulator.results.files import unwritable
from simulator.results.slo import SloCheck
from simulator.text import as_markdown, sure, visible
from simulator.units import DAY, HOUR

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from simulator.planning.changing.size import SizingOverTime
    from simulator.planning.size import Sizing
    from simulator.results.model import DeploymentResult, RunResult


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, whether it does, and the numbers."""

    name: str
    passed: bool
    message: str


def run_checks(run: RunResult) -> tuple[Check, ...]:
    """A check for every deployment that runs: each term of its SLO, or without an SLO that it keeps
    up; and that it answers, where some requests got none.

    A term passes where it is sure to be kept: one that is too close to call, or of too few requests
    to say, does not.
    """
    return tuple(check for d in run.deployments for check in _deployment_checks(d))


def _deployment_checks(d: DeploymentResult) -> Iterator[Check]:
    yield from (_term_check(d.name, term) for term in d.slo)
    if not d.slo or not d.runs:
        yield Check(f"{d.name}: keeps up", d.steady, d.reason)
    if (d.metrics or {}).get("unanswered_share"):
        yield Check(f"{d.name}: answers", d.verdict != "requests unanswered", d.reason)


def _term_check(name: str, term: SloCheck) -> Check:
    chance = term.chance
    if chance is None or term.measured is None:
        return Check(f"{name}: {term.term}", term.met, str(term))
    if term.too_few and chance > 1 - SURE:
        few = f"{term}: too few requests to say, {term.needed:,} would tell"
        return Check(f"{name}: {term.term}", passed=False, message=few)
    return Check(f"{name}: {term.term}", chance >= SURE, f"{term}: {sure(chance)}")


def sizing_checks(sizing: Sizing, max_usd_per_hour: float | None = None) -> tuple[Check, ...]:
    """Whether some configuration carries the demand, and within the budget."""
    choice = chosen(sizing)
    name = f"{sizing.scenario.name}: some configuration carries the demand within the SLO"
    if choice is None:
        whys = "; ".join(f"{c.deployment.name}: {c.why}" for c in sizing.candidates)
        return (Check(name, False, whys),)
    checks = [Check(name, True, f"{choice.candidate.deployment.name}, {choice.wording}")]
    if max_usd_per_hour is not None:
        cost = f"${choice.usd_per_hour:.2f} an hour against ${max_usd_per_hour:.2f}"
        checks.append(
            Check(f"{sizing.scenario.name}: cost", choice.usd_per_hour <= max_usd_per_hour, cost)
        )
    return tuple(checks)


def over_time_checks(
    sizing: SizingOverTime, max_usd_per_hour: float | None = None
) -> tuple[Check, ...]:
    """Whether some fleet keeps the SLO as often as is asked, and within the budget."""
    name = f"{sizing.scenario.name}: some deployment keeps the SLO over time"
    best = sizing.best
    if best is None:
        whys = "; ".join(f"{f.deployment.name}: {f.why}" for f in sizing.fleets)
        return (Check(name, False, whys),)
    checks = [Check(name, True, f"{best.deployment.name}, {best.how}")]
    if max_usd_per_hour is not None:
        usd = best.mixed_usd_per_day * HOUR / DAY
        cost = f"${usd:.2f} an hour against ${max_usd_per_hour:.2f}"
        within = Check(f"{sizing.scenario.name}: cost", usd <= max_usd_per_hour, cost)
        checks.append(within)
    return tuple(checks)


def junit(suite: str, checks: Sequence[Check]) -> str:
    """The checks as JUnit XML, one test case each."""
    from xml.etree import ElementTree

    suite = visible(suite)
    counts = {"tests": str(len(checks)), "failures": str(sum(not c.passed for c in checks))}
    root = ElementTree.Element("testsuites", counts)
    cases = ElementTree.SubElement(root, "testsuite", {"name": suite, **counts, "errors": "0"})
    for check in checks:
        _add_case(cases, suite, check)
    ElementTree.indent(root)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return head + ElementTree.tostring(root, encoding="unicode") + "\n"


def _add_case(cases: Element, suite: str, check: Check) -> None:
    from xml.etree import ElementTree

    named = {"classname": suite, "name": visible(check.name)}
    case = ElementTree.SubElement(cases, "testcase", named)
    message = visible(check.message, keep="\n")
    if check.passed:
        ElementTree.SubElement(case, "system-out").text = message
    else:
        ElementTree.SubElement(case, "failure", message=message).text = message


def github_summary(title: str, checks: Sequence[Check]) -> str:
    """The checks as the Markdown that GitHub shows on the page of a workflow run."""
    rows = [
        f"| {'✅' if c.passed else '❌'} | {as_markdown(c.name)} | {as_markdown(c.message)} |"
        for c in checks
    ]
    return "\n".join(
        [f"## {as_markdown(title)}", "", "| | check | result |", "|---|---|---|", *rows, ""]
    )


def write_checks(
    title: str, checks: Sequence[Check], *, junit_file: Path | None, github: bool
) -> None:
    """Write the JUnit file, and append to the summary of the GitHub step that is running.

    Raises SimulatorError when a file cannot be written, or there is no such step.
    """
    check_outputs(junit_file, github)
    target = os.environ.get("GITHUB_STEP_SUMMARY")
    try:
        if junit_file is not None:
            write_file(junit_file, junit(title, checks))
        if github and target:
            with Path(target).open("a", encoding="utf-8") as file:
                file.write(github_summary(title, checks) + "\n")
    except OSError as problem:
        raise SimulatorError(f"cannot write {problem.filename}: {problem.strerror}") from None


def check_outputs(junit_file: Path | None, github: bool) -> None:
    """Raises SimulatorError for a JUnit file that cannot be made, and for a summary for GitHub
    outside of a GitHub step.

    Better before the work than after.
    """
    place = junit_file.absolute().parent if junit_file is not None else None
    if place and (
        why := "it is a folder" if junit_file and junit_file.is_dir() else unwritable(place)
    ):
        raise SimulatorError(
            f"--junit {junit_file}: cannot be written, {why}; name a file in another place"
        )
    if github and not os.environ.get("GITHUB_STEP_SUMMARY"):
        raise SimulatorError(
            "--github-summary: GITHUB_STEP_SUMMARY is not set; it is inside a GitHub Actions step"
        )
