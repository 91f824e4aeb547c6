"""What this machine has and what is missing: `pylm.doctor.checks.run_checks` yields one finding after another."""
