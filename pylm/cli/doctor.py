"""`pylm doctor`: what this machine has, what is missing, and the line that mends it."""

from __future__ import annotations

import sys
from dataclasses import replace

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import plain_wanted, print_json
from pylm.wording import in_options

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@command(example="pylm doctor --json > report.json")
@json_option
def doctor(as_json: bool) -> None:
    """Look at this machine: what pylm needs is there, works, or how to mend it.

    Every line is ok, warn or fail, and what is not ok is followed by the line that mends it. The exit code is 3 when
    something fails.
    """
    from pylm.doctor.checks import run_checks
    from pylm.errors import CheckError

    findings = []
    for noted in run_checks():
        finding = replace(noted, mend=None if noted.mend is None else in_options(noted.mend))
        findings.append(finding)
        if not as_json:
            click.echo(f"{_paint(finding.status)}{finding.name:14}{finding.found}")
            if finding.mend:
                click.echo(f"{'':6}{'':14}-> {finding.mend}")
    failed = [finding.name for finding in findings if finding.status == "fail"]
    if as_json:
        print_json({"ok": not failed, "checks": [vars(finding) for finding in findings]})
    if failed:
        raise CheckError(f"{', '.join(failed)}: failed", "the lines after -> mend it")


def _paint(status: str) -> str:
    word = f"{status:6}"
    return word if plain_wanted(sys.stdout) else click.style(word, fg=COLOURS[status])
