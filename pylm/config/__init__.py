"""Everything that can be set, and how a value is found: defaults, preset, files, environment, command line."""
