"""Mutants that were read and cannot be told from the original: file, a part of how it is shown, and why."""

EQUIVALENT: tuple[tuple[str, str, str], ...] = (
    ("simulator/results/files.py", "_TRIES = >>20->21<<", "any number of tries that is not small does: more only wait longer"),
    ("simulator/latency/error_bands.py", "if bits > >>6->7<<", "no format of the catalog has between 6 and 8 bits"),
    ("simulator/memory/kv_layout.py", "default=>>1->2<<", "a layout has a group: models without attention are refused"),
    ("simulator/memory/overhead.py", "for layer in layers), default=>>0->1<<)", "a stage has a layer"),
    ("simulator/memory/remedies.py", "else {>>16.0->24.0<<}", "what is asked is whether it is 16 bits or more"),
    ("simulator/results/steady_state.py", "waiting >>>->>=<< MOSTLY", "a share of time is never exactly that"),
)
