"""What is installed beside this package: known vulnerabilities, and licences that do not go with its own.

    PYTHONPATH=tests python -m audit

Licences are looked at of what the package needs to run, with all that this needs in turn. Vulnerabilities are those that
pip-audit finds in PyPI's advisories; where these cannot be had, as behind a mirror that has none, that is said, and the exit
code is 3: nothing was found, and nothing was looked up either.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

PACKAGE = "inference-sizing-simulator"
# Licences that a package under Apache-2.0 may depend on: permissive ones, and those that bind only their own files.
COMPATIBLE = re.compile(
    r"\b(MIT|MIT-0|BSD|[023]BSD|Apache|ISC|PSF|Python Software Foundation|Python-2\.0|MPL|Mozilla Public|Unlicense|CC0|Zlib|HPND|"
    r"CNRI)\b",
    re.IGNORECASE,
)
NOT_ASKED = 3


def needed(name: str, seen: dict[str, Distribution]) -> dict[str, Distribution]:
    """What a package needs to run on this machine, itself included, by name; extras are left out."""
    from packaging.requirements import Requirement

    plain = re.sub(r"[-_.]+", "-", name).lower()
    if plain in seen:
        return seen
    try:
        seen[plain] = distribution(name)
    except PackageNotFoundError:
        return seen
    for line in seen[plain].requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed(requirement.name, seen)
    return seen


def licences(found: Distribution) -> list[str]:
    """Everything that a package's metadata says of its licence, short texts only."""
    told = found.metadata
    said = [told.get("License-Expression") or "", *(told.get_all("Classifier") or ())]
    said = [line for line in said if line and (not line.startswith("Classifier") and ("License ::" in line or "::" not in line))]
    return said or [line for line in (told.get("License") or "").splitlines()[:3] if line.strip()]


def incompatible(package: str = PACKAGE) -> Iterator[str]:
    """A line for every needed package whose licence is not known to go with Apache-2.0."""
    for name, found in sorted(needed(package, {}).items()):
        said = licences(found)
        if not any(COMPATIBLE.search(line) for line in said):
            yield f"{name} {found.version}: {'; '.join(said) or 'no licence in its metadata'}"


def advisories() -> tuple[list[str], list[str]]:
    """Known vulnerabilities of what is installed, a line each, and the packages that could not be looked up."""
    words = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--format", "json", "--progress-spinner", "off"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        told = json.loads(ran.stdout)["dependencies"]
    except (ValueError, KeyError):
        return [], [(ran.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]]
    bad = [f"{each['name']} {each['version']}: {flaw['id']}" for each in told for flaw in each.get("vulns", ())]
    return bad, [each["name"] for each in told if "skip_reason" in each and each["name"] != PACKAGE]


def main() -> int:
    """Print what was found; 1 where something was, 3 where advisories could not be had."""
    odd = list(incompatible())
    print(f"licences: {len(needed(PACKAGE, {}))} packages, {len(odd)} that are not known to be compatible", *odd, sep="\n  ")
    bad, unknown = advisories()
    print(f"advisories: {len(bad)} known", *bad, sep="\n  ")
    if unknown:
        print(f"the advisories of {len(unknown)} packages could not be looked up here: {', '.join(unknown[:5])} ...")
    return 1 if odd or bad else NOT_ASKED if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
